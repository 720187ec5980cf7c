/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* The maps, and the emission of records. emit() counts each record that the ring buffer refuses. */
#ifndef TRACER_MAPS_BPF_H
#define TRACER_MAPS_BPF_H

/* The loader sets the sizes of these maps. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024);
} records SEC(".maps");

/* Every live process of the tree, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct tracked_process);
} processes SEC(".maps");

/* Each of these is a map with one value, so no lookup is needed. */
struct shared_page shared SEC(".bss.shared");
struct unshared unshared SEC(".bss.unshared");

/*
 * A map with `count` values for each processor, and a function that returns a value of the current processor, by index.
 * Programs run with preemption off. But a program in a softirq can interrupt another one, and change a value that both
 * use.
 */
#define PER_PROCESSOR(function, value_type, count)                                                                     \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, count);                                                                            \
		__type(key, __u32);                                                                                    \
		__type(value, value_type);                                                                             \
	} function##_map SEC(".maps");                                                                                 \
                                                                                                                       \
	static __always_inline value_type *function(__u32 index)                                                       \
	{                                                                                                              \
		return bpf_map_lookup_elem(&function##_map, &index);                                                   \
	}

/* Whether the user asks for these records. */
static __always_inline bool is_asked(enum record_kind kind)
{
	return unshared.asked_records & (1u << kind);
}

/* The reader sees the counters without a system call. */
#define ADD(field, number) __sync_fetch_and_add(&shared.field, number)
#define COUNT(field)	   ADD(field, 1)

/*
 * The reader wakes by itself several times a second. The programs wake it when there is much to read. After a time
 * without records, the first record wakes it. If each record woke it, it would take processor time from the traced
 * processes.
 */
static __always_inline __u64 wakeup(void)
{
	__u64 unread = bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA);

	/* This avoids a comparison, because the verifier follows both ways of every branch: see verifier.bpf.h. */
	return BPF_RB_NO_WAKEUP +
	       (((__u64)shared.wakeup_bytes - 1 - unread) >> 63) * (BPF_RB_FORCE_WAKEUP - BPF_RB_NO_WAKEUP);
}

/*
 * Copies the record. A reserved record would delay all later records until it is filled. Also, before Linux 5.11 the
 * verifier does not recognise a reserved record whose address was saved on the stack.
 */
static __always_inline void emit(void *record, __u64 size, __u32 kind)
{
	if (bpf_ringbuf_output(&records, record, size, wakeup()))
		COUNT(lost_records[kind]);
}

#endif
