/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* The UDP datagrams of a packet, as its headers describe them. */
#ifndef TRACER_DATAGRAM_BPF_H
#define TRACER_DATAGRAM_BPF_H

#define IPPROTO_UDP	 17
#define IPPROTO_FRAGMENT 44
#define UDP_HEADER	 8
#define IPV4_HEADER	 20 /* without options */
#define IPV6_HEADER	 40
#define FRAGMENT_HEADER	 8

#define IPV4_OFFSET 0x1fff /* include/net/ip.h, IP_OFFSET */
#define IPV6_OFFSET 0xfff8 /* include/net/ipv6.h, IP6_OFFSET */

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
};

#define HEADERS (IPV6_HEADER + UDP_HEADER)

/* One datagram, or several that the kernel treats as one (generic segmentation offload). */
struct datagram {
	__u8 source[16]; /* IPv4 as v4-mapped */
	__u8 destination[16];
	__u16 source_port; /* host order */
	__u16 destination_port;
	__u32 count;
	__u64 size;    /* payload, bytes */
	__u64 payload; /* its address */
	__u8 headers[HEADERS];
};

#define OUTGOING 0
#define INCOMING 1

/* One value for each direction. */
PER_PROCESSOR(current_datagram, struct datagram, 2)

/*
 * Reads the addresses of an IP packet. Returns the offset of its UDP header, or 0 if it has no UDP header. If a
 * datagram is fragmented, only its first fragment has a UDP header.
 */
static __always_inline __u32 read_ip(struct datagram *datagram, const __u8 *ip)
{
	if (ip[0] >> 4 == 4 && ip[9] == IPPROTO_UDP) {
		if ((ip[6] << 8 | ip[7]) & IPV4_OFFSET)
			return 0;
		map_address(datagram->source, ip + 12);
		map_address(datagram->destination, ip + 16);
		return (ip[0] & 0xf) * 4;
	}
	if (ip[0] >> 4 != 6)
		return 0;
	copy_address(datagram->source, ip + 8);
	copy_address(datagram->destination, ip + 24);
	if (ip[6] == IPPROTO_UDP)
		return IPV6_HEADER;
	if (ip[6] == IPPROTO_FRAGMENT) {
		const struct fragment_header *fragment = (void *)ip + IPV6_HEADER;

		if (fragment->next == IPPROTO_UDP && !(bpf_ntohs(fragment->offset) & IPV6_OFFSET))
			return IPV6_HEADER + FRAGMENT_HEADER;
	}
	return 0;
}

/*
 * Reads the datagram that begins at `packet`. If `packet` is 0, it begins at the network header of the buffer. Returns
 * 0 if no datagram begins there. Every read is a call, so the function reads only a few times.
 */
__noinline int read_datagram(__u64 skb_address, __u64 packet, __u32 direction)
{
	struct sk_buff *skb = (struct sk_buff *)skb_address;
	struct datagram *datagram = current_datagram(direction);
	__u64 head = (__u64)BPF_CORE_READ(skb, head);
	struct skb_shared_info *info;
	struct udp_header header;
	__u32 udp, size;

	if (!datagram)
		return 0;
	packet = packet ?: head + BPF_CORE_READ(skb, network_header);
	if (bpf_probe_read_kernel(datagram->headers, HEADERS, (void *)packet))
		return 0;
	udp = read_ip(datagram, datagram->headers);
	if (!udp)
		return 0;
	if (udp == IPV4_HEADER)
		header = *(struct udp_header *)(datagram->headers + IPV4_HEADER);
	else if (udp == IPV6_HEADER)
		header = *(struct udp_header *)(datagram->headers + IPV6_HEADER);
	else if (bpf_probe_read_kernel(&header, sizeof(header), (void *)packet + udp))
		return 0;
	datagram->source_port = bpf_ntohs(header.source);
	datagram->destination_port = bpf_ntohs(header.destination);
	if (bpf_ntohs(header.length) < UDP_HEADER)
		return 0;
	datagram->size = bpf_ntohs(header.length) - UDP_HEADER;
	datagram->payload = packet + udp + UDP_HEADER;
	datagram->count = 1;
	info = (struct skb_shared_info *)(head + BPF_CORE_READ(skb, end));
	size = BPF_CORE_READ(info, gso_size);
	if (size && (BPF_CORE_READ(info, gso_type) & SKB_GSO_UDP_L4))
		datagram->count = ((__u32)datagram->size + size - 1) / size;
	return 1;
}

#endif
