/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* DNS over UDP: what the tracked processes ask, and what they are answered. An answer is known by the port that the
 * query left from. */
#ifndef TRACER_DNS_BPF_H
#define TRACER_DNS_BPF_H

#define DNS_MESSAGE 4096 /* captured of one; longer answers are rare, and cut */
#define DNS_HEADER  12

/* Of the header's third byte (RFC 1035, 4.1.1): an answer, not a query. */
#define DNS_FLAGS    2
#define DNS_RESPONSE 0x80

/* One for each direction. */
struct dns_scratch {
	struct dns_record record;
	char message[DNS_MESSAGE];
};

PER_PROCESSOR(dns_scratch, struct dns_scratch, 2)

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

/* `skb` has the payload of the datagram of that direction. */
__noinline int emit_dns(__u64 skb_address, __u32 direction, __u64 asker_start, __u32 asker_tgid)
{
	struct sk_buff *skb = (struct sk_buff *)skb_address;
	__s64 end = (__u64)BPF_CORE_READ(skb, data) + BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len);
	struct dns_scratch *scratch = dns_scratch(direction);
	struct datagram *datagram = current_datagram(direction);
	__s64 size;

	if (!scratch || !datagram || datagram->size < DNS_HEADER)
		return 0;
	scratch->record.is_answer = direction == INCOMING && datagram->source_port == PORT_DNS;
	/* The rest of a fragmented one, or what a device has put elsewhere, does not lie here. */
	size = end - (__s64)datagram->payload;
	size = size < (__s64)datagram->size ? size : (__s64)datagram->size;
	size = size < DNS_MESSAGE ? size : DNS_MESSAGE;
	size = size < DNS_HEADER ? 0 : size;
	/* For the verifier: what is compared below is what is passed on. */
	barrier_var(size);
	if (size < 0 || size > DNS_MESSAGE || bpf_probe_read_kernel(scratch->message, size, (void *)datagram->payload))
		return 0;
	/* That there was an answer is to be told even so. */
	if (!size && !scratch->record.is_answer)
		return 0;
	scratch->record.header.time_ns = bpf_ktime_get_boot_ns();
	scratch->record.header.process.start_ns = asker_start;
	scratch->record.header.process.tgid = asker_tgid;
	scratch->record.header.kind = RECORD_DNS;
	scratch->record.peer_port = PORT_DNS;
	scratch->record.size = size;
	if (direction == INCOMING) {
		/* The port may hear anything. */
		if (size && !(scratch->message[DNS_FLAGS] & DNS_RESPONSE))
			return 0;
		scratch->record.local_port = datagram->destination_port;
		copy_address(scratch->record.local_address, datagram->destination);
		copy_address(scratch->record.peer_address, datagram->source);
	} else {
		scratch->record.local_port = datagram->source_port;
		copy_address(scratch->record.local_address, datagram->source);
		copy_address(scratch->record.peer_address, datagram->destination);
	}
	emit(scratch, sizeof(scratch->record) + size, RECORD_DNS);
	return 0;
}

/* By the current task, if it may be who has sent it. */
__noinline int emit_query(__u64 skb, __u64 socket)
{
	struct datagram *datagram = current_datagram(OUTGOING);
	struct tracked_process *asker = tracked_process();
	struct asker_key key = {};

	if (!datagram || !asker || is_of_tunnel(skb) || !may_have_socket(socket))
		return 0;
	key.network_namespace = network_namespace(BPF_CORE_READ((struct sock *)socket, __sk_common.skc_net.net));
	key.port = datagram->source_port;
	bpf_map_update_elem(&askers, &key, &asker->identity, BPF_ANY);
	return emit_dns(skb, OUTGOING, asker->identity.start_ns, asker->identity.tgid);
}

/* Gives 0 if it is none. Where addresses are translated, an answer may come from another port than was asked. */
__noinline int emit_answer(__u64 skb, __u64 net)
{
	struct datagram *datagram = current_datagram(INCOMING);
	struct tracked_process *process;
	struct asker_key key = {};
	struct identity *asker;

	if (!datagram)
		return 0;
	key.network_namespace = network_namespace((struct net *)net);
	key.port = datagram->destination_port;
	asker = bpf_map_lookup_elem(&askers, &key);
	if (!asker)
		return 0;
	/* Who has the port after the asker has asked nobody. */
	process = bpf_map_lookup_elem(&processes, &asker->tgid);
	if (!process || process->identity.start_ns != asker->start_ns || process->is_withheld) {
		bpf_map_delete_elem(&askers, &key);
		return 0;
	}
	emit_dns(skb, INCOMING, asker->start_ns, asker->tgid);
	return datagram->source_port == PORT_DNS;
}

#endif
