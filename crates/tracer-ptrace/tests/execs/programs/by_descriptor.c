// Executes a file by a descriptor. With "deleted" as the second argument, it deletes the file before.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    char *arguments[] = {"zero", "one", NULL};
    int descriptor = open(argv[1], O_PATH | (strcmp(argv[2], "kept") ? O_CLOEXEC : 0));
    if (!strcmp(argv[2], "deleted") && unlink(argv[1]) != 0)
        perror("unlink");
    syscall(SYS_execveat, descriptor, "", arguments, environ, AT_EMPTY_PATH);
    perror("execveat");
    return 1;
}
