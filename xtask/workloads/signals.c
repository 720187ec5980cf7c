// SPDX-License-Identifier: MIT OR Apache-2.0
/* signals COUNT: sends itself a signal that it handles, COUNT times. */
#include <signal.h>
#include <stdlib.h>

static volatile sig_atomic_t handled;

static void handle(int signal)
{
	(void)signal;
	handled++;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	int count = atoi(argv[1]);
	struct sigaction action = {.sa_handler = handle};
	if (sigaction(SIGUSR1, &action, NULL) != 0)
		return 1;
	for (int i = 0; i < count; i++)
		raise(SIGUSR1);
	return handled != count;
}
