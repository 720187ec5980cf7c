/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* exec of the tracked processes: their program, directory, arguments and environment. */
#ifndef TRACER_EXEC_BPF_H
#define TRACER_EXEC_BPF_H

/* A deeper or longer path is not reported. */
#define PATH_COMPONENTS 64
#define PATH_BYTES	4096
#define NAME_BYTES	256 /* NAME_MAX and a NUL */

struct text_scratch {
	struct text_record record;
	char text[TEXT_CHUNK + NAME_BYTES];
	__u64 node;  /* the current position of the walk along a path */
	__u64 mount; /* the mount of this position */
	struct exec_record exec;
};

/* Only the exec program uses it, and that program does not nest. */
PER_PROCESSOR(text_scratch, struct text_scratch, 1)

/* Counts a text that could not be read, and a path that is too deep or too long. */
static __always_inline void count_text_fault(__u32 part)
{
	/* For the verifier: the compared value must be the value that is the index. */
	barrier_var(part);
	if (part < TEXT_PARTS)
		COUNT(text_faults[part]);
}

/* Emits the scratch record with its `record.size` bytes of text. */
__noinline int emit_text(__u32 part)
{
	struct text_scratch *scratch = text_scratch(0);
	__u32 size;

	if (!scratch)
		return 0;
	size = READ_ONCE(scratch->record.size);
	if (size > TEXT_CHUNK || scratch->record.fault)
		count_text_fault(part);
	if (size > TEXT_CHUNK)
		return 0;
	scratch->record.part = part;
	emit(scratch, sizeof(scratch->record) + size, RECORD_TEXT);
	return 0;
}

/* A text can begin in the middle of a page. So TEXT_LIMIT bytes can need one more page. */
#define TEXT_LIMIT  (128 * 1024)
#define TEXT_CHUNKS (TEXT_LIMIT / TEXT_CHUNK + 1)

/* Emits a few chunks. Returns 1 when there is no more to emit. */
__noinline int emit_chunks(__u32 part, __u64 start, __u32 limit)
{
	struct text_scratch *scratch = text_scratch(0);

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
 * Emits `size` bytes of user memory from `start`, in chunks. Each chunk ends at the end of its page. exec has just
 * written this memory, so it is nearly always resident. If a page is not resident, only its chunk is lost.
 */
__noinline int emit_user_text(__u32 part, __u64 start, __u64 size)
{
	struct text_scratch *scratch = text_scratch(0);
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

/*
 * This is one comparison, because the verifier follows each branch of each turn. The name is two numbers and not a
 * string, because a string would need another map.
 */
static __always_inline bool is_context(const char *text)
{
	const __u64 begin = bpf_cpu_to_be64(0x5452414345504152); /* TRACEPAR */
	const __u32 end = bpf_htonl(0x454e543d);		 /* ENT= */

	return !((*(__u64 *)text ^ begin) | (*(__u32 *)(text + 8) ^ end));
}

/* Looks for TRACEPARENT among a few variables of an environment. Returns 1 when there is no more to look at. */
__noinline int look_for_context(__u64 start, __u64 size)
{
	struct text_scratch *scratch = text_scratch(0);

	if (!scratch)
		return 1;
	for (int i = 0; i < 2 * TURNS; i++) {
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

/* Looks for TRACEPARENT among more variables. */
__noinline int look_further_for_context(__u64 start, __u64 size)
{
	for (int i = 0; i < 2 * TURNS; i++)
		if (look_for_context(start, size))
			return 1;
	return 0;
}

/* The number of variables that are searched. */
#define VARIABLES 512

/* Emits an environment: all of it, or only the variable TRACEPARENT if it is set. */
__noinline int emit_environment(__u64 start, __u64 size)
{
	struct text_scratch *scratch = text_scratch(0);

	if (!scratch)
		return 0;
	if (shared.capture_environment)
		return emit_user_text(TEXT_ENVIRONMENT, start, size);
	scratch->record.offset = 0;
	for (int i = 0; i < VARIABLES / (4 * TURNS * TURNS); i++)
		if (look_further_for_context(start, size))
			break;
	scratch->record.offset = 0;
	return 0;
}

/* Follows a path towards the root, for a few components. Returns 1 when the path has been emitted. */
__noinline int climb_path(__u32 part, __u64 root_address)
{
	struct path *root = (struct path *)root_address;
	struct dentry *root_dentry = BPF_CORE_READ(root, dentry);
	struct vfsmount *root_mount = BPF_CORE_READ(root, mnt);
	struct text_scratch *scratch = text_scratch(0);

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

			if (above == mount) { /* this is the root of another mount namespace */
				emit_text(part);
				return 1;
			}
			scratch->node = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
			scratch->mount = (__u64)above + bpf_core_field_offset(struct mount, mnt);
			continue;
		}
		if (size >= PATH_BYTES)
			return 0;
		length =
		    bpf_probe_read_kernel_str(scratch->text + size, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
		if (length <= 0)
			return 0;
		scratch->record.size = size + length;
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry) { /* the file is in no folder, for example a memfd */
			emit_text(part);
			return 1;
		}
		scratch->node = (__u64)parent;
	}
	return 0;
}

/*
 * Emits a path as its components from leaf to root, each with a NUL. User space reverses them. Both addresses are of a
 * struct path. If a path cannot be followed to the root, it is not reported.
 */
__noinline int emit_path(__u32 part, __u64 path_address, __u64 root_address)
{
	struct path *path = (struct path *)path_address;
	struct text_scratch *scratch = text_scratch(0);

	if (!scratch)
		return 0;
	scratch->record.size = 0;
	scratch->node = (__u64)BPF_CORE_READ(path, dentry);
	scratch->mount = (__u64)BPF_CORE_READ(path, mnt);
	for (int i = 0; i < PATH_COMPONENTS / TURNS; i++)
		if (climb_path(part, root_address))
			return 0;
	count_text_fault(part);
	return 0;
}

/* Does the same as climb_path for the path of a control group. */
__noinline int climb_cgroup(__u32 part)
{
	struct text_scratch *scratch = text_scratch(0);

	if (!scratch)
		return 1;
	for (int i = 0; i < TURNS; i++) {
		struct kernfs_node *node = (struct kernfs_node *)READ_ONCE(scratch->node);
		struct kernfs_node *parent = parent_node(node);
		__u32 size = READ_ONCE(scratch->record.size);
		long length;

		if (!parent) {
			emit_text(part);
			return 1;
		}
		if (size >= PATH_BYTES)
			return 0;
		length = bpf_probe_read_kernel_str(scratch->text + size, NAME_BYTES, BPF_CORE_READ(node, name));
		if (length <= 0)
			return 0;
		scratch->record.size = size + length;
		scratch->node = (__u64)parent;
	}
	return 0;
}

/* Does the same as emit_path for the path of a control group. Takes the address of its node. */
__noinline int emit_cgroup(__u32 part, __u64 node_address)
{
	struct text_scratch *scratch = text_scratch(0);

	if (!scratch)
		return 0;
	scratch->record.size = 0;
	scratch->node = node_address;
	for (int i = 0; i < PATH_COMPONENTS / TURNS; i++)
		if (climb_cgroup(part))
			return 0;
	count_text_fault(part);
	return 0;
}

/*
 * Emits the control groups that differ from those of the root. In version 1 each controller can have a hierarchy of its
 * own. Only that of the memory controller is read, because most container runtimes use it.
 */
__noinline int emit_cgroups(__u64 task_address, __u32 is_root)
{
	struct css_set *set = BPF_CORE_READ((struct task_struct *)task_address, cgroups);
	struct text_scratch *scratch = text_scratch(0);
	struct cgroup_subsys_state *memory = NULL;
	__u64 node;

	if (!scratch)
		return 0;
	node = (__u64)BPF_CORE_READ(set, dfl_cgrp, kn);
	if (node && node != unshared.root_cgroup) {
		emit_cgroup(TEXT_CGROUP, node);
		if (is_root)
			unshared.root_cgroup = node;
	}
	scratch->exec.hierarchy = 0;
	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	bpf_probe_read_kernel(&memory, sizeof(memory),
			      (void *)set + bpf_core_field_offset(struct css_set, subsys) +
				  bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id) * sizeof(void *));
	scratch->exec.hierarchy = BPF_CORE_READ(memory, cgroup, root, hierarchy_id);
	node = (__u64)BPF_CORE_READ(memory, cgroup, kn);
	if (scratch->exec.hierarchy && node && node != unshared.root_cgroup_v1) {
		emit_cgroup(TEXT_CGROUP_V1, node);
		if (is_root)
			unshared.root_cgroup_v1 = node;
	}
	return 0;
}

static __always_inline void read_namespaces(struct exec_record *record, struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	unsigned int level = BPF_CORE_READ(pid, level);
	struct upid upid = {};

	bpf_core_read(&upid, sizeof(upid), &pid->numbers[level]);
	record->vpid = upid.nr;
	BPF_CORE_READ_INTO(&record->namespaces.pid, upid.ns, ns.inum);
	BPF_CORE_READ_INTO(&record->namespaces.mount, task, nsproxy, mnt_ns, ns.inum);
	BPF_CORE_READ_INTO(&record->namespaces.network, task, nsproxy, net_ns, ns.inum);
	BPF_CORE_READ_INTO(&record->namespaces.user, task, cred, user_ns, ns.inum);
}

static __always_inline void read_root_folder(struct exec_record *record, struct task_struct *task)
{
	struct vfsmount *vfsmount = BPF_CORE_READ(task, fs, root.mnt);
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);

	record->root_folder.mount = BPF_CORE_READ(mount, mnt_id);
	record->root_folder.inode = BPF_CORE_READ(task, fs, root.dentry, d_inode, i_ino);
}

/* The static priority of niceness 0: include/linux/sched/prio.h, DEFAULT_PRIO. */
#define STATIC_PRIORITY 120

/* Emits the exec record. It has the same header as its text records. */
static __always_inline void emit_exec(struct text_scratch *text, struct task_struct *task, struct linux_binprm *binprm,
				      __u32 visibility)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct exec_record *record = &text->exec;

	record->header = text->record.header;
	record->header.kind = RECORD_EXEC;
	record->arguments_size = 0;
	record->argument_count = 0;
	if (visibility != VISIBLE_IDS) {
		record->arguments_size = BPF_CORE_READ(mm, arg_end) - BPF_CORE_READ(mm, arg_start);
		BPF_CORE_READ_INTO(&record->argument_count, binprm, argc);
	}
	record->environment_size = 0;
	if (visibility == VISIBLE_ALL)
		record->environment_size = BPF_CORE_READ(mm, env_end) - BPF_CORE_READ(mm, env_start);
	record->visibility = visibility;
	BPF_CORE_READ_INTO(&record->user_id, task, cred, euid.val);
	BPF_CORE_READ_INTO(&record->real_user_id, task, cred, uid.val);
	BPF_CORE_READ_INTO(&record->group_id, task, cred, egid.val);
	BPF_CORE_READ_INTO(&record->real_group_id, task, cred, gid.val);
	BPF_CORE_READ_INTO(&record->group_leader_pid, task, signal, pids[PIDTYPE_PGID], numbers[0].nr);
	BPF_CORE_READ_INTO(&record->session_leader_pid, task, signal, pids[PIDTYPE_SID], numbers[0].nr);
	record->nice = BPF_CORE_READ(task, static_prio) - STATIC_PRIORITY + 20;
	record->is_script = BPF_CORE_READ(binprm, interp) != BPF_CORE_READ(binprm, filename);
	record->is_interactive = BPF_CORE_READ(task, signal, tty) != NULL;
	record->has_other_root = (__u64)BPF_CORE_READ(task, fs, root.dentry) != unshared.root_folder;
	read_namespaces(record, task);
	read_root_folder(record, task);
	if (visibility != VISIBLE_ALL) {
		__builtin_memset(&record->namespaces, 0, sizeof(record->namespaces));
		__builtin_memset(&record->root_folder, 0, sizeof(record->root_folder));
	}
	emit(record, sizeof(*record), RECORD_EXEC);
}

SEC("raw_tp/sched_process_exec")
int handle_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct linux_binprm *binprm = (struct linux_binprm *)ctx->args[2];
	struct tracked_process *process = tracked_process();
	struct text_scratch *text = text_scratch(0);
	__u64 arguments, environment;
	struct fs_struct *fs;
	struct mm_struct *mm;
	struct file *file;
	__u32 visibility;
	long length;

	if (!process || !text)
		return 0;
	mm = BPF_CORE_READ(task, mm);
	fill_header(&text->record.header, task, RECORD_TEXT);
	visibility = visibility_of(task, mm);
	process->is_withheld = visibility != VISIBLE_ALL;
	if (visibility != VISIBLE_IDS) {
		/* Every user may read the comm: proc_pid_comm(5). */
		length = visibility == VISIBLE_PUBLIC
			     ? bpf_probe_read_kernel_str(text->text, sizeof(task->comm), &task->comm)
			     : bpf_probe_read_kernel_str(text->text, PATH_BYTES, BPF_CORE_READ(binprm, filename));
		text->record.size = length > 0 ? length : 0;
		emit_text(TEXT_FILE);
		arguments = BPF_CORE_READ(mm, arg_start);
		emit_user_text(TEXT_ARGUMENTS, arguments, BPF_CORE_READ(mm, arg_end) - arguments);
		emit_cgroups((__u64)task, process->identity.tgid == unshared.root_tgid);
	}
	if (visibility == VISIBLE_ALL) {
		fs = BPF_CORE_READ(task, fs);
		file = BPF_CORE_READ(mm, exe_file);
		emit_path(TEXT_EXECUTABLE, (__u64)&file->f_path, (__u64)&fs->root);
		emit_path(TEXT_DIRECTORY, (__u64)&fs->pwd, (__u64)&fs->root);
		environment = BPF_CORE_READ(mm, env_start);
		emit_environment(environment, BPF_CORE_READ(mm, env_end) - environment);
	}
	emit_exec(text, task, binprm, visibility);
	return 0;
}

#endif
