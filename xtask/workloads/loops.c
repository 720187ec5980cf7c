// SPDX-License-Identifier: MIT OR Apache-2.0
/* loops LOOPS COUNT PROGRAM: starts LOOPS processes at once. Each spawns PROGRAM and waits for it, COUNT times. */
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int spawn_loop(int count, char *program)
{
	char *arguments[] = {program, NULL};
	while (count-- > 0) {
		pid_t child;
		if (posix_spawn(&child, program, NULL, NULL, arguments, environ) != 0 ||
		    waitpid(child, NULL, 0) != child)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int loops = atoi(argv[1]), failed = 0, status;
	for (int i = 0; i < loops; i++) {
		pid_t child = fork();
		if (child < 0)
			return 1;
		if (child == 0)
			_exit(spawn_loop(atoi(argv[2]), argv[3]));
	}
	while (wait(&status) > 0)
		failed |= status;
	return failed != 0;
}
