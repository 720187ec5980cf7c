// Prints everything that a program can know about its own exec.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    char comm[17] = "", exe[4096] = "", line[256];
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    sigset_t mask;
    for (int i = 0; i < argc; i++)
        printf("argv %s\n", argv[i]);
    for (char **variable = environ; *variable; variable++)
        printf("environ %s\n", *variable);
    printf("AT_EXECFN %s\n", (char *)getauxval(AT_EXECFN));
    printf("AT_SECURE %lu\n", getauxval(AT_SECURE));
    prctl(PR_GET_NAME, comm);
    printf("comm %s\n", comm);
    if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
        strcpy(exe, "?");
    printf("exe %s\n", exe);
    getresuid(&ruid, &euid, &suid);
    getresgid(&rgid, &egid, &sgid);
    printf("uid %d %d %d gid %d %d %d\n", ruid, euid, suid, rgid, egid, sgid);
    printf("personality %x\n", personality(0xffffffff));
    for (int fd = 3; fd < 20; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("descriptor %d\n", fd);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int i = 1; i < 32; i++) {
        struct sigaction action;
        if (sigismember(&mask, i))
            printf("blocked %d\n", i);
        if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            printf("not default %d\n", i);
    }
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "Cap", 3) || !strncmp(line, "TracerPid", 9))
            fputs(line, stdout);
    return 42;
}
