// SPDX-License-Identifier: MIT OR Apache-2.0
/* threads COUNT: creates a thread that does nothing and joins it, COUNT times. */
#include <pthread.h>
#include <stdlib.h>

static void *nothing(void *argument)
{
	return argument;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (int i = atoi(argv[1]); i > 0; i--) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
			return 1;
	}
	return 0;
}
