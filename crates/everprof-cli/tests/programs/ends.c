/* Keeps 3 objects of 1,000,000 bytes, then ends in the way that it is told. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((noinline)) void *kept(void) { return malloc(1000000); }

static void on_signal(int number) { (void)number; _exit(33); }
static void *in_thread(void *how) {
    if (!strcmp(how, "exit-in-thread")) exit(5);
    abort();
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "return";
    void *volatile objects[3];
    for (int i = 0; i < 3; i++) objects[i] = kept();
    (void)objects;
    if (!strcmp(how, "exit")) exit(4);
    if (!strcmp(how, "_exit")) _exit(6);
    if (!strcmp(how, "exit_group")) syscall(SYS_exit_group, 7);
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "segv")) *(volatile int *)8 = 1;
    if (!strcmp(how, "kill")) raise(SIGKILL);
    if (!strcmp(how, "realtime")) raise(SIGRTMIN + 1);
    if (strstr(how, "in-thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, in_thread, (void *)how);
        pthread_join(thread, NULL);
    }
    if (!strcmp(how, "wait") || !strcmp(how, "catch")) {
        if (!strcmp(how, "catch")) { signal(SIGTERM, on_signal); signal(SIGINT, on_signal); }
        puts("ready");
        fflush(stdout);
        for (;;) pause();
    }
    return 0;
}
