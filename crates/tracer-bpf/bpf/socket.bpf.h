/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/* What a socket is: its addresses, and by which number it is told from others. */
#ifndef TRACER_SOCKET_BPF_H
#define TRACER_SOCKET_BPF_H

#define IPPROTO_TCP 6

static __always_inline void read_local_address(__u8 *address, struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		bpf_core_read(address, 16, &sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
	} else {
		__be32 local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);

		address[10] = address[11] = 0xff;
		__builtin_memcpy(address + 12, &local, sizeof(local));
	}
}

static __always_inline void read_peer_address(__u8 *address, struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		bpf_core_read(address, 16, &sk->__sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		__be32 peer = BPF_CORE_READ(sk, __sk_common.skc_daddr);

		address[10] = address[11] = 0xff;
		__builtin_memcpy(address + 12, &peer, sizeof(peer));
	}
}

/* One-to-one, and nobody without the key gets from the one to the other: the finaliser of MurmurHash3. */
static __always_inline __u64 disguised(__u64 address)
{
	struct unshared *values = unshared_values();

	if (!values)
		return 0;
	address ^= values->socket_key;
	address = (address ^ address >> 33) * 0xff51afd7ed558ccdULL;
	address = (address ^ address >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return address ^ address >> 33 ^ values->socket_key;
}

#endif
