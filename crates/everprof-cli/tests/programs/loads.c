/* Loads the library that it is given, allocates in it, and unloads it. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

int main(int argc, char **argv) {
    void *library = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); return 1; }
    void *(*in_plugin)(size_t) = (void *(*)(size_t))dlsym(library, "in_plugin");
    for (int i = 0; i < 25; i++) in_plugin(4000);
    return dlclose(library);
}
