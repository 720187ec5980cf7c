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
	__uint(max_entries, 64000);
	__type(key, __u32);
	__type(value, struct tracked_process);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shared_page);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unshared);
} unshared SEC(".maps");

static __always_inline struct unshared *unshared_values(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&unshared, &zero);
}

static __always_inline struct shared_page *shared_page(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&shared, &zero);
}

/* The ring buffer's reader sees the counters without a system call. */
#define ADD(field, number)                                                                                             \
	do {                                                                                                           \
		struct shared_page *page_ = shared_page();                                                             \
		if (page_)                                                                                             \
			__sync_fetch_and_add(&page_->field, number);                                                   \
	} while (0)
#define COUNT(field) ADD(field, 1)

/*
 * The reader wakes by itself several times a second; it is woken when there is much to read, or anything after a time
 * without. Waking it for each record would put its time slices between those of the traced processes.
 */
static __always_inline __u64 wakeup(void)
{
	struct shared_page *page = shared_page();

	if (page && bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= page->wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void emit(void *record, __u64 size, __u32 kind)
{
	if (bpf_ringbuf_output(&records, record, size, wakeup()))
		COUNT(lost_records[kind]);
}

#endif
