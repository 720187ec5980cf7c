// SPDX-License-Identifier: MIT OR Apache-2.0
/* fork COUNT: forks a child that exits, and waits for it. It does this COUNT times, one after the other. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (int i = atoi(argv[1]); i > 0; i--) {
		pid_t child = fork();
		if (child == 0)
			_exit(0);
		if (waitpid(child, NULL, 0) != child)
			return 1;
	}
	return 0;
}
