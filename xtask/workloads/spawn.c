// SPDX-License-Identifier: MIT OR Apache-2.0
/* spawn COUNT PROGRAM: spawns PROGRAM and waits for it, COUNT times, one after the other. */
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	char *arguments[] = {argv[2], NULL};
	for (int i = atoi(argv[1]); i > 0; i--) {
		pid_t child;
		if (posix_spawn(&child, argv[2], NULL, NULL, arguments, environ) != 0 ||
		    waitpid(child, NULL, 0) != child)
			return 1;
	}
	return 0;
}
