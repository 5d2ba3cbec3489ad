/* Keeps a known heap and waits for the end of its input. */
#include <stdio.h>
#include <stdlib.h>

__attribute__((noinline)) void *kept(void) { return malloc(1000000); }
__attribute__((noinline)) void *kept_later(void) { return malloc(500000); }

int main(void) {
    void *volatile objects[3];
    for (int i = 0; i < 3; i++) objects[i] = kept();
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {}
    objects[0] = kept_later();
    return 0;
}
