/* Makes processes in the way that it is told. Each process allocates at a site
   of its own, so that profiles tell who recorded what. */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define SITE __attribute__((noinline)) void
static void *volatile held[1000];
SITE in_parent(void) { for (int i = 0; i < 10; i++) held[i] = malloc(10000); }
SITE in_parent_later(void) { for (int i = 10; i < 20; i++) held[i] = malloc(10000); }
SITE in_child(void) {
    /* Frees what the parent made, too. */
    for (int i = 0; i < 10; i++) free(held[i]);
    for (int i = 100; i < 600; i++) held[i] = malloc(10000);
    for (int i = 100; i < 600; i++) held[i] = realloc(held[i], 20000);
}
SITE in_image(void) { for (int i = 0; i < 7; i++) held[i] = malloc(5000); }

static int wait_for(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

int main(int argc, char **argv) {
    const char *how = argv[1];
    char *self = argv[0];
    if (!strcmp(how, "image")) { in_image(); return argc > 2 ? atoi(argv[2]) : 0; }
    in_parent();
    int status = 0;
    if (!strcmp(how, "fork") || !strcmp(how, "raw-fork")) {
        pid_t child = !strcmp(how, "fork") ? fork() : (pid_t)syscall(SYS_clone, 17, 0, 0, 0, 0);
        if (child == 0) { in_child(); _exit(0); }
        status = wait_for(child);
        in_parent_later();
    } else if (!strcmp(how, "vfork")) {
        for (int i = 0; i < 20 && status == 0; i++) {
            pid_t child = vfork();
            if (child == 0) { execl(self, self, "image", NULL); _exit(98); }
            status = wait_for(child);
        }
        in_parent_later();
    } else if (!strcmp(how, "spawn")) {
        for (int i = 0; i < 20 && status == 0; i++) {
            pid_t child;
            char *words[] = {self, "image", NULL};
            if (posix_spawn(&child, self, NULL, NULL, words, environ)) return 97;
            status = wait_for(child);
        }
        in_parent_later();
    } else if (!strcmp(how, "system")) {
        char line[4096];
        snprintf(line, sizeof line, "%s image && %s image", self, self);
        status = system(line);
        in_parent_later();
    } else {
        char *words[] = {self, "image", "12", NULL};
        char *few[] = {"LANG=C", NULL};
        if (!strcmp(how, "execl")) execl(self, self, "image", "12", NULL);
        /* More arguments than registers hold. */
        if (!strcmp(how, "execl-long")) execl(self, self, "image", "12", "4", "5", "6", "7", "8", "9", "10", NULL);
        if (!strcmp(how, "execle")) execle(self, self, "image", "12", "4", "5", "6", "7", NULL, few);
        if (!strcmp(how, "execlp")) execlp(self, self, "image", "12", NULL);
        if (!strcmp(how, "execv")) execv(self, words);
        if (!strcmp(how, "execve")) execve(self, words, few);
        if (!strcmp(how, "execvp")) execvp(self, words);
        if (!strcmp(how, "execvpe")) execvpe(self, words, few);
        if (!strcmp(how, "failed-exec")) {
            execv("/no/such/program", words);
            if (errno != ENOENT) return 95;
            execl("/no/such/program", "x", "y", "z", "1", "2", "3", "4", "5", NULL);
            if (errno != ENOENT) return 94;
            in_parent_later();
            return 0;
        }
        return 96;
    }
    return status;
}
