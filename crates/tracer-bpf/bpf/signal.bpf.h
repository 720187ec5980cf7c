/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * Signals that one sender sends to both the launcher and the command, for example with kill(2) of their process group.
 */
#ifndef TRACER_SIGNAL_BPF_H
#define TRACER_SIGNAL_BPF_H

/*
 * One sender signals all processes of a group, or of the machine, in less time than this. User space waits longer
 * before it reads the count again.
 */
#define PAIR_NS (4 * 1000 * 1000)

struct sent_signal {
	__u64 time_ns;
	__u64 sender; /* tgid and tid; 0: no signal, or a signal that already has its pair */
	__u32 receiver;
	__u32 reserved;
};

/* The last signal that was sent to one of the two, by number. */
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
		return 0; /* process-tracer itself has forwarded it */
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
