/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* Sockets: their addresses, and the numbers that identify them. */
#ifndef TRACER_SOCKET_BPF_H
#define TRACER_SOCKET_BPF_H

#define IPPROTO_TCP   6
#define IPPROTO_MPTCP 262

#define PORT_DNS 53

/* An address has 16 bytes, aligned to four. If clang does not know the alignment, it copies byte by byte. */
static __always_inline void copy_address(void *to, const void *from)
{
	__u32 *words = to;

	for (int i = 0; i < 4; i++)
		words[i] = ((const __u32 *)from)[i];
}

/* Writes an IPv4 address as v4-mapped. */
static __always_inline void map_address(void *to, const void *from)
{
	__u32 *words = to;

	words[0] = words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = *(const __u32 *)from;
}

/* Room for the struct sock_common at the beginning of any socket. It is read at once, because every read is a call. */
struct sock_room {
	__u64 words[17];
};

static __always_inline struct sock_common *read_common(struct sock_room *room, struct sock *sk)
{
	bpf_core_read(room, sizeof(*room), &sk->__sk_common);
	return (struct sock_common *)room;
}

static __always_inline void fill_local_address(__u8 *address, struct sock_common *common)
{
	if (common->skc_family == AF_INET6)
		copy_address(address, &common->skc_v6_rcv_saddr);
	else
		map_address(address, &common->skc_rcv_saddr);
}

static __always_inline void fill_addresses(__u8 *local, __u8 *peer, struct sock_common *common)
{
	if (common->skc_family == AF_INET6) {
		copy_address(local, &common->skc_v6_rcv_saddr);
		copy_address(peer, &common->skc_v6_daddr);
	} else {
		map_address(local, &common->skc_rcv_saddr);
		map_address(peer, &common->skc_daddr);
	}
}

static __always_inline __u32 network_namespace(struct net *net)
{
	return BPF_CORE_READ(net, ns.inum);
}

/* A one-to-one function that only the key can invert: the finaliser of MurmurHash3. */
static __always_inline __u64 disguised(__u64 address)
{
	address ^= unshared.socket_key;
	address = (address ^ address >> 33) * 0xff51afd7ed558ccdULL;
	address = (address ^ address >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return address ^ address >> 33 ^ unshared.socket_key;
}

#endif
