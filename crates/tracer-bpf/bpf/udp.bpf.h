/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * What the tracked processes send and get, on its way: UDP flows, what is said to name servers over UDP, and what is
 * asked of them over TCP.
 *
 * A datagram is handed to a device in its process's own context, from a socket; who is running when the device's queue
 * lets it go has nothing to do with it. One that comes in does so in softirq, where the current task has nothing to do
 * with it, before any address translation is undone: it is known by the ports.
 */
#ifndef TRACER_UDP_BPF_H
#define TRACER_UDP_BPF_H

/* Of a socket: sock_common.skc_portpair. */
struct port_pair {
	__be16 peer;
	__u16 local;
};

/* Whoever hands a socket to a process of the restricted user has not shown them what passes it. */
static __always_inline bool may_look_at_socket(struct sock *sk, struct unshared *policy)
{
	return !policy->is_restricted || BPF_CORE_READ(sk, sk_uid.val) == policy->user_id;
}

/* Over TCP. Whoever has locked the socket sends, or puts aside what comes in: so it is the current task's call. */
static __always_inline void tell_query(struct sock *sk)
{
	struct connection *connection;
	__u64 key = (__u64)sk;

	if (!is_of_name_server(sk) || !BPF_CORE_READ(sk, sk_lock.owned))
		return;
	connection = bpf_map_lookup_elem(&connections, &key);
	if (connection && connection->is_dns)
		tell_transfer(key, 0);
}

SEC("raw_tp/net_dev_queue")
int handle_udp_send(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct tracked_process *sender;
	struct datagram datagram;
	struct port_pair ports;
	struct unshared *values;
	__u16 protocol;
	void *head;

	/* On its way through bridges and other namespaces a packet has no socket any more. */
	if (!sk)
		return 0;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol == IPPROTO_TCP)
		tell_query(sk);
	if (protocol != IPPROTO_UDP)
		return 0;
	sender = tracked_process();
	values = unshared_values();
	if (!values || (!sender && !values->has_sent) || (sender && sender->is_withheld))
		return 0;
	head = BPF_CORE_READ(skb, head);
	if (!read_datagram(&datagram, skb, head, head + BPF_CORE_READ(skb, network_header)) ||
	    bpf_core_read(&ports, sizeof(ports), &sk->__sk_common.skc_portpair))
		return 0;
	if (sender && !may_look_at_socket(sk, values))
		sender = NULL;
	if (sender && !values->has_sent)
		values->has_sent = 1;
	/* Where the destination is translated, as for the resolver in a container, a connected socket still knows it.
	 */
	if (datagram.destination_port == PORT_DNS || ports.peer == bpf_htons(PORT_DNS)) {
		if (sender && !is_of_tunnel(skb) && may_have_socket((__u64)sk))
			emit_query(skb, sk, &datagram, &sender->identity);
	} else if (datagram.source_port != PORT_DNS) {
		count_sent(skb, sk, ports.local, &datagram, sender);
	}
	return 0;
}

SEC("raw_tp/netif_receive_skb")
int handle_udp_receive(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct unshared *values = unshared_values();
	struct datagram datagram;
	struct net_device *dev;
	struct net *net;

	/* Not a look at any packet before somebody has sent one. */
	if (!values || !values->has_sent)
		return 0;
	if (!read_datagram(&datagram, skb, NULL, BPF_CORE_READ(skb, data)))
		return 0;
	dev = BPF_CORE_READ(skb, dev);
	net = BPF_CORE_READ(dev, nd_net.net);
	if (!count_received(dev, net, &datagram) && !emit_answer(skb, net, &datagram))
		note_arrival(dev, net, &datagram);
	return 0;
}

#endif
