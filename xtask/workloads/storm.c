// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * storm FORKERS SECONDS COUNT PROGRAM: starts FORKERS processes. Each runs PROGRAM again and again, with an environment
 * of 4 KiB. They stop after SECONDS, or when they have run it COUNT times together. Prints the number of runs.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long run(const char *program, time_t until, long count)
{
	static char variable[4096] = "STORM=";
	char *const arguments[] = { (char *)program, NULL }, *const environment[] = { variable, NULL };
	long runs;

	memset(variable + strlen(variable), 'x', sizeof(variable) - strlen(variable) - 1);
	for (runs = 0; runs < count && time(NULL) < until; runs++) {
		pid_t child;

		if (posix_spawn(&child, program, NULL, NULL, arguments, environment) || waitpid(child, NULL, 0) != child) {
			perror(program);
			exit(1);
		}
	}
	return runs;
}

int main(int argc, char **argv)
{
	int counts[2];
	long total = 0, runs;

	if (argc != 5 || pipe(counts)) {
		fprintf(stderr, "usage: storm FORKERS SECONDS COUNT PROGRAM\n");
		return 2;
	}
	int forkers = atoi(argv[1]);
	time_t until = time(NULL) + atol(argv[2]);
	for (int i = 0; i < forkers; i++) {
		if (fork() == 0) {
			runs = run(argv[4], until, atol(argv[3]) / forkers);
			return write(counts[1], &runs, sizeof(runs)) != sizeof(runs);
		}
	}
	for (int i = 0; i < forkers; i++) {
		if (read(counts[0], &runs, sizeof(runs)) != sizeof(runs))
			return 1;
		total += runs;
	}
	while (wait(NULL) > 0) {
	}
	printf("%ld\n", total);
	return 0;
}
