// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * spawn COUNT PROGRAM [BYTES]: spawns PROGRAM with an argument of this many bytes, and waits for it. It does this COUNT
 * times, one after the other.
 */
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv)
{
	if (argc != 3 && argc != 4)
		return 2;
	char *arguments[] = {argv[2], NULL, NULL};
	if (argc == 4) {
		size_t bytes = atoi(argv[3]);
		arguments[1] = calloc(bytes + 1, 1);
		if (!arguments[1])
			return 1;
		memset(arguments[1], 'x', bytes);
	}
	for (int i = atoi(argv[1]); i > 0; i--) {
		pid_t child;
		if (posix_spawn(&child, argv[2], NULL, NULL, arguments, environ) != 0 ||
		    waitpid(child, NULL, 0) != child)
			return 1;
	}
	return 0;
}
