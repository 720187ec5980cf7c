/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * UDP of the tracked processes, on its way: flows, and what is said to name servers.
 *
 * A datagram leaves in its process's own context, from a socket. One that comes in does so in softirq, where the
 * current task has nothing to do with it, before any address translation is undone: it is known by the ports.
 */
#ifndef TRACER_UDP_BPF_H
#define TRACER_UDP_BPF_H

SEC("raw_tp/net_dev_start_xmit")
int handle_udp_send(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct tracked_process *sender;
	struct datagram datagram;
	struct unshared *values;

	/* On its way through bridges and other namespaces a packet has no socket any more. */
	if (!sk || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_UDP)
		return 0;
	sender = tracked_process();
	values = unshared_values();
	if (!values || (!sender && !values->has_sent) || (sender && sender->is_withheld))
		return 0;
	/* That of a tunnel is not the process's, but has its socket. */
	if (BPF_CORE_READ(skb, inner_network_header))
		return 0;
	if (!read_datagram(&datagram, skb, BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header)))
		return 0;
	if (sender && !values->has_sent)
		values->has_sent = 1;
	if (is_query(sk, &datagram)) {
		if (sender)
			emit_query(skb, sk, &datagram, &sender->identity);
	} else if (datagram.source_port != PORT_DNS) {
		count_sent(skb, sk, &datagram, sender);
	}
	return 0;
}

SEC("raw_tp/netif_receive_skb")
int handle_udp_receive(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct unshared *values = unshared_values();
	struct datagram datagram;

	/* Not a look at any packet before somebody has sent one. */
	if (!values || !values->has_sent)
		return 0;
	if (read_datagram(&datagram, skb, BPF_CORE_READ(skb, data)) && !emit_answer(skb, &datagram))
		count_received(skb, &datagram);
	return 0;
}

#endif
