// Allocates 1,000 objects of 77 bytes, and leaves in the way that its argument says.
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void work(void) {
    for (int i = 0; i < 1000; i++) {
        char *volatile object = malloc(77);
        free(object);
    }
}

static void leave_now(int signal) {
    (void)signal;
    _exit(0);
}

// In the midst of malloc as a rule, with its locks held.
static void interrupted(void) {
    struct itimerval soon = {{0, 0}, {0, 30000}};
    signal(SIGALRM, leave_now);
    setitimer(ITIMER_REAL, &soon, NULL);
    for (;;) {
        char *volatile object = malloc(5000);
        free(object);
    }
}

static void *of_a_thread(void *value) {
    (void)value;
    work();
    _exit(0);
}

int main(int count, char **words) {
    const char *way = count > 1 ? words[1] : "";
    if (strcmp(way, "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, of_a_thread, NULL);
        pthread_join(thread, NULL);
    }
    if (strcmp(way, "vfork") == 0) {
        if (vfork() == 0)
            _exit(3);
        wait(NULL);
    }
    if (strcmp(way, "fork") == 0) {
        if (fork() == 0)
            _exit(3);
        wait(NULL);
    }
    work();
    if (strcmp(way, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(way, "_Exit") == 0)
        _Exit(0);
    if (strcmp(way, "quick_exit") == 0)
        quick_exit(0);
    if (strcmp(way, "handler") == 0)
        interrupted();
    if (strcmp(way, "exit") == 0)
        exit(0);
    _exit(0);
}
