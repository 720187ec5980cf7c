/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* The tracked processes: fork and exit. */
#ifndef TRACER_PROCESS_BPF_H
#define TRACER_PROCESS_BPF_H

static __always_inline void read_identity(struct identity *identity, struct task_struct *task)
{
	BPF_CORE_READ_INTO(&identity->tgid, task, tgid);
	BPF_CORE_READ_INTO(&identity->start_ns, task, group_leader, start_boottime);
	identity->reserved = 0;
}

/* The processes that died last. The kernel closes their sockets after their exits were reported. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct identity);
} exiting SEC(".maps");

static __always_inline struct tracked_process *tracked_process(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&processes, &tgid);
}

/* The tracked process that runs now, or null. */
static __always_inline struct identity *tracked_current(void)
{
	struct tracked_process *process = tracked_process();

	return process ? &process->identity : NULL;
}

/* The tracked process that runs now, or that is dying now, or null. */
static __always_inline struct identity *tracked_or_exiting_current(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct identity *identity = tracked_current();

	if (identity)
		return identity;
	identity = bpf_map_lookup_elem(&exiting, &tgid);
	if (identity && identity->start_ns == BPF_CORE_READ(task, group_leader, start_boottime))
		return identity;
	return NULL;
}

static __always_inline void fill_header(struct record_header *header, struct task_struct *task, __u32 kind)
{
	header->time_ns = bpf_ktime_get_boot_ns();
	read_identity(&header->process, task);
	read_identity(&header->parent, BPF_CORE_READ(task, real_parent));
	header->kind = kind;
}

/*
 * Returns true once: for the first fork of the launcher after user space has armed it. With --sudo, the restricted user
 * has the shared page. They can arm any process, for example a setuid program. So this function checks the credentials
 * of the launcher.
 */
static __always_inline bool is_launch(struct task_struct *parent, __u32 parent_tgid, __u32 child_tgid)
{
	struct upid upid;
	struct pid *pid;
	unsigned int level;

	if (!shared.launcher_pid)
		return false;
	pid = BPF_CORE_READ(parent, group_leader, thread_pid);
	level = BPF_CORE_READ(pid, level);
	if (bpf_core_read(&upid, sizeof(upid), &pid->numbers[level]))
		return false;
	if (upid.nr != shared.launcher_pid || BPF_CORE_READ(upid.ns, ns.inum) != shared.launcher_namespace)
		return false;
	if (unshared.is_restricted && foreign_credentials(parent))
		return false;
	shared.launcher_pid = 0;
	unshared.launcher_tgid = parent_tgid;
	unshared.root_tgid = child_tgid;
	unshared.root_folder = (__u64)BPF_CORE_READ(parent, fs, root.dentry);
	return true;
}

SEC("raw_tp/sched_process_fork")
int handle_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	struct tracked_process process = {}, *known;
	__u32 tgid = BPF_CORE_READ(child, tgid);
	__u32 parent_tgid, is_root = 0;
	struct fork_record record = {};

	if (BPF_CORE_READ(child, pid) != tgid) { /* a thread */
		known = bpf_map_lookup_elem(&processes, &tgid);
		if (known)
			__sync_fetch_and_add(&known->threads, 1);
		return 0;
	}
	parent_tgid = BPF_CORE_READ(parent, tgid);
	known = bpf_map_lookup_elem(&processes, &parent_tgid);
	if (known) {
		process.is_withheld = known->is_withheld;
	} else {
		if (!is_launch(parent, parent_tgid, tgid))
			return 0;
		is_root = 1;
		/* Until the root calls exec, it is a copy of the launcher. */
		process.is_withheld = !may_look_at(parent, BPF_CORE_READ(parent, mm));
	}
	read_identity(&process.identity, child);
	if (bpf_map_update_elem(&processes, &tgid, &process, BPF_ANY)) {
		COUNT(untracked_processes);
		return 0;
	}
	COUNT(live_processes);
	record.header.time_ns = bpf_ktime_get_boot_ns();
	record.header.process = process.identity;
	read_identity(&record.header.parent, parent); /* the forking process, also under CLONE_PARENT */
	record.header.kind = RECORD_FORK;
	record.is_root = is_root;
	emit(&record, sizeof(record), RECORD_FORK);
	return 0;
}

/* The status that wait(2) returns to the parent: kernel/exit.c, wait_task_zombie(). */
static __always_inline __u32 wait_status(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);

	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		return BPF_CORE_READ(signal, group_exit_code);
	return BPF_CORE_READ(task, group_leader, exit_code);
}

/* Whether the restricted user can get the status from wait(2) or read it in /proc/PID/stat. */
static __always_inline bool may_know_status(struct tracked_process *process, __u32 parent_tgid)
{
	struct tracked_process *parent = bpf_map_lookup_elem(&processes, &parent_tgid);

	return !process->is_withheld || parent_tgid == unshared.launcher_tgid || (parent && !parent->is_withheld);
}

struct exit_scratch {
	struct exit_record record;
	__u64 node; /* position in the list of threads */
};

/* Only the exit program uses it, and that program does not nest. */
PER_PROCESSOR(exit_scratch, struct exit_scratch, 1)

/* Threads of a process die on several processors at once, so the additions are atomic. */
static __always_inline void add_counters(struct thread_counters *counters, struct task_struct *thread)
{
	if (bpf_core_field_exists(thread->sched_info.run_delay))
		__sync_fetch_and_add(&counters->run_delay_ns, BPF_CORE_READ(thread, sched_info.run_delay));
	if (bpf_core_field_exists(thread->delays))
		__sync_fetch_and_add(&counters->block_delay_ns, BPF_CORE_READ(thread, delays, blkio_delay));
	if (!bpf_core_field_exists(thread->ioac))
		return;
	__sync_fetch_and_add(&counters->read_chars, BPF_CORE_READ(thread, ioac.rchar));
	__sync_fetch_and_add(&counters->written_chars, BPF_CORE_READ(thread, ioac.wchar));
	__sync_fetch_and_add(&counters->read_bytes, BPF_CORE_READ(thread, ioac.read_bytes));
	__sync_fetch_and_add(&counters->written_bytes, BPF_CORE_READ(thread, ioac.write_bytes));
}

/* Adds the usage of a few more threads. Returns 1 when no thread is left. */
__noinline int add_threads(__u64 head)
{
	struct exit_scratch *scratch = exit_scratch(0);
	struct usage *usage;

	if (!scratch)
		return 1;
	usage = &scratch->record.usage;
	for (int i = 0; i < TURNS; i++) {
		struct list_head *node = (struct list_head *)READ_ONCE(scratch->node);
		struct task_struct *thread = (void *)node - bpf_core_field_offset(struct task_struct, thread_node);

		if ((__u64)node == head)
			return 1;
		usage->runtime_ns += BPF_CORE_READ(thread, se.sum_exec_runtime);
		usage->user_ns += BPF_CORE_READ(thread, utime);
		usage->system_ns += BPF_CORE_READ(thread, stime);
		usage->minor_faults += BPF_CORE_READ(thread, min_flt);
		usage->major_faults += BPF_CORE_READ(thread, maj_flt);
		usage->voluntary_switches += BPF_CORE_READ(thread, nvcsw);
		usage->involuntary_switches += BPF_CORE_READ(thread, nivcsw);
		BPF_CORE_READ_INTO(&scratch->node, node, next);
	}
	return 0;
}

/* When the last thread dies, only threads that die at the same time are still in the list. */
#define DYING_THREADS 32

/*
 * The signal structure has the usage of the reaped threads. Each other thread has its own: kernel/exit.c,
 * __exit_signal().
 */
static __always_inline void fill_usage(struct exit_scratch *scratch, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct list_head *head = (void *)signal + bpf_core_field_offset(struct signal_struct, thread_head);
	struct usage *usage = &scratch->record.usage;

	BPF_CORE_READ_INTO(&usage->runtime_ns, signal, sum_sched_runtime);
	BPF_CORE_READ_INTO(&usage->user_ns, signal, utime);
	BPF_CORE_READ_INTO(&usage->system_ns, signal, stime);
	BPF_CORE_READ_INTO(&usage->peak_resident_pages, signal, maxrss);
	BPF_CORE_READ_INTO(&usage->minor_faults, signal, min_flt);
	BPF_CORE_READ_INTO(&usage->major_faults, signal, maj_flt);
	BPF_CORE_READ_INTO(&usage->voluntary_switches, signal, nvcsw);
	BPF_CORE_READ_INTO(&usage->involuntary_switches, signal, nivcsw);
	BPF_CORE_READ_INTO(&scratch->node, head, next);
	for (int i = 0; i < DYING_THREADS / TURNS; i++)
		if (add_threads((__u64)head))
			break;
}

/* Runs for each thread. The leader can die first. The process is dead when no thread is alive. */
SEC("raw_tp/sched_process_exit")
int handle_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct tracked_process *process = bpf_map_lookup_elem(&processes, &tgid);
	struct exit_scratch *scratch = exit_scratch(0);
	struct exit_record *record;

	if (!process || !scratch)
		return 0;
	if (BPF_CORE_READ(task, signal, live.counter) > 0) {
		/* The signal structure also sums the I/O counters, but its sums include children. */
		if (task != leader)
			add_counters(&process->dead_threads, task);
		return 0;
	}
	record = &scratch->record;
	record->threads = process->threads;
	fill_header(&record->header, task, RECORD_EXIT);
	record->is_status_withheld = !may_know_status(process, record->header.parent.tgid);
	record->status = record->is_oom_victim = 0;
	if (!record->is_status_withheld) {
		record->status = wait_status(task);
		record->is_oom_victim = BPF_CORE_READ(task, signal, oom_mm) != NULL;
	}
	__builtin_memset(&record->usage.of_threads, 0, sizeof(record->usage.of_threads));
	if (!process->is_withheld) {
		record->usage.of_threads = process->dead_threads;
		add_counters(&record->usage.of_threads, leader);
		if (task != leader)
			add_counters(&record->usage.of_threads, task);
	}
	/* If two threads die at once, both can get here. One of them deletes the entry. */
	if (bpf_map_delete_elem(&processes, &tgid))
		return 0;
	bpf_map_update_elem(&exiting, &tgid, &record->header.process, BPF_ANY);
	fill_usage(scratch, task);
	emit(record, sizeof(*record), RECORD_EXIT);
	ADD(live_processes, -1);
	return 0;
}

#endif
