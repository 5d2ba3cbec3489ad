/* Creates threads at several sites, by C's and C11's functions, and ends with one alive. */
#include <pthread.h>
#include <stdio.h>
#include <threads.h>
#include <unistd.h>

static pthread_barrier_t barrier;

static void *returns(void *argument) { return (char *)argument + 1; }

static void *exits(void *argument) { pthread_exit((char *)argument + 1); }

static void *waits(void *argument)
{
    (void)argument;
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
}

static int c11(void *argument) { return *(int *)argument; }

static long join(pthread_t thread)
{
    void *value;
    pthread_join(thread, &value);
    return (long)value;
}

__attribute__((noinline)) static pthread_t first_site(void *(*routine)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, routine, (void *)41))
        _exit(2);
    return thread;
}

__attribute__((noinline)) static pthread_t second_site(void *(*routine)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, routine, (void *)1))
        _exit(2);
    return thread;
}

__attribute__((noinline)) static int c11_site(int value)
{
    thrd_t thread;
    int result;
    if (thrd_create(&thread, c11, &value) != thrd_success)
        _exit(2);
    thrd_join(thread, &result);
    return result;
}

int main(void)
{
    pthread_barrier_init(&barrier, NULL, 3);
    long sum = join(first_site(returns)) + join(first_site(exits)) + join(second_site(returns));
    pthread_t cancelled = second_site(waits);
    second_site(waits);
    pthread_barrier_wait(&barrier);
    pthread_cancel(cancelled);
    int is_cancelled = join(cancelled) == (long)PTHREAD_CANCELED;
    printf("%ld %d %d\n", sum, is_cancelled, c11_site(7));
    fflush(stdout);
    _exit(0);
}
