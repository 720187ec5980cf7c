// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The command that the integration tests trace: `workload SCENARIO [ARGS]...`. Many scenarios print on stdout what they
 * do. The test compares the trace with these lines.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *self;

static void check(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
		exit(99);
	}
}

/* Prints a line with one write(), so that lines of several processes do not mix. */
static void tell(const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	check(write(1, line, length) == length, "write");
}

static int number(char **arguments)
{
	check(arguments[0] != NULL, "missing argument");
	return atoi(arguments[0]);
}

static void reap(pid_t child)
{
	check(waitpid(child, NULL, 0) == child, "waitpid");
}

/* A child forks a grandchild and dies. When the grandchild has its new parent, it executes a program. */
static int orphan(char **arguments)
{
	int gone[2];
	(void)arguments;

	check(pipe(gone) == 0, "pipe");
	pid_t child = fork();
	if (child == 0) {
		pid_t parent = getpid();

		if (fork() == 0) {
			char byte;

			close(gone[1]);
			check(read(gone[0], &byte, 1) == 0, "read"); /* ends when the parent is gone */
			while (getppid() == parent)
				usleep(1000);
			tell("orphan %d of %d\n", getpid(), parent);
			execl(self, "adopted", "exit", "0", NULL);
			check(0, "exec");
		}
		_exit(7);
	}
	close(gone[1]);
	tell("child %d of %d\n", child, getpid());
	reap(child);
	usleep(200000);
	return 0;
}

/* workload → sh → env → workload: one process, four images. */
static int exec_chain(char **arguments)
{
	(void)arguments;
	tell("process %d\n", getpid());
	setenv("SELF", self, 1);
	execl("/bin/sh", "sh", "-c", "exec env LINK=last \"$SELF\" exit 5", NULL);
	check(0, "exec");
	return 1;
}

static void *exec_now(void *arguments)
{
	(void)arguments;
	tell("process %d thread %d\n", getpid(), (int)syscall(SYS_gettid));
	execl(self, "replaced", "exit", "6", NULL);
	check(0, "exec");
	return NULL;
}

/* A thread that is not the leader calls exec. The other threads die, and it becomes the leader. */
static int thread_exec(char **arguments)
{
	pthread_t thread;
	(void)arguments;

	check(pthread_create(&thread, NULL, exec_now, NULL) == 0, "pthread_create");
	pause();
	return 1;
}

static void *outlive(void *arguments)
{
	(void)arguments;
	usleep(100000);
	tell("last thread %d of %d\n", (int)syscall(SYS_gettid), getpid());
	exit(8);
}

/* The leader exits first. The process dies with status 8 when its second thread dies. */
static int leader_first(char **arguments)
{
	pthread_t thread;
	(void)arguments;

	check(pthread_create(&thread, NULL, outlive, NULL) == 0, "pthread_create");
	syscall(SYS_exit, 3);
	return 1;
}

static int vfork_exec(char **arguments)
{
	(void)arguments;
	pid_t child = vfork();
	if (child == 0) {
		execl(self, "vforked", "exit", "9", NULL);
		_exit(99);
	}
	tell("child %d\n", child);
	reap(child);
	return 0;
}

/* N children that do nothing, one after the other. */
static int forks(char **arguments)
{
	int count = number(arguments);

	for (int i = 0; i < count; i++) {
		pid_t child = fork();
		check(child >= 0, "fork");
		if (child == 0)
			_exit(i % 251);
		reap(child);
	}
	return 0;
}

/* N generations, each the child of the one before. */
static int deep(char **arguments)
{
	int depth = number(arguments);

	for (; depth > 0; depth--) {
		pid_t child = fork();
		check(child >= 0, "fork");
		if (child > 0) {
			tell("child %d of %d\n", child, getpid());
			reap(child);
			_exit(0);
		}
	}
	return 0;
}

/* N children at once. */
static int wide(char **arguments)
{
	int count = number(arguments);
	int go[2];
	char byte;

	check(pipe(go) == 0, "pipe");
	for (int i = 0; i < count; i++) {
		pid_t child = fork();
		check(child >= 0, "fork");
		if (child == 0) {
			close(go[1]);
			check(read(go[0], &byte, 1) == 0, "read");
			_exit(0);
		}
		tell("child %d of %d\n", child, getpid());
	}
	close(go[1]);
	while (wait(NULL) > 0)
		;
	return 0;
}

/* Forks a background process that outlives the command, and prints its pid. */
static int background(char **arguments)
{
	pid_t child = fork();

	if (child == 0) {
		close(1);
		close(2);
		usleep(number(arguments) * 1000);
		_exit(0);
	}
	tell("child %d of %d\n", child, getpid());
	return 0;
}

static int die(char **arguments)
{
	struct rlimit no_core = {};

	setrlimit(RLIMIT_CORE, &no_core);
	raise(number(arguments));
	return 1;
}

static int listen_on(int family, int *port)
{
	struct sockaddr_in6 address = {.sin6_family = family};
	socklen_t size = family == AF_INET6 ? sizeof(address) : sizeof(struct sockaddr_in);
	int both = 0;
	int fd = socket(family, SOCK_STREAM, 0);

	check(fd >= 0, "socket");
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof(both));
	else
		((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(bind(fd, (struct sockaddr *)&address, size) == 0, "bind");
	check(listen(fd, 16) == 0, "listen");
	check(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "getsockname");
	*port = ntohs(address.sin6_port);
	return fd;
}

static int connect_to(const char *host, int port, int *local_port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	socklen_t size = sizeof(address);

	if (!strchr(host, ':')) {
		address.sin6_family = AF_INET;
		inet_pton(AF_INET, host, &v4->sin_addr);
		size = sizeof(*v4);
	} else {
		check(inet_pton(AF_INET6, host, &address.sin6_addr) == 1, "inet_pton");
	}
	int fd = socket(address.sin6_family, SOCK_STREAM, 0);
	check(fd >= 0, "socket");
	if (connect(fd, (struct sockaddr *)&address, size) != 0) {
		tell("connect %s %d: %s\n", host, port, strerrorname_np(errno));
		close(fd);
		return -1;
	}
	check(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "getsockname");
	*local_port = ntohs(address.sin6_port);
	tell("connect %s %d from %d by %d\n", host, port, *local_port, getpid());
	return fd;
}

static long drain(int fd)
{
	char buffer[4096];
	long total = 0;
	ssize_t got;

	while ((got = read(fd, buffer, sizeof(buffer))) > 0)
		total += got;
	return total;
}

static void send_bytes(int fd, long count)
{
	char buffer[4096] = {};

	while (count > 0) {
		ssize_t sent = write(fd, buffer, count < 4096 ? count : 4096);
		check(sent > 0, "send");
		count -= sent;
	}
}

/* The address of our name server. No other server listens at this address. */
#define NAME_SERVER "127.0.53.77"

static struct sockaddr_in name_server(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};

	inet_pton(AF_INET, NAME_SERVER, &address.sin_addr);
	return address;
}

/*
 * A name server. The first letter of a name decides: 'n' does not exist, 's' gets no answer, any other name is an alias
 * of 127.0.0.1.
 */
static void serve_names(int fd)
{
	static const char rest[] = "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\x0c\5alias\4test\0"
				   "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1";
	char message[1024];

	for (;;) {
		struct sockaddr_in client;
		socklen_t size = sizeof(client);
		ssize_t length = recvfrom(fd, message, 512, 0, (struct sockaddr *)&client, &size);

		check(length > 13, "recvfrom");
		message[2] = (char)0x81;
		message[3] = (char)0x80;
		if (message[13] == 's')
			continue;
		if (message[13] == 'n') {
			message[3] = (char)0x83;
		} else {
			message[7] = 2;
			memcpy(message + length, rest, sizeof(rest) - 1);
			length += sizeof(rest) - 1;
		}
		sendto(fd, message, length, 0, (struct sockaddr *)&client, size);
	}
}

/*
 * Asks up to `times` times for the address of `NAME.test`, until it gets an answer. Each time it waits 200 ms for the
 * answer with poll(). SO_RCVTIMEO can end too early: it counts ticks, and a busy kernel counts several late ticks at
 * once.
 */
static void look_up(const char *name, int connected, int times)
{
	struct sockaddr_in server = name_server();
	char message[512] = "\x12\x34\1\0\0\1\0\0\0\0\0\0", answer[1024];
	size_t length = 12;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	message[1] = name[0];
	message[length++] = strlen(name);
	memcpy(message + length, name, strlen(name));
	length += strlen(name);
	memcpy(message + length, "\4test\0\0\1\0\1", 10);
	length += 10;
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	if (connected)
		check(connect(fd, (struct sockaddr *)&server, sizeof(server)) == 0, "connect");
	for (int i = 0; i < times; i++) {
		if (connected)
			check(send(fd, message, length, 0) > 0, "send");
		else
			check(sendto(fd, message, length, 0, (struct sockaddr *)&server, sizeof(server)) > 0, "sendto");
		if (poll(&readable, 1, 200) > 0 && recv(fd, answer, sizeof(answer), 0) > 0)
			break;
	}
	close(fd);
}

/*
 * Looks up four names. Two of them have the address 127.0.0.1. The process that asked connects to this address. Then
 * another process does, too.
 */
static int names(char **arguments)
{
	struct sockaddr_in address = name_server();
	int port, unused, fd = socket(AF_INET, SOCK_DGRAM, 0);
	int listener = listen_on(AF_INET, &port);
	(void)arguments;

	check(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	pid_t server = fork();
	if (server == 0)
		serve_names(fd);
	close(fd);
	pid_t asker = fork();
	if (asker == 0) {
		look_up("first", 0, 1);
		look_up("www", 1, 1);
		look_up("nowhere", 1, 1);
		look_up("silent", 1, 2);
		close(connect_to("127.0.0.1", port, &unused));
		_exit(0);
	}
	tell("asker %d port %d\n", asker, port);
	reap(asker);
	close(accept(listener, NULL, NULL));
	close(connect_to("127.0.0.1", port, &unused));
	kill(server, SIGKILL);
	reap(server);
	return 0;
}

static int connect_refused(char **arguments)
{
	int port, unused;
	(void)arguments;

	close(listen_on(AF_INET, &port)); /* a port without a listener */
	connect_to("127.0.0.1", port, &unused);
	return 0;
}

/*
 * A server and a client in the tree. The client connects to HOST. It sends 5,000 bytes, ends its side with shutdown(),
 * reads the 70,000 bytes of the answer, and waits before it closes. MODE `parent`: the server accepts, reads and
 * writes. `worker`: a forked worker does this. `handover`: the server accepts, and a forked worker reads and writes.
 */
static int talk(char **arguments)
{
	const char *host = arguments[0], *mode = arguments[1];
	int port, unused;

	check(host && mode, "talk HOST MODE");
	int listener = listen_on(strchr(host, ':') ? AF_INET6 : AF_INET, &port);
	pid_t client = fork();
	if (client == 0) {
		close(listener);
		int fd = connect_to(host, port, &unused);
		check(fd >= 0, "connect");
		send_bytes(fd, 5000);
		check(shutdown(fd, SHUT_WR) == 0, "shutdown");
		long got = drain(fd);
		usleep(50000);
		close(fd);
		tell("client %d sent 5000 received %ld\n", getpid(), got);
		_exit(0);
	}
	pid_t worker = strcmp(mode, "worker") == 0 ? fork() : -1;
	if (worker <= 0) {
		int fd = accept(listener, NULL, NULL);
		check(fd >= 0, "accept");
		if (strcmp(mode, "handover") == 0)
			worker = fork();
		if (worker <= 0) {
			long got = drain(fd);
			send_bytes(fd, 70000);
			tell("server %d sent 70000 received %ld\n", getpid(), got);
		}
		close(fd);
		if (worker == 0)
			_exit(0);
	}
	if (worker > 0)
		reap(worker);
	reap(client);
	return 0;
}

/* N connections to a server in the tree, each closed by a reset. */
static int resets(char **arguments)
{
	int port, unused, count = number(arguments);
	int listener = listen_on(AF_INET, &port);
	struct linger abort = {.l_onoff = 1};
	int connected[2];
	char byte = 0;
	pid_t client;

	/* If a connection is reset before connect() returns, the connection has failed. */
	check(pipe(connected) == 0, "pipe");
	client = fork();
	if (client == 0) {
		for (int i = 0; i < count; i++) {
			int fd = connect_to("127.0.0.1", port, &unused);

			check(fd >= 0, "connect");
			check(write(connected[1], &byte, 1) == 1, "write");
			check(read(fd, &byte, 1) == -1 && errno == ECONNRESET, "reset");
			close(fd);
		}
		_exit(0);
	}
	close(connected[1]);
	for (int i = 0; i < count; i++) {
		int fd;

		check(read(connected[0], &byte, 1) == 1, "read");
		fd = accept(listener, NULL, NULL);
		check(fd >= 0, "accept");
		usleep(10000);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(fd);
	}
	reap(client);
	return 0;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * N connections that time out, one after the other. Timers of one CPU end them, in softirqs. In the meantime, this CPU
 * changes the state of another socket again and again, so that softirqs interrupt the eBPF program that runs at each
 * change.
 */
static int timeouts(char **arguments)
{
	int port, unused, opened = 0, timed_out = 0, count = number(arguments), patience_ms = 1;
	int listener = listen_on(AF_INET, &port), other = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct pollfd waiting[count];
	cpu_set_t processor;

	CPU_ZERO(&processor);
	CPU_SET(sched_getcpu(), &processor);
	check(sched_setaffinity(0, sizeof(processor), &processor) == 0, "sched_setaffinity");
	/* There is room for one connection. Further clients get no answer. */
	check(connect_to("127.0.0.1", port, &unused) >= 0 && listen(listener, 0) == 0, "connect");
	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	for (long begun = now_ms(); timed_out < count; timed_out = poll(waiting, opened, 0)) {
		check(now_ms() - begun < 120000, "timeouts");
		if (opened < count && now_ms() - begun > opened * 8) {
			int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

			setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof(patience_ms));
			check(connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1, "connect");
			waiting[opened++] = (struct pollfd){.fd = fd};
		}
		for (int i = 0; i < 200; i++)
			check(listen(other, 1) == 0 && shutdown(other, SHUT_RDWR) == 0, "listen");
	}
	return 0;
}

static int exit_with(char **arguments)
{
	return number(arguments);
}

/* Executes itself with two arguments of N bytes each. */
static int long_argument(char **arguments)
{
	int size = number(arguments);
	char *argument = malloc(size + 1);

	memset(argument, 'x', size);
	argument[size] = 0;
	execl(self, "long", "exit", "0", argument, argument, NULL);
	check(0, "exec");
	return 1;
}

static void *burn(void *until_us)
{
	struct timespec now;

	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	} while (now.tv_sec * 1000000 + now.tv_nsec / 1000 < *(long *)until_us);
	return NULL;
}

/*
 * Uses CPU time in three further threads, memory, and a file. Its child only writes to the file. Prints the usage that
 * the kernel reports for this process.
 */
static int use(char **arguments)
{
	const size_t size = 40 << 20;
	long until_us = 150000;
	pthread_t threads[3];
	struct rusage usage;
	char line[256];

	pid_t child = fork();
	check(child >= 0, "fork");
	int file = open(arguments[0], O_RDWR | O_CREAT, 0600);
	check(file >= 0, "open");
	if (!child) {
		check(pwrite(file, line, sizeof(line), 0) == sizeof(line), "pwrite");
		_exit(0);
	}
	reap(child);
	char *memory = malloc(size);
	check(memory != NULL, "malloc");
	memset(memory, 1, size);
	check(pwrite(file, memory, 3 << 20, 0) == 3 << 20, "pwrite");
	check(pread(file, memory, 1 << 20, 0) == 1 << 20, "pread");
	for (int i = 0; i < 3; i++)
		check(!pthread_create(&threads[i], NULL, burn, &until_us), "pthread_create");
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	check(!getrusage(RUSAGE_SELF, &usage), "getrusage");
	tell("used %ld %ld %ld %ld %ld\n", usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec,
	     usage.ru_stime.tv_sec * 1000000 + usage.ru_stime.tv_usec, usage.ru_maxrss * 1024, usage.ru_minflt,
	     usage.ru_nvcsw);
	return 0;
}

#ifdef __x86_64__
/* A system call of 32-bit programs: arch/x86/entry/syscalls/syscall_32.tbl. */
static int call32(long number, unsigned long first, unsigned long second, unsigned long third)
{
	long result;

	asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third), "S"(0L), "D"(0L)
		     : "memory");
	return result;
}

/*
 * Calls connect and exec as a 32-bit program does. All of these calls fail. In a 64-bit program, these system call
 * numbers mean other calls.
 */
static int calls32(char **arguments)
{
	struct room {
		struct sockaddr_un address;
		char file[32];
		unsigned int words[3];
	} *room = mmap(NULL, sizeof(*room), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	unsigned int at = (unsigned long)room;
	int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t size = sizeof(room->address);

	(void)arguments;
	check(room != MAP_FAILED && socket_fd >= 0, "mmap, socket");
	room->address.sun_family = AF_UNIX;
	strcpy(room->address.sun_path, "/no-such/connect");
	check(call32(362, socket_fd, at, size) == -ENOENT, "connect");
	strcpy(room->address.sun_path, "/no-such/socketcall");
	memcpy(room->words, (unsigned int[]){socket_fd, at, size}, sizeof(room->words));
	check(call32(102, 3, at + offsetof(struct room, words), 0) == -ENOENT, "socketcall");
	strcpy(room->file, "/no-such/execve");
	check(call32(11, at + offsetof(struct room, file), 0, 0) == -ENOENT, "execve");
	strcpy(room->file, "/no-such/execveat");
	check(call32(358, -1, at + offsetof(struct room, file), 0) == -ENOENT, "execveat");
	/*
	 * Some numbers mean another call in the other kind of program. In 32-bit programs, 42 is pipe(2), 102 is
	 * socketcall(2) and 11 is execve(2). In 64-bit programs, they are connect(2), getuid(2) and munmap(2).
	 */
	check(call32(42, 0, at, size) == -EFAULT, "pipe");
	check(syscall(SYS_getuid) == getuid() && syscall(SYS_munmap, 1, 1) == -1, "getuid, munmap");
	return 0;
}
#endif

/* Connects to a unix socket through io_uring. */
static int ring_connect(char **arguments)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/no-such/io_uring"};
	struct io_uring_params params = {0};
	int ring = syscall(SYS_io_uring_setup, 1, &params);
	int protection = PROT_READ | PROT_WRITE;
	int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)arguments;
	check(ring >= 0 && socket_fd >= 0, "io_uring_setup, socket");
	char *queue = mmap(NULL, 4096, protection, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *results = mmap(NULL, 4096, protection, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *entry = mmap(NULL, 4096, protection, MAP_SHARED, ring, IORING_OFF_SQES);
	check(queue != MAP_FAILED && results != MAP_FAILED && entry != MAP_FAILED, "mmap");
	entry->opcode = IORING_OP_CONNECT;
	entry->fd = socket_fd;
	entry->addr = (unsigned long)&address;
	entry->off = sizeof(address);
	((unsigned int *)(queue + params.sq_off.array))[0] = 0;
	__atomic_store_n((unsigned int *)(queue + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	check(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1, "io_uring_enter");
	check(((struct io_uring_cqe *)(results + params.cq_off.cqes))->res == -ENOENT, "connect");
	return 0;
}

static const struct {
	const char *name;
	int (*run)(char **arguments);
} scenarios[] = {
    {"orphan", orphan},
    {"exec-chain", exec_chain},
    {"thread-exec", thread_exec},
    {"leader-first", leader_first},
    {"vfork", vfork_exec},
    {"forks", forks},
    {"deep", deep},
    {"wide", wide},
    {"background", background},
    {"die", die},
    {"connect-refused", connect_refused},
    {"names", names},
    {"talk", talk},
    {"resets", resets},
    {"timeouts", timeouts},
    {"exit", exit_with},
    {"long-argument", long_argument},
    {"use", use},
#ifdef __x86_64__
    {"calls32", calls32},
#endif
    {"ring-connect", ring_connect},
};

/*
 * If the name of this program is sudo: `sudo -- COMMAND...` runs COMMAND as root. Tests make a setuid copy with this
 * name.
 */
static int as_sudo(char **arguments)
{
	char user[16], group[16];

	snprintf(user, sizeof(user), "%u", getuid());
	snprintf(group, sizeof(group), "%u", getgid());
	check(!setenv("SUDO_UID", user, 1) && !setenv("SUDO_GID", group, 1), "setenv");
	check(!setgid(0) && !setuid(0), "setuid");
	/* sudo closes these descriptors by default. */
	check(!close_range(3, ~0U, 0), "close_range");
	check(arguments[0] && !strcmp(arguments[0], "--"), "usage");
	execvp(arguments[1], arguments + 1);
	check(0, arguments[1]);
	return 1;
}

int main(int argc, char **argv)
{
	char path[4096];

	if (!strcmp(basename(argv[0]), "sudo"))
		return as_sudo(argv + 1);
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	check(length > 0, "readlink");
	path[length] = 0;
	self = path;
	for (size_t i = 0; argc > 1 && i < sizeof(scenarios) / sizeof(*scenarios); i++) {
		if (strcmp(argv[1], scenarios[i].name) == 0)
			return scenarios[i].run(argv + 2);
	}
	fprintf(stderr, "workload: no such scenario\n");
	return 98;
}
