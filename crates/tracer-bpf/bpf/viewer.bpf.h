/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* The restricted user: an ordinary user who traces. They see no more than the kernel would show them. */
#ifndef TRACER_VIEWER_BPF_H
#define TRACER_VIEWER_BPF_H

/*
 * Returns 0 if all credentials of a task are the restricted user's, and the task has no capability. The result is one
 * value instead of conditions, because the verifier follows both ways of each condition.
 */
static __always_inline __u64 foreign_credentials(struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	__u32 user = unshared.user_id, group = unshared.group_id;

	return (BPF_CORE_READ(cred, uid.val) ^ user) | (BPF_CORE_READ(cred, euid.val) ^ user) |
	       (BPF_CORE_READ(cred, suid.val) ^ user) | (BPF_CORE_READ(cred, gid.val) ^ group) |
	       (BPF_CORE_READ(cred, egid.val) ^ group) | (BPF_CORE_READ(cred, sgid.val) ^ group) |
	       permitted_capabilities(cred);
}

/*
 * Whether the kernel would let the restricted user look at the task through /proc: kernel/ptrace.c,
 * ptrace_may_access().
 */
static __always_inline bool may_look_at(struct task_struct *task, struct mm_struct *mm)
{
	if (!unshared.is_restricted)
		return true;
	return !(foreign_credentials(task) | ((mm_flags(mm) & MMF_DUMPABLE_MASK) ^ SUID_DUMP_USER));
}

static __always_inline __u32 visibility_of(struct task_struct *task, struct mm_struct *mm)
{
	if (may_look_at(task, mm))
		return VISIBLE_ALL;
	return unshared.hides_processes ? VISIBLE_IDS : VISIBLE_PUBLIC;
}

/*
 * Another user can pass a socket to a process of the restricted user. The restricted user still must not see its data.
 */
static __always_inline bool may_look_at_socket(struct sock *sk)
{
	return !unshared.is_restricted || BPF_CORE_READ(sk, sk_uid.val) == unshared.user_id;
}

#endif
