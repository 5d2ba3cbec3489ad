// Its first thread ends before the other, which has 1,000 objects of 77 bytes.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *work(void *first) {
    pthread_join(*(pthread_t *)first, NULL);
    for (int i = 0; i < 1000; i++) {
        char *volatile object = malloc(77);
        free(object);
    }
    return NULL;
}

static pthread_t first;

int main(void) {
    pthread_t thread;
    first = pthread_self();
    pthread_create(&thread, NULL, work, &first);
    pthread_exit(NULL);
}
