// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * stops COMMAND...: a tracer that follows the processes and threads of COMMAND with ptrace(2), and only lets them continue.
 * Every other tracer that uses ptrace(2) costs at least as much.
 */
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
			     PTRACE_O_TRACEEXEC;
	int gate[2], status, result = 1;
	char byte;

	if (argc < 2 || pipe(gate) != 0)
		return 2;
	pid_t command = fork();
	if (command < 0)
		return 2;
	if (command == 0) {
		close(gate[1]);
		if (read(gate[0], &byte, 1) != 1)
			_exit(126);
		close(gate[0]);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (ptrace(PTRACE_SEIZE, command, 0, options) != 0 || write(gate[1], "", 1) != 1)
		return 2;
	close(gate[0]);
	close(gate[1]);
	for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
		/* The high bits of the status are the event. Without one, a signal has stopped the tracee. */
		int is_event = status >> 16;

		if (WIFSTOPPED(status))
			ptrace(PTRACE_CONT, pid, 0, is_event ? 0 : WSTOPSIG(status));
		else if (pid == command)
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	return result;
}
