/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* DNS over UDP: what the tracked processes ask, and what they are answered. An answer is known by the port that the
 * query left from. */
#ifndef TRACER_DNS_BPF_H
#define TRACER_DNS_BPF_H

#define PORT_DNS    53
#define DNS_MESSAGE 4096 /* captured of one; longer answers are rare */

/* Of the header's third byte (RFC 1035, 4.1.1): an answer, not a query. */
#define DNS_FLAGS    2
#define DNS_RESPONSE 0x80

/* One for each direction: the answer's program may interrupt the query's. */

struct dns_scratch {
	struct dns_record record;
	char message[DNS_MESSAGE];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct dns_scratch);
} dns_scratches SEC(".maps");

struct asker_key {
	__u32 network_namespace;
	__u32 port;
};

/* Who has asked from which port. The longest unused are forgotten; the dead when something comes in for them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct asker_key);
	__type(value, struct identity);
} askers SEC(".maps");

static __always_inline void emit_dns(struct sk_buff *skb, struct datagram *datagram, struct dns_scratch *scratch,
				     struct identity *asker, __u32 local_port, bool is_answer)
{
	void *end = BPF_CORE_READ(skb, data) + BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len);
	__u64 size = datagram->size;

	/* For the verifier: what is compared below is what is passed on. */
	barrier_var(size);
	/* What does not lie in one piece is somewhere else. */
	if (size > DNS_MESSAGE || datagram->payload + size > end)
		return;
	if (size == 0 || bpf_probe_read_kernel(scratch->message, size, datagram->payload))
		return;
	/* The port may hear anything. */
	if (is_answer && (size <= DNS_FLAGS || !(scratch->message[DNS_FLAGS] & DNS_RESPONSE)))
		return;
	scratch->record.header.time_ns = bpf_ktime_get_boot_ns();
	scratch->record.header.process = *asker;
	scratch->record.header.kind = RECORD_DNS;
	scratch->record.local_port = local_port;
	scratch->record.peer_port = PORT_DNS;
	scratch->record.size = size;
	emit(scratch, sizeof(scratch->record) + size, RECORD_DNS);
}

static __always_inline void emit_query(struct sk_buff *skb, struct sock *sk, struct datagram *datagram,
				       struct identity *asker)
{
	struct dns_scratch *scratch;
	struct asker_key key = {};
	__u32 query = 0;

	scratch = bpf_map_lookup_elem(&dns_scratches, &query);
	if (!scratch)
		return;
	key.network_namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	key.port = datagram->source_port;
	bpf_map_update_elem(&askers, &key, asker, BPF_ANY);
	__builtin_memcpy(scratch->record.local_address, datagram->source, 16);
	__builtin_memcpy(scratch->record.peer_address, datagram->destination, 16);
	emit_dns(skb, datagram, scratch, asker, key.port, false);
}

/* False if it is none. Where addresses are translated, an answer may come from another port than was asked. */
static __always_inline bool emit_answer(struct sk_buff *skb, struct net *net, struct datagram *datagram)
{
	struct dns_scratch *scratch;
	struct asker_key key = {};
	struct tracked_process *process;
	struct identity *asker;
	__u32 answer = 1;

	key.network_namespace = BPF_CORE_READ(net, ns.inum);
	key.port = datagram->destination_port;
	asker = bpf_map_lookup_elem(&askers, &key);
	if (!asker)
		return false;
	/* Who has the port after the asker has asked nobody. */
	process = bpf_map_lookup_elem(&processes, &asker->tgid);
	if (!process || process->identity.start_ns != asker->start_ns || process->is_withheld) {
		bpf_map_delete_elem(&askers, &key);
		return false;
	}
	scratch = bpf_map_lookup_elem(&dns_scratches, &answer);
	if (!scratch)
		return false;
	__builtin_memcpy(scratch->record.local_address, datagram->destination, 16);
	__builtin_memcpy(scratch->record.peer_address, datagram->source, 16);
	emit_dns(skb, datagram, scratch, asker, key.port, true);
	return datagram->source_port == PORT_DNS;
}

#endif
