/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* What the headers of a packet say of the UDP datagrams in it. */
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

/* One, or several that the kernel treats as one: generic segmentation offload. */
struct datagram {
	__u8 source[16]; /* IPv4 as v4-mapped */
	__u8 destination[16];
	__u16 source_port; /* host order */
	__u16 destination_port;
	__u32 count;
	__u64 size; /* payload, bytes */
	void *payload;
};

#define HEADERS (IPV6_HEADER + UDP_HEADER)

/* Reads the addresses of an IP packet. Gives how far into it its UDP header is, 0 if it has none: of a fragmented
 * datagram the first part has it. */
static __always_inline __u32 read_ip(struct datagram *datagram, const __u8 *ip)
{
	if (ip[0] >> 4 == 4 && ip[9] == IPPROTO_UDP) {
		if ((ip[6] << 8 | ip[7]) & IPV4_OFFSET)
			return 0;
		datagram->source[10] = datagram->source[11] = 0xff;
		datagram->destination[10] = datagram->destination[11] = 0xff;
		__builtin_memcpy(datagram->source + 12, ip + 12, 4);
		__builtin_memcpy(datagram->destination + 12, ip + 16, 4);
		return (ip[0] & 0xf) * 4;
	}
	if (ip[0] >> 4 != 6)
		return 0;
	__builtin_memcpy(datagram->source, ip + 8, 16);
	__builtin_memcpy(datagram->destination, ip + 24, 16);
	if (ip[6] == IPPROTO_UDP)
		return IPV6_HEADER;
	if (ip[6] == IPPROTO_FRAGMENT) {
		struct fragment_header fragment;

		__builtin_memcpy(&fragment, ip + IPV6_HEADER, sizeof(fragment));
		if (fragment.next == IPPROTO_UDP && !(bpf_ntohs(fragment.offset) & IPV6_OFFSET))
			return IPV6_HEADER + FRAGMENT_HEADER;
	}
	return 0;
}

/* False if that is not the beginning of a datagram. Every read takes a call, so there are few: `head` is the packet's,
 * NULL if it has not been read. */
static __always_inline bool read_datagram(struct datagram *datagram, struct sk_buff *skb, void *head, void *packet)
{
	struct skb_shared_info *shared;
	struct udp_header header;
	__u8 headers[HEADERS];
	__u32 udp, size;

	__builtin_memset(datagram, 0, sizeof(*datagram));
	if (bpf_probe_read_kernel(headers, sizeof(headers), packet))
		return false;
	udp = read_ip(datagram, headers);
	if (!udp)
		return false;
	if (udp == IPV4_HEADER)
		__builtin_memcpy(&header, headers + IPV4_HEADER, sizeof(header));
	else if (udp == IPV6_HEADER)
		__builtin_memcpy(&header, headers + IPV6_HEADER, sizeof(header));
	else if (bpf_probe_read_kernel(&header, sizeof(header), packet + udp))
		return false;
	datagram->source_port = bpf_ntohs(header.source);
	datagram->destination_port = bpf_ntohs(header.destination);
	if (bpf_ntohs(header.length) < UDP_HEADER)
		return false;
	datagram->size = bpf_ntohs(header.length) - UDP_HEADER;
	datagram->payload = packet + udp + UDP_HEADER;
	datagram->count = 1;
	shared = (struct skb_shared_info *)((head ?: BPF_CORE_READ(skb, head)) + BPF_CORE_READ(skb, end));
	size = BPF_CORE_READ(shared, gso_size);
	if (size && (BPF_CORE_READ(shared, gso_type) & SKB_GSO_UDP_L4))
		datagram->count = ((__u32)datagram->size + size - 1) / size;
	return true;
}

#endif
