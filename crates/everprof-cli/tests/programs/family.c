/* Every function of the allocation family, each from a function of its own
   with known sizes; prints what C promises about each and did not hold. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int wrong;
#define EXPECT(claim) do { if (!(claim)) { printf("does not hold: %s (line %d)\n", #claim, __LINE__); wrong = 1; } } while (0)

static void *kept[64];
static int keep_count;
static void keep(void *object, size_t size, size_t align) {
    EXPECT(object != NULL);
    EXPECT((uintptr_t)object % align == 0);
    EXPECT(malloc_usable_size(object) >= size);
    EXPECT(malloc_usable_size(object) < size + 8192);
    /* All of what is usable can be used. */
    memset(object, 0xa5, malloc_usable_size(object));
    kept[keep_count++] = object;
}

#define SITE __attribute__((noinline)) static void
SITE by_malloc(void) { for (int i = 0; i < 10; i++) keep(malloc(1000), 1000, 16); }
SITE by_calloc(void) {
    char *zeros = calloc(7, 100);
    for (int i = 0; i < 700; i++) EXPECT(zeros[i] == 0);
    keep(zeros, 700, 16);
}
SITE by_realloc(void) {
    char *object = realloc(NULL, 50);
    memset(object, 1, 50);
    object = realloc(object, 5000);
    for (int i = 0; i < 50; i++) EXPECT(object[i] == 1);
    object = realloc(object, 300);
    keep(object, 300, 16);
}
SITE by_reallocarray(void) { keep(reallocarray(NULL, 6, 50), 300, 16); }
SITE by_posix_memalign(void) {
    void *object = NULL;
    EXPECT(posix_memalign(&object, 4096, 777) == 0);
    keep(object, 777, 4096);
}
SITE by_aligned_alloc(void) { keep(aligned_alloc(64, 640), 640, 64); }
SITE by_memalign(void) { keep(memalign(256, 900), 900, 256); }
SITE by_valloc(void) { keep(valloc(123), 123, 4096); }
SITE by_pvalloc(void) { keep(pvalloc(124), 124, 4096); }
SITE by_strdup(void) { keep(strdup("ninety-nine bottles"), 20, 16); }
SITE by_nothing(void) { free(NULL); free(realloc(NULL, 0)); EXPECT(malloc_usable_size(NULL) == 0); }
SITE freed(void) { for (int i = 0; i < 100; i++) free(malloc(64)); }
SITE shrunk_to_nothing(void) { void *object = malloc(80); EXPECT(realloc(object, 0) == NULL); }
SITE refused(void) {
    void *object = malloc(48);
    errno = 0;
    EXPECT(realloc(object, PTRDIFF_MAX) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(reallocarray(object, SIZE_MAX, 2) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(calloc(SIZE_MAX, 2) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(malloc(PTRDIFF_MAX) == NULL && errno == ENOMEM);
    void *out = object;
    EXPECT(posix_memalign(&out, 3, 10) == EINVAL && out == object);
    free(object);
}
/* Larger than any object can be: taken for negative, these would stop the thread's count. */
SITE impossible(void) {
    void *object = malloc(24), *out = object;
    volatile size_t sizes[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX / 4 * 3, SIZE_MAX};
    for (int i = 0; i < 3; i++) {
        size_t size = sizes[i];
        EXPECT(malloc(size) == NULL && calloc(1, size) == NULL);
        EXPECT(realloc(object, size) == NULL && reallocarray(object, 1, size) == NULL);
        EXPECT(memalign(64, size) == NULL && aligned_alloc(64, size) == NULL);
        EXPECT(valloc(size) == NULL && pvalloc(size) == NULL);
        EXPECT(posix_memalign(&out, 64, size) == ENOMEM && out == object);
    }
    free(object);
}
SITE after_the_impossible(void) { keep(malloc(40), 40, 16); }
SITE errno_is_kept(void) {
    errno = ENOTTY;
    void *object = malloc(32);
    object = realloc(object, 64);
    free(object);
    free(calloc(1, 32));
    EXPECT(errno == ENOTTY);
}

int main(void) {
    by_malloc(); by_calloc(); by_realloc(); by_reallocarray(); by_posix_memalign();
    by_aligned_alloc(); by_memalign(); by_valloc(); by_pvalloc(); by_strdup();
    by_nothing(); freed(); shrunk_to_nothing(); refused();
    impossible(); after_the_impossible(); errno_is_kept();
    puts(wrong ? "wrong" : "all holds");
    fflush(stdout);
    _exit(wrong);
}
