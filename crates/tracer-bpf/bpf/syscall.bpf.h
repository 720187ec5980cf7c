/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * System calls that have no special tracepoint: failed exec(2), and connect(2) to unix sockets, also of 32-bit
 * programs. The tracepoint sys_exit slows down every system call on the machine. So this program is attached only if
 * the user asks for one of these events.
 */
#ifndef TRACER_SYSCALL_BPF_H
#define TRACER_SYSCALL_BPF_H

/* Larger errors are internal: the kernel restarts such a call. include/linux/errno.h, ERESTARTSYS. */
#define MOST_ERRNO 511

struct failed_exec_scratch {
	struct failed_exec_record record;
	char file[PATH_BYTES];
};

PER_PROCESSOR(failed_exec_scratch, struct failed_exec_scratch, 1)

static __always_inline void emit_failed_exec(__u64 file, __u32 error)
{
	struct failed_exec_scratch *scratch = failed_exec_scratch(0);
	long length;
	__u64 size;

	if (!scratch)
		return;
	fill_header(&scratch->record.header, (struct task_struct *)bpf_get_current_task(), RECORD_FAILED_EXEC);
	scratch->record.error = error;
	/* This address can be the reason of the failure: EFAULT. */
	length = bpf_probe_read_user_str(scratch->file, PATH_BYTES, (void *)file);
	size = length > 0 ? length : 0;
	if (size > PATH_BYTES)
		return;
	scratch->record.size = size;
	emit(scratch, sizeof(scratch->record) + size, RECORD_FAILED_EXEC);
}

/* include/uapi/linux/un.h, struct sockaddr_un */
#define UNIX_FAMILY_BYTES 2
#define UNIX_PATH_BYTES	  108

struct unix_connect {
	struct unix_record record;
	char address[UNIX_PATH_BYTES];
};

static __always_inline void emit_unix_connect(void *address, __u64 size, __u32 error)
{
	struct unix_connect connect = {};
	__u16 family;

	/* An address without a name cannot be connected to. */
	if (size <= UNIX_FAMILY_BYTES || bpf_probe_read_user(&family, sizeof(family), address) || family != AF_UNIX)
		return;
	size -= UNIX_FAMILY_BYTES;
	barrier_var(size);
	if (size > UNIX_PATH_BYTES || bpf_probe_read_user(connect.address, size, address + UNIX_FAMILY_BYTES))
		return;
	fill_header(&connect.record.header, (struct task_struct *)bpf_get_current_task(), RECORD_UNIX);
	connect.record.error = error;
	connect.record.size = size;
	emit(&connect, sizeof(connect.record) + size, RECORD_UNIX);
}

SEC("raw_tp/sys_exit")
int handle_syscall_exit(struct bpf_raw_tracepoint_args *ctx)
{
	void *registers = (void *)ctx->args[0];
	long result = ctx->args[1];
	struct tracked_process *process;
	__u64 arguments[3];
	bool is_exec;
	int call;

	if (result > 0 || result < -MOST_ERRNO)
		return 0;
	if (result == 0 && !is_asked(RECORD_UNIX))
		return 0;
	call = call_of(registers);
	is_exec = (call & CALL_KIND) == CALL_EXECVE || (call & CALL_KIND) == CALL_EXECVEAT;
	if (call == CALL_OTHER || (is_exec ? !is_asked(RECORD_FAILED_EXEC) || !result : !is_asked(RECORD_UNIX)) ||
	    !has_numbers_of(call, registers))
		return 0;
	process = tracked_process();
	if (!process || process->is_withheld || !read_arguments(arguments, call, registers))
		return 0;
	if (is_exec)
		emit_failed_exec((call & CALL_KIND) == CALL_EXECVE ? arguments[0] : arguments[1], -result);
	else
		emit_unix_connect((void *)arguments[1], (__u32)arguments[2], -result);
	return 0;
}

/*
 * A process makes a queue of io_uring. Through the queue, the process can connect to unix sockets without a system
 * call. Before Linux 5.18, no tracepoint reports the requests of a queue.
 */
SEC("raw_tp/io_uring_create")
int handle_io_uring(struct bpf_raw_tracepoint_args *ctx)
{
	struct tracked_process *process = tracked_process();

	if (process && !process->is_withheld)
		COUNT(io_uring_queues);
	return 0;
}

#endif
