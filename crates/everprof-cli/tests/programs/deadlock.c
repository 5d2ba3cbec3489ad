/* Two threads that take two mutexes in turn, and one that runs all the while. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t second = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;

static void *forwards(void *none) {
    pthread_mutex_lock(&first);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(&second);
    return none;
}

static void *backwards(void *none) {
    pthread_mutex_lock(&second);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(&first);
    return none;
}

static volatile int over;

static void *runs(void *none) {
    while (!over) {}
    return none;
}

int main(void) {
    pthread_t threads[3];
    pthread_barrier_init(&both, NULL, 2);
    pthread_create(&threads[0], NULL, forwards, NULL);
    pthread_create(&threads[1], NULL, backwards, NULL);
    pthread_create(&threads[2], NULL, runs, NULL);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {}
    over = 1;
    _exit(0);
}
