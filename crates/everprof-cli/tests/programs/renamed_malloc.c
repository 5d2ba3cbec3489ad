/* A program with jemalloc in it, as a Rust crate builds it: by its symbol. */
#include <stdlib.h>
__attribute__((noinline)) void *_rjem_malloc(size_t size) { return malloc(size); }
int main(void) { return _rjem_malloc(10) == NULL; }
