/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * UDP flows: the datagrams between a socket of a tracked process and one peer.
 *
 * A flow begins when the process sends. Earlier datagrams from the peer are remembered for a while, because the process
 * can answer them. The counts are in a slot of an array that user space has mapped. So user space reads the last counts
 * without a system call. It also needs no hook on close(). The kernel has no such hook. User space gives a slot back
 * when the flow is over. Until then, no other flow gets the slot.
 */
#ifndef TRACER_FLOW_BPF_H
#define TRACER_FLOW_BPF_H

#define NO_SLOT 0xffffffff

#define EEXIST 17 /* include/uapi/asm-generic/errno-base.h */

/*
 * A datagram passes each of several stacked devices: VLANs, bonds, bridges. Only the first device counts it. After this
 * time without a datagram, another device can take the place of the first.
 */
#define DEVICE_SILENCE_NS (1000 * 1000 * 1000ULL)

/* The slots of all flows. The loader sets the size of this map. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FLOW_SLOTS);
	__type(key, __u32);
	__type(value, struct flow_slot);
} flow_slots SEC(".maps");

/*
 * The free slots of a processor. They need no lock: no other program can interrupt the program that takes a slot,
 * because the kernel transmits with softirqs off (net/core/dev.c, __dev_queue_xmit()).
 */
struct flow_cursor {
	__u32 unused; /* all slots before this one have been in use */
	__u32 next;   /* position in the queue of slots that user space has given back */
};

PER_PROCESSOR(flow_cursor, struct flow_cursor, 1)

/* The flow of a sent datagram is found by the socket. The flow of a received datagram is found by the port. */
struct flow_key {
	__u64 here; /* struct sock *, or struct net * of the port */
	__u8 peer[16];
	__u16 peer_port;
	__u16 port; /* 0 with a socket */
	__u32 reserved;
};

/* Where and when the last datagram of one direction was counted. */
struct passage {
	__u64 time_ns;
	__u64 device; /* struct net_device * */
};

struct flow {
	struct passage passage;
	__u64 socket; /* struct sock * */
	__u32 owner_tgid;
	__u32 slot;
	__u32 generation; /* if the slot has another one, the flow is over */
	__u32 inode;	  /* of the socket; another socket at the same address has another one */
	__u32 local_port; /* a socket can change it */
	__u32 reserved;
};

/*
 * The map forgets the entries that are unused for the longest time. Each flow takes two entries. The loader makes the
 * map larger if there are many processors, up to a limit. Below this limit, the map has room for all flows that have a
 * slot, so the forgotten entries belong to flows that are over.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* Received datagrams that belong to no flow. If the process answers them, they are the beginning of a flow. */
struct arrivals {
	struct passage passage;
	__u64 first_ns;
	__u64 datagrams;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow_key);
	__type(value, struct arrivals);
} arrivals SEC(".maps");

/* A datagram that is sent later than this does not count as an answer. */
#define ANSWER_NS (10 * 1000 * 1000 * 1000ULL)

/* The slot of a flow, as long as the flow owns the slot. */
static __always_inline struct flow_slot *slot_of(struct flow *flow)
{
	struct flow_slot *slot = bpf_map_lookup_elem(&flow_slots, &flow->slot);

	return slot && *(volatile __u32 *)&slot->generation == flow->generation ? slot : NULL;
}

static __always_inline bool passes_first(struct passage *last, struct net_device *dev, __u64 now)
{
	__u64 device = (__u64)dev;

	if (last->device != device && now - last->time_ns < DEVICE_SILENCE_NS)
		return false;
	last->device = device;
	last->time_ns = now;
	return true;
}

/*
 * Whether the process `sender` can continue the flow. 0 means that the process is not known. A process can get the
 * socket from another process. As long as that other process lives, its flow continues.
 */
static __always_inline bool goes_on(struct flow *flow, __u32 inode, __u16 local_port, __u32 sender)
{
	/* The flow of a closed socket still has the address of that socket. */
	if (inode && (flow->inode != inode || flow->local_port != local_port))
		return false;
	if (flow->slot == NO_SLOT)
		return true;
	if (!slot_of(flow))
		return false;
	return !sender || sender == flow->owner_tgid || bpf_map_lookup_elem(&processes, &flow->owner_tgid);
}

/* Returns a free slot of this processor, or NO_SLOT. take_slot() takes it. */
static __always_inline __u32 free_slot(struct flow_cursor *cursor)
{
	__u32 first = bpf_get_smp_processor_id() * FLOW_SLOTS;
	__u32 place = first + cursor->next;
	struct flow_slot *turn;

	if (cursor->unused < FLOW_SLOTS)
		return first + cursor->unused;
	turn = bpf_map_lookup_elem(&flow_slots, &place);
	return turn && turn->freed ? turn->freed - 1 : NO_SLOT;
}

static __always_inline void take_slot(struct flow_cursor *cursor)
{
	__u32 place = bpf_get_smp_processor_id() * FLOW_SLOTS + cursor->next;
	struct flow_slot *turn;

	if (cursor->unused < FLOW_SLOTS) {
		cursor->unused++;
		return;
	}
	turn = bpf_map_lookup_elem(&flow_slots, &place);
	if (turn)
		turn->freed = 0;
	cursor->next = (cursor->next + 1) % FLOW_SLOTS;
}

/* The outer packet of a tunnel has the socket of the process too, but the process has not sent it. */
static __always_inline bool is_of_tunnel(__u64 skb)
{
	return BPF_CORE_READ((struct sk_buff *)skb, inner_network_header) != 0;
}

/* The number of descriptors that are searched for a socket, and the number in one turn. */
#define DESCRIPTORS	    256
#define DESCRIPTORS_AT_ONCE 32

struct descriptors {
	__u64 files[DESCRIPTORS_AT_ONCE]; /* struct file * */
};

PER_PROCESSOR(descriptors, struct descriptors, 1)

__noinline int has_file(__u64 table, __u64 file)
{
	struct descriptors *some = descriptors(0);

	if (!some || bpf_probe_read_kernel(some, sizeof(*some), (void *)table))
		return 0;
	for (__u32 i = 0; i < DESCRIPTORS_AT_ONCE; i++)
		if (some->files[i] == file)
			return 1;
	return 0;
}

/*
 * Whether the current task can be the sender. If a datagram waits for address resolution (ARP or NDP), another task
 * sends it. That task has no descriptor of the socket. If the current task has too many descriptors to search all of
 * them, the result is true.
 */
__noinline int may_have_socket(__u64 sk_address)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 file = (__u64)BPF_CORE_READ((struct sock *)sk_address, sk_socket, file);
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	__u64 files = (__u64)BPF_CORE_READ(table, fd);
	__u32 count = BPF_CORE_READ(table, max_fds);

	if (!file)
		return 0;
	/* With io_uring, a task can have sockets without descriptors. */
	if (bpf_core_field_exists(task->io_uring) && BPF_CORE_READ(task, io_uring))
		return 1;
	/* Their number is a multiple of 64: fs/file.c, alloc_fdtable(). */
	for (__u32 i = 0; i < DESCRIPTORS; i += DESCRIPTORS_AT_ONCE) {
		if (i >= count)
			return 0;
		if (has_file(files + i * sizeof(file), file))
			return 1;
	}
	return count > DESCRIPTORS;
}

/* The key of a datagram that a socket sends. */
static __always_inline void fill_outgoing_key(struct flow_key *key, __u64 socket, struct datagram *datagram)
{
	key->here = socket;
	key->peer_port = datagram->destination_port;
	copy_address(key->peer, datagram->destination);
}

/* The key of a datagram that comes in for a port of a network namespace. */
static __always_inline void fill_incoming_key(struct flow_key *key, __u64 net, struct datagram *datagram)
{
	key->here = net;
	key->port = datagram->destination_port;
	key->peer_port = datagram->source_port;
	copy_address(key->peer, datagram->source);
}

/*
 * Begins a flow of the current task, even if another process had the socket before. Returns 0 if there is no room for
 * the flow.
 */
__noinline int open_flow(__u64 socket, __u32 local_port)
{
	struct datagram *datagram = current_datagram(OUTGOING);
	struct net *net = BPF_CORE_READ((struct sock *)socket, __sk_common.skc_net.net);
	struct tracked_process *owner = tracked_process();
	struct flow_key key = {}, incoming = {};
	__u64 now = bpf_ktime_get_boot_ns();
	struct flow_cursor *cursor = flow_cursor(0);
	struct flow_record record = {};
	struct arrivals *question;
	struct flow_slot *slot;
	struct flow flow = {};
	long error;

	if (!cursor || !datagram || !owner)
		return 0;
	fill_outgoing_key(&key, socket, datagram);
	flow.socket = socket;
	flow.inode = socket_inode((struct sock *)socket);
	flow.local_port = local_port;
	flow.owner_tgid = owner->identity.tgid;
	flow.slot = free_slot(cursor);
	slot = bpf_map_lookup_elem(&flow_slots, &flow.slot);
	if (!slot) {
		flow.slot = NO_SLOT;
		bpf_map_update_elem(&flows, &key, &flow, BPF_ANY);
		COUNT(untracked_connections);
		return 0;
	}
	flow.generation = slot->generation;
	slot->datagrams_sent = slot->datagrams_received = 0;
	slot->bytes_sent = slot->bytes_received = 0;
	slot->last_ns = now;
	/* If two threads send at once, one of them opens the flow. */
	error = bpf_map_update_elem(&flows, &key, &flow, bpf_map_lookup_elem(&flows, &key) ? BPF_ANY : BPF_NOEXIST);
	if (error)
		return error == -EEXIST;

	/* If the port is translated, the peer sends to the translated port. */
	incoming.here = (__u64)net;
	incoming.port = datagram->source_port;
	incoming.peer_port = key.peer_port;
	copy_address(incoming.peer, key.peer);
	question = bpf_map_lookup_elem(&arrivals, &incoming);
	if (question && now - question->passage.time_ns >= ANSWER_NS)
		question = NULL;
	record.header.time_ns = question ? question->first_ns : now;
	record.header.process = owner->identity;
	record.header.kind = RECORD_FLOW;
	record.slot = flow.slot;
	record.generation = flow.generation;
	record.network_namespace = disguised(network_namespace(net));
	record.local_port = local_port;
	record.peer_port = key.peer_port;
	copy_address(record.local_address, datagram->source);
	copy_address(record.peer_address, key.peer);
	if (bpf_ringbuf_output(&records, &record, sizeof(record), wakeup())) {
		/* User space does not know the flow, so it will not give the slot back. */
		bpf_map_delete_elem(&flows, &key);
		COUNT(lost_records[RECORD_FLOW]);
		return 0;
	}
	take_slot(cursor);
	if (question)
		flow.passage = question->passage;
	bpf_map_update_elem(&flows, &incoming, &flow, BPF_ANY);
	/* Other processors can now count received datagrams in the slot. So these additions are atomic. */
	if (question) {
		__sync_fetch_and_add(&slot->datagrams_received, question->datagrams);
		__sync_fetch_and_add(&slot->bytes_received, question->bytes);
		bpf_map_delete_elem(&arrivals, &incoming);
	}
	return 1;
}

/*
 * Counts the datagrams that a socket sends. `sender` is the current process, or 0 if the current process is not tracked
 * or is not the sender.
 */
__noinline int count_sent(__u64 skb, __u64 socket, __u32 local_port, __u32 sender)
{
	struct datagram *datagram = current_datagram(OUTGOING);
	__u32 inode = socket_inode((struct sock *)socket);
	struct flow_key key = {};
	struct flow_slot *slot;
	struct flow *flow;
	__u64 now;

	if (!datagram || datagram->source_port == PORT_DNS)
		return 0;
	fill_outgoing_key(&key, socket, datagram);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || !goes_on(flow, inode, local_port, sender)) {
		if (!sender || !inode || is_of_tunnel(skb) || !may_have_socket(socket) ||
		    !open_flow(socket, local_port))
			return 0;
		flow = bpf_map_lookup_elem(&flows, &key);
	}
	slot = flow ? slot_of(flow) : NULL;
	if (!slot)
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (!passes_first(&flow->passage, BPF_CORE_READ((struct sk_buff *)skb, dev), now))
		return 0;
	__sync_fetch_and_add(&slot->datagrams_sent, datagram->count);
	__sync_fetch_and_add(&slot->bytes_sent, datagram->size);
	slot->last_ns = now;
	return 0;
}

/* Returns 0 if the datagram belongs to no flow. */
__noinline int count_received(__u64 dev, __u64 net)
{
	struct datagram *datagram = current_datagram(INCOMING);
	struct flow_key key = {};
	struct flow_slot *slot;
	struct flow *flow;
	__u64 now;

	if (!datagram)
		return 0;
	fill_incoming_key(&key, net, datagram);
	flow = bpf_map_lookup_elem(&flows, &key);
	slot = flow ? slot_of(flow) : NULL;
	/* The port can belong to another socket now, even of another user. */
	if (!slot || socket_inode((struct sock *)flow->socket) != flow->inode)
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (!passes_first(&flow->passage, (struct net_device *)dev, now))
		return 1;
	__sync_fetch_and_add(&slot->datagrams_received, datagram->count);
	__sync_fetch_and_add(&slot->bytes_received, datagram->size);
	slot->last_ns = now;
	return 1;
}

/* Remembers a datagram that belongs to no flow yet. */
__noinline int note_arrival(__u64 dev, __u64 net)
{
	struct datagram *datagram = current_datagram(INCOMING);
	__u64 now = bpf_ktime_get_boot_ns();
	struct arrivals *known, first = {};
	struct flow_key key = {};

	if (!datagram)
		return 0;
	fill_incoming_key(&key, net, datagram);
	known = bpf_map_lookup_elem(&arrivals, &key);
	if (known && now - known->passage.time_ns < ANSWER_NS) {
		if (passes_first(&known->passage, (struct net_device *)dev, now)) {
			__sync_fetch_and_add(&known->datagrams, datagram->count);
			__sync_fetch_and_add(&known->bytes, datagram->size);
		}
		return 0;
	}
	first.first_ns = now;
	first.datagrams = datagram->count;
	first.bytes = datagram->size;
	first.passage.time_ns = now;
	first.passage.device = dev;
	bpf_map_update_elem(&arrivals, &key, &first, BPF_ANY);
	return 0;
}

#endif
