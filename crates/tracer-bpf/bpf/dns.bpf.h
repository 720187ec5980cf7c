/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * DNS over UDP: the questions of the tracked processes, and the answers. An answer has the port and the id of its
 * question. It is reported only while the asker keeps the socket.
 */
#ifndef TRACER_DNS_BPF_H
#define TRACER_DNS_BPF_H

#define DNS_MESSAGE 4096 /* bytes captured of a message; longer answers are rare, and are cut */
#define DNS_HEADER  12

/* The bit of an answer in the third byte of the header: RFC 1035, 4.1.1. */
#define DNS_FLAGS    2
#define DNS_RESPONSE 0x80

/* One value for each direction. */
struct dns_scratch {
	struct dns_record record;
	char message[DNS_MESSAGE];
};

PER_PROCESSOR(dns_scratch, struct dns_scratch, 2)

/* A datagram to a port of a network namespace is an answer if its key is here. */
struct question_key {
	__u32 network_namespace;
	__u16 port;
	__u16 id;	 /* of the message */
	__u32 is_latest; /* 1: the latest question from that port, and `id` is 0; for answers that cannot be read */
};

/* The asker, and its socket. */
struct question {
	struct identity asker;
	__u64 socket; /* struct sock * */
	__u64 time_ns;
	__u32 inode; /* of the socket; another socket at the same address has another one */
	__u32 reserved;
};

/* The map forgets the entries that are unused for the longest time. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct question_key);
	__type(value, struct question);
} questions SEC(".maps");

/* A resolver waits less than this: glibc waits at most 30 seconds (resolv.conf(5), timeout). */
#define QUESTION_NS (120 * 1000 * 1000 * 1000ULL)

/*
 * Reads the payload of the datagram of this direction into the scratch record. Returns 0 if the payload is not a
 * message to report.
 */
__noinline int read_message(__u64 skb_address, __u32 direction)
{
	struct sk_buff *skb = (struct sk_buff *)skb_address;
	__s64 end = (__u64)BPF_CORE_READ(skb, data) + BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len);
	struct dns_scratch *scratch = dns_scratch(direction);
	struct datagram *datagram = current_datagram(direction);
	__s64 size;

	if (!scratch || !datagram || datagram->size < DNS_HEADER)
		return 0;
	scratch->record.is_answer = direction == INCOMING && datagram->source_port == PORT_DNS;
	/*
	 * Only the data before `end` can be read. Other fragments of the datagram, and data that a device has put into
	 * other memory, are elsewhere.
	 */
	size = end - (__s64)datagram->payload;
	size = size < (__s64)datagram->size ? size : (__s64)datagram->size;
	size = size < DNS_MESSAGE ? size : DNS_MESSAGE;
	size = size < DNS_HEADER ? 0 : size;
	/* For the verifier: the compared value must be the value that is passed to the helper. */
	barrier_var(size);
	if (size < 0 || size > DNS_MESSAGE || bpf_probe_read_kernel(scratch->message, size, (void *)datagram->payload))
		return 0;
	scratch->record.size = size;
	/* An answer is reported even if it cannot be read. */
	if (!size)
		return scratch->record.is_answer;
	/* Any data can arrive at the port of a question. Only answers are reported. */
	return direction == OUTGOING || (scratch->message[DNS_FLAGS] & DNS_RESPONSE);
}

/* Emits the message in the scratch record. */
__noinline int emit_message(__u32 direction, __u64 asker_start, __u32 asker_tgid)
{
	struct dns_scratch *scratch = dns_scratch(direction);
	struct datagram *datagram = current_datagram(direction);
	__u64 size;

	if (!scratch || !datagram)
		return 0;
	size = scratch->record.size;
	if (size > DNS_MESSAGE)
		return 0;
	scratch->record.header.time_ns = bpf_ktime_get_boot_ns();
	scratch->record.header.process.start_ns = asker_start;
	scratch->record.header.process.tgid = asker_tgid;
	scratch->record.header.kind = RECORD_DNS;
	scratch->record.peer_port = PORT_DNS;
	if (direction == INCOMING) {
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

/* The id of the message in the scratch record. */
static __always_inline __u16 message_id(struct dns_scratch *scratch)
{
	return *(__u16 *)scratch->message;
}

/* Handles a question of the current task, if the task can be the sender. */
__noinline int emit_query(__u64 skb, __u64 socket)
{
	struct datagram *datagram = current_datagram(OUTGOING);
	struct dns_scratch *scratch = dns_scratch(OUTGOING);
	struct tracked_process *asker = tracked_process();
	struct question question = {};
	struct question_key key = {};

	if (!datagram || !scratch || !asker || is_of_tunnel(skb) || !may_have_socket(socket) ||
	    !read_message(skb, OUTGOING))
		return 0;
	question.asker = asker->identity;
	question.socket = socket;
	question.inode = socket_inode((struct sock *)socket);
	question.time_ns = bpf_ktime_get_boot_ns();
	key.network_namespace = network_namespace(BPF_CORE_READ((struct sock *)socket, __sk_common.skc_net.net));
	key.port = datagram->source_port;
	key.id = message_id(scratch);
	bpf_map_update_elem(&questions, &key, &question, BPF_ANY);
	key.id = 0;
	key.is_latest = 1;
	bpf_map_update_elem(&questions, &key, &question, BPF_ANY);
	return emit_message(OUTGOING, question.asker.start_ns, question.asker.tgid);
}

/*
 * Whether the answer goes to the process that asked. This is so if the process lives and still has the socket. The port
 * can belong to another process now, and the restricted user must not see the data of others.
 */
static __always_inline bool is_for_asker(struct question *question)
{
	struct tracked_process *asker = bpf_map_lookup_elem(&processes, &question->asker.tgid);
	struct sock *sk = (struct sock *)question->socket;

	return asker && asker->identity.start_ns == question->asker.start_ns && !asker->is_withheld &&
	       socket_inode(sk) == question->inode && may_look_at_socket(sk) &&
	       bpf_ktime_get_boot_ns() - question->time_ns < QUESTION_NS;
}

/*
 * Emits the datagram if it is an answer to a known question. Returns 1 if the answer comes from the port of name
 * servers. With address translation, an answer can come from another port. Then it is emitted, too, but the result is
 * 0.
 */
__noinline int emit_answer(__u64 skb, __u64 net)
{
	struct datagram *datagram = current_datagram(INCOMING);
	struct dns_scratch *scratch = dns_scratch(INCOMING);
	struct question_key key = {.is_latest = 1};
	struct question *question;

	if (!datagram || !scratch)
		return 0;
	key.network_namespace = network_namespace((struct net *)net);
	key.port = datagram->destination_port;
	/* Most ports have sent no question. */
	question = bpf_map_lookup_elem(&questions, &key);
	if (!question || !read_message(skb, INCOMING))
		return 0;
	if (scratch->record.size) {
		key.id = message_id(scratch);
		key.is_latest = 0;
		question = bpf_map_lookup_elem(&questions, &key);
		if (!question)
			return 0;
	}
	if (!is_for_asker(question)) {
		bpf_map_delete_elem(&questions, &key);
		return 0;
	}
	emit_message(INCOMING, question->asker.start_ns, question->asker.tgid);
	return datagram->source_port == PORT_DNS;
}

#endif
