// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * connect COUNT: connects COUNT times to its own server, a child, one after the other. Each time it sends and receives
 * a byte.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int serve(int listener, int count)
{
	for (; count > 0; count--) {
		char byte;
		int end = accept(listener, NULL, NULL);
		if (end < 0 || read(end, &byte, 1) != 1 || write(end, &byte, 1) != 1)
			return 1;
		/* Reads until the client has closed, because the end that closes first keeps the port for a minute. */
		if (read(end, &byte, 1) > 0)
			return 1;
		close(end);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger at_once = {.l_onoff = 1};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int count, status;

	if (argc != 2 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 16) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		return 2;
	count = atoi(argv[1]);
	if (fork() == 0)
		_exit(serve(listener, count));
	for (int i = 0; i < count; i++) {
		char byte = 'x';
		int end = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(end, (struct sockaddr *)&address, size) || write(end, &byte, 1) != 1 ||
		    read(end, &byte, 1) != 1)
			return 1;
		/* Closes with a reset, because a reset does not keep the port. */
		setsockopt(end, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(end);
	}
	return wait(&status) < 0 || status != 0;
}
