/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * Calls of exec(2) that failed. The tracepoint slows down every system call on the machine, so this is only attached
 * when it is asked for.
 */
#ifndef TRACER_SYSCALL_BPF_H
#define TRACER_SYSCALL_BPF_H

#define MOST_ERRNO 4095 /* include/linux/err.h, MAX_ERRNO */

struct failed_exec_scratch {
	struct failed_exec_record record;
	char file[PATH_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct failed_exec_scratch);
} failed_exec_scratch SEC(".maps");

SEC("raw_tp/sys_exit")
int handle_syscall_exit(struct bpf_raw_tracepoint_args *ctx)
{
	long result = ctx->args[1];
	struct failed_exec_scratch *scratch;
	struct tracked_process *process;
	__u64 file, size;
	__u32 zero = 0;
	long length;

	if (result >= 0 || result < -MOST_ERRNO)
		return 0;
	file = file_of_exec((void *)ctx->args[0]);
	if (!file)
		return 0;
	process = tracked_process();
	if (!process || process->is_withheld)
		return 0;
	scratch = bpf_map_lookup_elem(&failed_exec_scratch, &zero);
	if (!scratch)
		return 0;
	fill_header(&scratch->record.header, (struct task_struct *)bpf_get_current_task(), RECORD_FAILED_EXEC);
	scratch->record.error = -result;
	/* It may be what has failed: EFAULT. */
	length = bpf_probe_read_user_str(scratch->file, PATH_BYTES, (void *)file);
	size = length > 0 ? length : 0;
	if (size > PATH_BYTES)
		return 0;
	scratch->record.size = size;
	emit(scratch, sizeof(scratch->record) + size, RECORD_FAILED_EXEC);
	return 0;
}

#endif
