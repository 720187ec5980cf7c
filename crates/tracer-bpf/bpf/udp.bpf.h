/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * The packets of the tracked processes: UDP flows, DNS over UDP, and questions over TCP.
 *
 * The kernel hands a datagram to a device in the context of the sending process. Later, when the device's queue sends
 * it, any task can be current. A datagram arrives in softirq context, where any task can be current. At that time,
 * address translation is not undone yet, so the destination address can be another one than that of the socket. The
 * flow and the question are found without it: by the ports, and the flow also by the source address.
 */
#ifndef TRACER_UDP_BPF_H
#define TRACER_UDP_BPF_H

/* The ports of a socket: sock_common.skc_portpair. */
struct port_pair {
	__be16 peer;
	__u16 local;
};

/* A question over TCP. If the socket is locked, its owner is in a system call. The owner is then the current task. */
__noinline int tell_query(__u64 socket)
{
	struct sock *sk = (struct sock *)socket;
	struct connection *connection;

	if (!is_of_name_server(sk) || !BPF_CORE_READ(sk, sk_lock.owned))
		return 0;
	connection = bpf_map_lookup_elem(&connections, &socket);
	if (connection && connection->is_dns)
		tell_transfer(socket, 0);
	return 0;
}

SEC("raw_tp/net_dev_queue")
int handle_udp_send(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct tracked_process *sender;
	struct datagram *datagram;
	struct port_pair ports;
	__u32 sender_tgid;
	__u16 protocol;
	bool is_dns;

	/* A packet has no socket while it passes bridges and other namespaces. */
	if (!sk)
		return 0;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol == IPPROTO_TCP)
		return unshared.has_dns_streams ? tell_query((__u64)sk) : 0;
	if (protocol != IPPROTO_UDP)
		return 0;
	sender = tracked_process();
	datagram = current_datagram(OUTGOING);
	if ((sender ? sender->is_withheld : !unshared.has_sent) || !datagram ||
	    !read_datagram((__u64)skb, 0, OUTGOING) ||
	    bpf_core_read(&ports, sizeof(ports), &sk->__sk_common.skc_portpair))
		return 0;
	/*
	 * The destination can be translated, as for the resolver in a container. A connected socket still has the
	 * original destination.
	 */
	is_dns = datagram->destination_port == PORT_DNS || ports.peer == bpf_htons(PORT_DNS);
	if (!is_asked(is_dns ? RECORD_DNS : RECORD_FLOW))
		return 0;
	sender_tgid = sender && may_look_at_socket(sk) ? sender->identity.tgid : 0;
	if (sender_tgid && !unshared.has_sent)
		unshared.has_sent = 1;
	if (is_dns)
		return sender_tgid ? emit_query((__u64)skb, (__u64)sk) : 0;
	return count_sent((__u64)skb, (__u64)sk, ports.local, sender_tgid);
}

SEC("raw_tp/netif_receive_skb")
int handle_udp_receive(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct net_device *dev;
	__u64 net;

	/* Before a tracked process has sent a datagram, no packet is examined. */
	if (!unshared.has_sent || !read_datagram((__u64)skb, (__u64)BPF_CORE_READ(skb, data), INCOMING))
		return 0;
	dev = BPF_CORE_READ(skb, dev);
	net = (__u64)BPF_CORE_READ(dev, nd_net.net);
	if (!count_received((__u64)dev, net) && !emit_answer((__u64)skb, net) && is_asked(RECORD_FLOW))
		note_arrival((__u64)dev, net);
	return 0;
}

#endif
