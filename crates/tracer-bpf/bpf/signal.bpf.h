/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* Signals that were sent to the launcher and to the command alike, as by kill(2) of their process group. */
#ifndef TRACER_SIGNAL_BPF_H
#define TRACER_SIGNAL_BPF_H

/* One hand goes through the processes of a group, or all of them, in less time than this; user space waits longer. */
#define PAIR_NS (4 * 1000 * 1000)

struct sent_signal {
	__u64 time_ns;
	__u64 sender; /* tgid and pid, never 0; 0: no signal, or one that has its counterpart */
	__u32 receiver;
	__u32 reserved;
};

/* By number the last one that was sent to either of the two. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIGNALS);
	__type(key, __u32);
	__type(value, struct sent_signal);
} sent_signals SEC(".maps");

SEC("raw_tp/signal_generate")
int handle_signal(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *receiver = (struct task_struct *)ctx->args[2];
	__u64 sender = bpf_get_current_pid_tgid(), now;
	struct sent_signal *last;
	__u32 signal = ctx->args[0], tgid;

	if (!unshared.root_tgid)
		return 0;
	tgid = BPF_CORE_READ(receiver, tgid);
	if (tgid != unshared.root_tgid && tgid != unshared.launcher_tgid)
		return 0;
	if (sender >> 32 == unshared.launcher_tgid)
		return 0; /* passed on by ourselves */
	last = bpf_map_lookup_elem(&sent_signals, &signal);
	if (!last)
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (last->sender == sender && last->receiver != tgid && now - last->time_ns < PAIR_NS) {
		last->sender = 0;
		if (signal < SIGNALS)
			COUNT(paired_signals[signal]);
		return 0;
	}
	last->time_ns = now;
	last->sender = sender;
	last->receiver = tgid;
	return 0;
}

#endif
