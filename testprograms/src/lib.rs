//! Hostile programs that everprof must survive.
