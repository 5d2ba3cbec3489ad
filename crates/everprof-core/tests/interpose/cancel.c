/* Threads that are cancelled while they wait, or before they begin to. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { POLL, SELECT, EPOLL, RECV, ACCEPT, NANOSLEEP, CLOCK_NANOSLEEP, JOIN, CONDITION, SEMAPHORE };

struct waiter {
    int what, tid, cleaned;
    pthread_t sleeper;
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    sem_t semaphore, begun;
};

static void clean(void *argument) {
    struct waiter *self = argument;
    self->cleaned++;
    if (self->what == CONDITION) pthread_mutex_unlock(&self->mutex);
}

static void *sleep_long(void *unused) {
    sleep(1000);
    return unused;
}

static void *wait_long(void *argument) {
    struct waiter *self = argument;
    struct timespec long_time = {1000, 0};
    struct epoll_event event;
    int pair[2];
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pthread_cleanup_push(clean, self);
    self->tid = gettid();
    sem_post(&self->begun);
    switch (self->what) {
    case POLL: poll(0, 0, -1); break;
    case SELECT: select(0, 0, 0, 0, 0); break;
    case EPOLL: epoll_wait(epoll_create1(0), &event, 1, -1); break;
    case RECV: recv(pair[0], &byte, 1, 0); break;
    case ACCEPT: {
        int listener = socket(AF_UNIX, SOCK_STREAM, 0);
        sa_family_t unnamed = AF_UNIX;
        bind(listener, (struct sockaddr *)&unnamed, sizeof unnamed);
        listen(listener, 1);
        accept(listener, 0, 0);
        break;
    }
    case NANOSLEEP: nanosleep(&long_time, 0); break;
    case CLOCK_NANOSLEEP: clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, 0); break;
    case JOIN: pthread_join(self->sleeper, 0); break;
    case CONDITION:
        pthread_mutex_lock(&self->mutex);
        pthread_cond_wait(&self->condition, &self->mutex);
        break;
    case SEMAPHORE: sem_wait(&self->semaphore); break;
    }
    pthread_cleanup_pop(0);
    return 0;
}

/* How many of the thread's cleanup handlers ran; -1: it was not cancelled. Which thread it
   was is left in `tid`. It is cancelled as soon as `asleep` says that it waits, or at once. */
int cancelled_in(int what, int (*asleep)(int tid, int what), int *tid) {
    struct waiter self = {.what = what};
    pthread_t thread;
    void *result;
    pthread_mutex_init(&self.mutex, 0);
    pthread_cond_init(&self.condition, 0);
    sem_init(&self.semaphore, 0, 0);
    sem_init(&self.begun, 0, 0);
    pthread_create(&self.sleeper, 0, sleep_long, 0);
    pthread_create(&thread, 0, wait_long, &self);
    sem_wait(&self.begun);
    while (asleep && !asleep(self.tid, what)) usleep(100);
    *tid = self.tid;
    pthread_cancel(thread);
    pthread_join(thread, &result);
    pthread_cancel(self.sleeper);
    pthread_join(self.sleeper, 0);
    return result == PTHREAD_CANCELED ? self.cleaned : -1;
}
