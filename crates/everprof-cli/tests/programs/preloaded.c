/* A library that somebody preloads for reasons of their own. */
int everprof_test_preloaded = 1;
