/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* fork, exec and exit of the tracked processes. */
#ifndef TRACER_PROCESS_BPF_H
#define TRACER_PROCESS_BPF_H

/* A path that is deeper or longer than this is left out. */
#define PATH_COMPONENTS 64
#define PATH_BYTES	4096
#define NAME_BYTES	256 /* NAME_MAX and a NUL */

struct text_scratch {
	struct text_record record;
	char text[TEXT_CHUNK + NAME_BYTES];
	__u64 node;  /* where on its way to the root a path is */
	__u64 mount; /* likewise */
};

/* Used by the exec program alone, which does not nest. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct text_scratch);
} scratch SEC(".maps");

static __always_inline struct identity identity_of(struct task_struct *task)
{
	struct identity identity = {};

	identity.tgid = BPF_CORE_READ(task, tgid);
	identity.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	return identity;
}

/* The most recent dead: their sockets are closed after their exit has been reported. */
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

/* Likewise, also while it dies. */
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
	header->process = identity_of(task);
	header->parent = identity_of(BPF_CORE_READ(task, real_parent));
	header->kind = kind;
}

/* Whether the kernel would let the restricted user look at it through /proc: kernel/ptrace.c, ptrace_may_access(). */
static __always_inline bool may_look_at(struct task_struct *task, struct mm_struct *mm)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct unshared *policy = unshared_values();
	__u32 user, group;

	if (!policy)
		return false;
	if (!policy->is_restricted)
		return true;
	user = policy->user_id;
	group = policy->group_id;
	return BPF_CORE_READ(cred, uid.val) == user && BPF_CORE_READ(cred, euid.val) == user &&
	       BPF_CORE_READ(cred, suid.val) == user && BPF_CORE_READ(cred, gid.val) == group &&
	       BPF_CORE_READ(cred, egid.val) == group && BPF_CORE_READ(cred, sgid.val) == group &&
	       !permitted_capabilities(cred) && (mm_flags(mm) & MMF_DUMPABLE_MASK) == SUID_DUMP_USER;
}

/*
 * True once: for the first fork of the launcher after user space has armed it. Whoever holds the shared page of a
 * restricted user can arm any process: only that user's count.
 */
static __always_inline bool is_launch(struct task_struct *parent, __u32 parent_tgid, __u32 child_tgid)
{
	struct shared_page *page = shared_page();
	struct unshared *policy = unshared_values();
	struct upid upid;
	struct pid *pid;
	unsigned int level;

	if (!page || !page->launcher_pid || !policy)
		return false;
	pid = BPF_CORE_READ(parent, group_leader, thread_pid);
	level = BPF_CORE_READ(pid, level);
	if (bpf_core_read(&upid, sizeof(upid), &pid->numbers[level]))
		return false;
	if (upid.nr != page->launcher_pid || BPF_CORE_READ(upid.ns, ns.inum) != page->launcher_namespace)
		return false;
	if (policy->is_restricted && BPF_CORE_READ(parent, cred, uid.val) != policy->user_id)
		return false;
	page->launcher_pid = 0;
	policy->launcher_tgid = parent_tgid;
	policy->root_tgid = child_tgid;
	return true;
}

SEC("raw_tp/sched_process_fork")
int handle_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	struct tracked_process process = {}, *known;
	struct fork_record record = {};
	__u32 tgid = BPF_CORE_READ(child, tgid);
	__u32 parent_tgid;

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
		record.is_root = 1;
	}
	record.header.time_ns = bpf_ktime_get_boot_ns();
	record.header.process = identity_of(child);
	record.header.parent = identity_of(parent); /* the forking process, also under CLONE_PARENT */
	record.header.kind = RECORD_FORK;
	process.identity = record.header.process;
	if (bpf_map_update_elem(&processes, &tgid, &process, BPF_ANY)) {
		COUNT(untracked_processes);
		return 0;
	}
	COUNT(live_processes);
	emit(&record, sizeof(record), RECORD_FORK);
	return 0;
}

/*
 * The next ones are global functions, which the verifier looks at once each and not once for every call and turn: that
 * is most of what loading takes. For the same reason the loops keep what changes from turn to turn in the scratch
 * record and read it back from there: the verifier does not follow values through map memory, so each turn looks alike.
 * And they are two, a few rounds of a few turns each, of which it follows the inner ones once.
 */
#define READ_ONCE(field) (*(volatile typeof(field) *)&(field))

/* Of an inner loop. */
#define TURNS 4

static __always_inline struct text_scratch *text_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

/* Emits the scratch record with the `record.size` bytes of text that stand in it. */
__noinline int emit_text(__u32 part)
{
	struct text_scratch *scratch = text_scratch();
	__u32 size;

	if (!scratch)
		return 0;
	size = READ_ONCE(scratch->record.size);
	if (size > TEXT_CHUNK)
		return 0;
	scratch->record.part = part;
	if (scratch->record.fault)
		COUNT(text_faults);
	emit(scratch, sizeof(scratch->record) + size, RECORD_TEXT);
	return 0;
}

/* A part of TEXT_LIMIT bytes touches at most one page more than it fills. */
#define TEXT_LIMIT  (128 * 1024)
#define TEXT_CHUNKS (TEXT_LIMIT / TEXT_CHUNK + 1)

/* Emits some chunks. Gives 1 when there is no more to emit. */
__noinline int emit_chunks(__u32 part, __u64 start, __u32 limit)
{
	struct text_scratch *scratch = text_scratch();

	if (!scratch)
		return 1;
	for (int i = 0; i < TURNS; i++) {
		__u32 offset = READ_ONCE(scratch->record.offset);
		__u32 chunk = TEXT_CHUNK - ((start + offset) & (TEXT_CHUNK - 1));

		if (offset >= limit)
			return 1;
		scratch->record.size = chunk < limit - offset ? chunk : limit - offset;
		chunk = READ_ONCE(scratch->record.size);
		if (chunk > TEXT_CHUNK)
			return 1;
		/* On a fault the helper zeroes the destination. */
		scratch->record.fault = bpf_probe_read_user(scratch->text, chunk, (void *)(start + offset)) != 0;
		emit_text(part);
		scratch->record.offset = offset + chunk;
	}
	return 0;
}

/*
 * Emits user memory from `start`, `size` bytes of it, in chunks that end with their page. Freshly written by exec, it
 * is all but always resident; a page that is not loses only itself.
 */
__noinline int emit_user_text(__u32 part, __u64 start, __u64 size)
{
	struct text_scratch *scratch = text_scratch();
	__u32 limit = size < TEXT_LIMIT ? size : TEXT_LIMIT;

	if (!scratch)
		return 0;
	scratch->record.offset = 0;
	for (int i = 0; i < (TEXT_CHUNKS + TURNS - 1) / TURNS; i++)
		if (emit_chunks(part, start, limit))
			break;
	scratch->record.offset = 0;
	scratch->record.fault = 0;
	return 0;
}

/* In one comparison, since the verifier follows each branch of each turn; a string would be data of the object's own,
 * which BPF has as a map. */
static __always_inline bool is_context(const char *text)
{
	const __u64 begin = bpf_cpu_to_be64(0x5452414345504152); /* TRACEPAR */
	const __u32 end = bpf_htonl(0x454e543d);		 /* ENT= */

	return !((*(__u64 *)text ^ begin) | (*(__u32 *)(text + 8) ^ end));
}

/* TRACEPARENT is looked for among so many variables. */
#define VARIABLES 512

/* Looks at some variables of an environment. Gives 1 when there is no more to look at. */
__noinline int look_for_context(__u64 start, __u64 size)
{
	struct text_scratch *scratch = text_scratch();

	if (!scratch)
		return 1;
	for (int i = 0; i < 4 * TURNS; i++) {
		__u32 offset = READ_ONCE(scratch->record.offset);
		long length;

		if (offset >= size)
			return 1;
		length = bpf_probe_read_user_str(scratch->text, TEXT_CHUNK, (void *)(start + offset));
		if (length <= 0)
			return 1;
		if (is_context(scratch->text)) {
			scratch->record.offset = 0;
			scratch->record.size = length;
			emit_text(TEXT_CONTEXT);
			return 1;
		}
		scratch->record.offset = offset + length;
	}
	return 0;
}

/* Emits the variable TRACEPARENT of an environment, if it is there. */
static __always_inline void emit_context(struct text_scratch *scratch, __u64 start, __u64 size)
{
	scratch->record.offset = 0;
	for (int i = 0; i < VARIABLES / (4 * TURNS); i++)
		if (look_for_context(start, size))
			break;
	scratch->record.offset = 0;
}

/* Takes a path some components further towards the root. Gives 1 when it is over, emitted or not. */
__noinline int climb_path(__u32 part, __u64 root_address)
{
	struct path *root = (struct path *)root_address;
	struct dentry *root_dentry = BPF_CORE_READ(root, dentry);
	struct vfsmount *root_mount = BPF_CORE_READ(root, mnt);
	struct text_scratch *scratch = text_scratch();

	if (!scratch)
		return 1;
	for (int i = 0; i < TURNS; i++) {
		struct dentry *dentry = (struct dentry *)READ_ONCE(scratch->node);
		struct vfsmount *vfsmount = (struct vfsmount *)READ_ONCE(scratch->mount);
		__u32 size = READ_ONCE(scratch->record.size);
		struct dentry *parent;
		long length;

		if (dentry == root_dentry && vfsmount == root_mount) {
			emit_text(part);
			return 1;
		}
		if (dentry == BPF_CORE_READ(vfsmount, mnt_root)) {
			struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount) { /* the root of another mount namespace */
				emit_text(part);
				return 1;
			}
			scratch->node = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
			scratch->mount = (__u64)above + bpf_core_field_offset(struct mount, mnt);
			continue;
		}
		if (size >= PATH_BYTES)
			return 1;
		length =
		    bpf_probe_read_kernel_str(scratch->text + size, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
		if (length <= 0)
			return 1;
		scratch->record.size = size + length;
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry) { /* a file without a place, such as a memfd */
			emit_text(part);
			return 1;
		}
		scratch->node = (__u64)parent;
	}
	return 0;
}

/*
 * Emits a path as its components from leaf to root, each with its NUL; user space turns it round. The addresses are of
 * two struct path. A path that cannot be followed to the root is left out.
 */
__noinline int emit_path(__u32 part, __u64 path_address, __u64 root_address)
{
	struct path *path = (struct path *)path_address;
	struct text_scratch *scratch = text_scratch();

	if (!scratch)
		return 0;
	scratch->record.size = 0;
	scratch->node = (__u64)BPF_CORE_READ(path, dentry);
	scratch->mount = (__u64)BPF_CORE_READ(path, mnt);
	for (int i = 0; i < PATH_COMPONENTS / TURNS; i++)
		if (climb_path(part, root_address))
			return 0;
	COUNT(text_faults); /* too deep */
	return 0;
}

/* As climb_path, for the path of a control group. */
__noinline int climb_cgroup(void)
{
	struct text_scratch *scratch = text_scratch();

	if (!scratch)
		return 1;
	for (int i = 0; i < TURNS; i++) {
		struct kernfs_node *node = (struct kernfs_node *)READ_ONCE(scratch->node);
		struct kernfs_node *parent = parent_node(node);
		__u32 size = READ_ONCE(scratch->record.size);
		long length;

		if (!parent) {
			emit_text(TEXT_CGROUP);
			return 1;
		}
		if (size >= PATH_BYTES)
			return 1;
		length = bpf_probe_read_kernel_str(scratch->text + size, NAME_BYTES, BPF_CORE_READ(node, name));
		if (length <= 0)
			return 1;
		scratch->record.size = size + length;
		scratch->node = (__u64)parent;
	}
	return 0;
}

/* As emit_path, for the path of a control group, given the address of its node. */
__noinline int emit_cgroup(__u64 node_address)
{
	struct text_scratch *scratch = text_scratch();

	if (!scratch)
		return 0;
	scratch->record.size = 0;
	scratch->node = node_address;
	for (int i = 0; i < PATH_COMPONENTS / TURNS; i++)
		if (climb_cgroup())
			return 0;
	COUNT(text_faults); /* too deep */
	return 0;
}

static __always_inline __u32 leader_pid(struct task_struct *task, int type)
{
	return BPF_CORE_READ(task, signal, pids[type], numbers[0].nr);
}

static __always_inline void fill_namespaces(struct exec_record *record, struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	unsigned int level = BPF_CORE_READ(pid, level);
	struct upid upid = {};

	bpf_core_read(&upid, sizeof(upid), &pid->numbers[level]);
	record->vpid = upid.nr;
	record->namespaces.pid = BPF_CORE_READ(upid.ns, ns.inum);
	record->namespaces.mount = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	record->namespaces.network = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	record->namespaces.user = BPF_CORE_READ(task, cred, user_ns, ns.inum);
}

/* That of niceness 0: include/linux/sched/prio.h, DEFAULT_PRIO. */
#define STATIC_PRIORITY 120

SEC("raw_tp/sched_process_exec")
int handle_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct linux_binprm *binprm = (struct linux_binprm *)ctx->args[2];
	struct exec_record record = {};
	struct tracked_process *process;
	struct text_scratch *text;
	struct shared_page *page;
	struct unshared *root;
	struct fs_struct *fs;
	struct mm_struct *mm;
	struct file *executable;
	__u64 arg_start, env_start, cgroup;
	long length;

	process = tracked_process();
	if (!process)
		return 0;
	text = text_scratch();
	if (!text)
		return 0;
	mm = BPF_CORE_READ(task, mm);
	fs = BPF_CORE_READ(task, fs);
	arg_start = BPF_CORE_READ(mm, arg_start);
	env_start = BPF_CORE_READ(mm, env_start);

	fill_header(&record.header, task, RECORD_EXEC);
	record.arguments_size = BPF_CORE_READ(mm, arg_end) - arg_start;
	record.environment_size = BPF_CORE_READ(mm, env_end) - env_start;
	record.argument_count = BPF_CORE_READ(binprm, argc);
	record.user_id = BPF_CORE_READ(task, cred, euid.val);
	record.real_user_id = BPF_CORE_READ(task, cred, uid.val);
	record.group_id = BPF_CORE_READ(task, cred, egid.val);
	record.real_group_id = BPF_CORE_READ(task, cred, gid.val);
	record.nice = BPF_CORE_READ(task, static_prio) - STATIC_PRIORITY + 20;
	record.is_script = BPF_CORE_READ(binprm, interp) != BPF_CORE_READ(binprm, filename);
	fill_namespaces(&record, task);
	record.group_leader_pid = leader_pid(task, PIDTYPE_PGID);
	record.session_leader_pid = leader_pid(task, PIDTYPE_SID);
	record.is_interactive = BPF_CORE_READ(task, signal, tty) != NULL;

	text->record.header = record.header;
	text->record.header.kind = RECORD_TEXT;
	process->is_withheld = !may_look_at(task, mm);
	if (process->is_withheld) {
		/* What everybody may know of it: proc_pid_comm(5). */
		record.environment_size = 0;
		length = bpf_probe_read_kernel_str(text->text, sizeof(task->comm), &task->comm);
	} else {
		length = bpf_probe_read_kernel_str(text->text, PATH_BYTES, BPF_CORE_READ(binprm, filename));
	}
	text->record.size = length > 0 ? length : 0;
	emit_text(TEXT_FILE);
	if (!process->is_withheld) {
		executable = BPF_CORE_READ(mm, exe_file);
		emit_path(TEXT_EXECUTABLE, (__u64)&executable->f_path, (__u64)&fs->root);
		emit_path(TEXT_DIRECTORY, (__u64)&fs->pwd, (__u64)&fs->root);
	}
	emit_user_text(TEXT_ARGUMENTS, arg_start, record.arguments_size);
	root = unshared_values();
	cgroup = (__u64)BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	if (root && cgroup && cgroup != root->root_cgroup) {
		emit_cgroup(cgroup);
		if (record.header.process.tgid == root->root_tgid)
			root->root_cgroup = cgroup;
	}
	page = shared_page();
	if (page && page->capture_environment && !process->is_withheld)
		emit_user_text(TEXT_ENVIRONMENT, env_start, record.environment_size);
	else if (!process->is_withheld)
		emit_context(text, env_start, record.environment_size);
	emit(&record, sizeof(record), RECORD_EXEC);
	return 0;
}

/* As wait(2) would give it to the parent: kernel/exit.c, wait_task_zombie(). */
static __always_inline __u32 wait_status(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);

	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		return BPF_CORE_READ(signal, group_exit_code);
	return BPF_CORE_READ(task, group_leader, exit_code);
}

/* More threads than this are not there any more when the last one dies, but for those that die with it. */
#define DYING_THREADS 32

static __always_inline void add_io(struct io *io, struct task_struct *thread)
{
	if (!bpf_core_field_exists(thread->ioac))
		return;
	io->read_chars += BPF_CORE_READ(thread, ioac.rchar);
	io->written_chars += BPF_CORE_READ(thread, ioac.wchar);
	io->read_bytes += BPF_CORE_READ(thread, ioac.read_bytes);
	io->written_bytes += BPF_CORE_READ(thread, ioac.write_bytes);
}

/* The reaped threads' part stands in the signal structure, that of the others with each: kernel/exit.c,
 * __exit_signal(). */
static __always_inline void fill_usage(struct usage *usage, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct list_head *head = (void *)signal + bpf_core_field_offset(struct signal_struct, thread_head);
	struct list_head *node = BPF_CORE_READ(head, next);

	usage->runtime_ns = BPF_CORE_READ(signal, sum_sched_runtime);
	usage->user_ns = BPF_CORE_READ(signal, utime);
	usage->system_ns = BPF_CORE_READ(signal, stime);
	usage->peak_resident_pages = BPF_CORE_READ(signal, maxrss);
	usage->minor_faults = BPF_CORE_READ(signal, min_flt);
	usage->major_faults = BPF_CORE_READ(signal, maj_flt);
	usage->voluntary_switches = BPF_CORE_READ(signal, nvcsw);
	usage->involuntary_switches = BPF_CORE_READ(signal, nivcsw);
	for (int i = 0; i < DYING_THREADS && node != head; i++) {
		struct task_struct *thread = (void *)node - bpf_core_field_offset(struct task_struct, thread_node);

		usage->runtime_ns += BPF_CORE_READ(thread, se.sum_exec_runtime);
		usage->user_ns += BPF_CORE_READ(thread, utime);
		usage->system_ns += BPF_CORE_READ(thread, stime);
		usage->minor_faults += BPF_CORE_READ(thread, min_flt);
		usage->major_faults += BPF_CORE_READ(thread, maj_flt);
		usage->voluntary_switches += BPF_CORE_READ(thread, nvcsw);
		usage->involuntary_switches += BPF_CORE_READ(thread, nivcsw);
		node = BPF_CORE_READ(node, next);
	}
}

/* Fires for each thread, the leader perhaps first; the process is dead when none is left alive. */
SEC("raw_tp/sched_process_exit")
int handle_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct exit_record record = {};
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct tracked_process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (!process)
		return 0;
	if (BPF_CORE_READ(task, signal, live.counter) > 0) {
		/* The signal structure's sum of this would hold that of children, too. */
		if (task != leader)
			add_io(&process->dead_threads_io, task);
		return 0;
	}
	record.threads = process->threads;
	record.is_oom_victim = process->is_oom_victim;
	if (!process->is_withheld) {
		record.usage.io = process->dead_threads_io;
		add_io(&record.usage.io, leader);
		if (task != leader)
			add_io(&record.usage.io, task);
	}
	/* Two threads dying at once both get here: one of them takes the entry out. */
	if (bpf_map_delete_elem(&processes, &tgid))
		return 0;
	fill_header(&record.header, task, RECORD_EXIT);
	bpf_map_update_elem(&exiting, &tgid, &record.header.process, BPF_ANY);
	record.status = wait_status(task);
	fill_usage(&record.usage, task);
	emit(&record, sizeof(record), RECORD_EXIT);
	ADD(live_processes, -1);
	return 0;
}

/* Before it is killed. */
SEC("raw_tp/mark_victim")
int handle_victim(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tgid = victim_tgid(ctx->args[0]);
	struct tracked_process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (process)
		process->is_oom_victim = 1;
	return 0;
}

#endif
