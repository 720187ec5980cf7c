/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* The maps, and the way records leave: every refused record is counted here. */
#ifndef TRACER_MAPS_BPF_H
#define TRACER_MAPS_BPF_H

/* Sizes of these maps are the loader's. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024);
} records SEC(".maps");

/* By tgid every live process of the tree. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct tracked_process);
} processes SEC(".maps");

/* Each a map of its own with one value, so that nothing has to be looked up. */
struct shared_page shared SEC(".bss.shared");
struct unshared unshared SEC(".bss.unshared");

/* A map with `count` values for each processor, and the function that gives the current one's, by index. Programs run
 * with preemption off, but one in a softirq may interrupt another: what such have in common they expect to change. */
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

/* The ring buffer's reader sees the counters without a system call. */
#define ADD(field, number) __sync_fetch_and_add(&shared.field, number)
#define COUNT(field)	   ADD(field, 1)

/*
 * The reader wakes by itself several times a second; it is woken when there is much to read, or anything after a time
 * without. Waking it for each record would put its time slices between those of the traced processes.
 */
static __always_inline __u64 wakeup(void)
{
	__u64 unread = bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA);

	/* Not a comparison, since the verifier follows both ways of every branch to the end. */
	return BPF_RB_NO_WAKEUP +
	       (((__u64)shared.wakeup_bytes - 1 - unread) >> 63) * (BPF_RB_FORCE_WAKEUP - BPF_RB_NO_WAKEUP);
}

/* A copy, since what is reserved holds up all that comes after it until it is filled; nor does the verifier before
 * Linux 5.11 know a reserved record again that was on the stack meanwhile. */
static __always_inline void emit(void *record, __u64 size, __u32 kind)
{
	if (bpf_ringbuf_output(&records, record, size, wakeup()))
		COUNT(lost_records[kind]);
}

#endif
