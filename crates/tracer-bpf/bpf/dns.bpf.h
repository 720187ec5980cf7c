/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * DNS over UDP: what the tracked processes ask, and what they are answered.
 *
 * A query leaves in its process's own context, from a socket. Its answer comes in softirq, where the current task has
 * nothing to do with it, before any address translation is undone: it is known by the port that the query left from.
 */
#ifndef TRACER_DNS_BPF_H
#define TRACER_DNS_BPF_H

#define IPPROTO_UDP 17
#define PORT_DNS    53
#define UDP_HEADER  8
#define IPV6_HEADER 40
#define DNS_MESSAGE 4096 /* captured of one; answers of more than 1232 bytes are rare, and come over TCP */

struct ports_header {
	__be16 source;
	__be16 destination;
	__be16 length;
};

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

/* Who has asked from which port. The longest unused are forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct asker_key);
	__type(value, struct identity);
} askers SEC(".maps");

/* Reads the addresses of the IP packet at `header`. Gives where its UDP header is, NULL if it has none. */
static __always_inline void *read_ip(void *header, __u8 *source, __u8 *destination)
{
	__u8 ip[IPV6_HEADER];

	if (bpf_probe_read_kernel(ip, sizeof(ip), header))
		return NULL;
	if (ip[0] >> 4 == 4 && ip[9] == IPPROTO_UDP) {
		source[10] = source[11] = destination[10] = destination[11] = 0xff;
		__builtin_memcpy(source + 12, ip + 12, 4);
		__builtin_memcpy(destination + 12, ip + 16, 4);
		return header + (ip[0] & 0xf) * 4;
	}
	/* Extension headers are not for queries. */
	if (ip[0] >> 4 == 6 && ip[6] == IPPROTO_UDP) {
		__builtin_memcpy(source, ip + 8, 16);
		__builtin_memcpy(destination, ip + 24, 16);
		return header + IPV6_HEADER;
	}
	return NULL;
}

static __always_inline void emit_dns(struct dns_scratch *scratch, struct sk_buff *skb, void *udp, __u32 length)
{
	void *message = udp + UDP_HEADER;
	void *end = BPF_CORE_READ(skb, data) + BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len);
	__u64 size = length - UDP_HEADER;

	/* What does not lie in one piece is somewhere else. */
	if (size > DNS_MESSAGE || message + size > end)
		return;
	if (size == 0 || bpf_probe_read_kernel(scratch->message, size, message))
		return;
	scratch->record.header.time_ns = bpf_ktime_get_boot_ns();
	scratch->record.header.kind = RECORD_DNS;
	scratch->record.size = size;
	emit(scratch, sizeof(scratch->record) + size, RECORD_DNS);
}

SEC("raw_tp/net_dev_start_xmit")
int handle_dns_query(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct tracked_process *asker;
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct dns_scratch *scratch;
	struct ports_header ports;
	struct asker_key key = {};
	struct unshared *values;
	__u32 query = 0;
	__be16 peer;
	void *udp;

	/* On its way through bridges and other namespaces a packet has no socket any more. */
	if (!sk || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_UDP)
		return 0;
	asker = tracked_process();
	if (!asker || asker->is_withheld)
		return 0;
	scratch = bpf_map_lookup_elem(&dns_scratches, &query);
	values = unshared_values();
	if (!scratch || !values)
		return 0;
	__builtin_memset(&scratch->record, 0, sizeof(scratch->record));
	udp = read_ip(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header), scratch->record.local_address,
		      scratch->record.peer_address);
	if (!udp || bpf_probe_read_kernel(&ports, sizeof(ports), udp))
		return 0;
	/* Where the destination is translated, as for the resolver in a container, a connected socket still knows it.
	 */
	peer = BPF_CORE_READ(sk, __sk_common.skc_dport);
	if (peer != bpf_htons(PORT_DNS) && ports.destination != bpf_htons(PORT_DNS))
		return 0;
	key.network_namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	key.port = bpf_ntohs(ports.source);
	bpf_map_update_elem(&askers, &key, &asker->identity, BPF_ANY);
	values->has_asked = 1;
	scratch->record.header.process = asker->identity;
	scratch->record.local_port = key.port;
	scratch->record.peer_port = PORT_DNS;
	emit_dns(scratch, skb, udp, bpf_ntohs(ports.length));
	return 0;
}

SEC("raw_tp/netif_receive_skb")
int handle_dns_answer(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct unshared *values = unshared_values();
	struct dns_scratch *scratch;
	struct ports_header ports;
	struct asker_key key = {};
	struct identity *asker;
	__u32 answer = 1;
	void *udp;

	/* Not a look at any packet before somebody has asked. */
	if (!values || !values->has_asked)
		return 0;
	scratch = bpf_map_lookup_elem(&dns_scratches, &answer);
	if (!scratch)
		return 0;
	__builtin_memset(&scratch->record, 0, sizeof(scratch->record));
	udp = read_ip(BPF_CORE_READ(skb, data), scratch->record.peer_address, scratch->record.local_address);
	if (!udp || bpf_probe_read_kernel(&ports, sizeof(ports), udp))
		return 0;
	key.network_namespace = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	key.port = bpf_ntohs(ports.destination);
	asker = bpf_map_lookup_elem(&askers, &key);
	if (!asker)
		return 0;
	scratch->record.header.process = *asker;
	scratch->record.local_port = key.port;
	scratch->record.peer_port = PORT_DNS;
	emit_dns(scratch, skb, udp, bpf_ntohs(ports.length));
	return 0;
}

#endif
