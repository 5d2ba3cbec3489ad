/* A library that is loaded and unloaded while the program runs. */
#include <stdlib.h>
__attribute__((noinline)) void *in_plugin(size_t size) {
    void *volatile object = malloc(size);
    return object;
}
