/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * TCP connections of the tracked processes.
 *
 * Most state changes happen in softirq context, where any task can be current. So the owner is recorded when it makes a
 * call: connect(), listen() for later accepted connections, or the first read of an accepted connection. This read
 * moves the connection from the listener to the worker. With MPTCP, the first write or the close does this, because no
 * tracepoint shows the read.
 */
#ifndef TRACER_TCP_BPF_H
#define TRACER_TCP_BPF_H

struct connection {
	struct identity owner;
	__u64 opened_ns;
	__u8 direction;
	__u8 closed_by; /* the side whose FIN or RST came first so far */
	__u8 is_owned;	/* 1: the process in `owner` has used it. 0: `owner` is still the owner of the listener */
	__u8 is_established;
	__u8 is_dns;	       /* connected to a name server */
	__u8 is_hidden;	       /* the restricted user cannot see it in /proc/net/tcp */
	__u16 syn_retransmits; /* segments sent again before it was established */
};

struct listener_key {
	__u32 network_namespace;
	__u16 port;
	__u16 family;	  /* a connection of an IPv6 listener is AF_INET6, also with v4-mapped addresses */
	__u8 address[16]; /* IPv4 as v4-mapped */
};

struct listener {
	struct identity owner;
	__u64 sockets; /* several can listen at one address and port: SO_REUSEPORT */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64); /* struct sock * */
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listener_key);
	__type(value, struct listener);
} listeners SEC(".maps");

/*
 * Counters of sockets that have reached CLOSE before their owners have closed them. The count of retransmits includes
 * the retransmits of the handshake.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* struct sock * */
	__type(value, struct tcp_counters);
} kept_counters SEC(".maps");

/* The listening sockets. When a socket stops listening, it may already have lost its port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* struct sock * */
	__type(value, struct listener_key);
} listening SEC(".maps");

static __always_inline void fill_listener_key(struct listener_key *key, struct sock *sk)
{
	struct sock_room room;
	struct sock_common *common = read_common(&room, sk);

	key->network_namespace = network_namespace(common->skc_net.net);
	key->port = common->skc_num;
	key->family = common->skc_family;
	fill_local_address(key->address, common);
}

/* The listener of a new connection: at its exact address, at any IPv4 address, or at any address. */
static __always_inline struct listener *find_listener(struct sock *sk)
{
	struct listener_key key = {};
	struct listener *known;

	fill_listener_key(&key, sk);
	known = bpf_map_lookup_elem(&listeners, &key);
	if (known)
		return known;
	__builtin_memset(key.address + 12, 0, 4);
	if (key.address[10] == 0xff && key.address[11] == 0xff) {
		known = bpf_map_lookup_elem(&listeners, &key);
		if (known)
			return known;
	}
	__builtin_memset(key.address, 0, 16);
	return bpf_map_lookup_elem(&listeners, &key);
}

/*
 * Payload as the owner sees it. Sent bytes are the bytes that the owner wrote, acknowledged or not. bytes_sent counts
 * payload only, without SYN and FIN. bytes_received includes the peer's FIN.
 */
static __always_inline void read_counters(struct tcp_counters *counters, struct sock *sk, struct sock_common *common)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 unsent = BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_nxt);

	/*
	 * After connect() to AF_UNSPEC a socket has a new sequence. With TCP fast open, connect() sends nothing yet:
	 * without a SYN, snd_nxt has no meaning.
	 */
	if (common->skc_state == TCP_CLOSE || !BPF_CORE_READ(tp, segs_out))
		unsent = 0;

	counters->bytes_sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans) + unsent;
	BPF_CORE_READ_INTO(&counters->bytes_received, tp, bytes_received);
	if (counters->bytes_received && (common->skc_flags & (1UL << SOCK_DONE)))
		counters->bytes_received--;
	BPF_CORE_READ_INTO(&counters->packets_sent, tp, segs_out);
	BPF_CORE_READ_INTO(&counters->packets_received, tp, segs_in);
	BPF_CORE_READ_INTO(&counters->retransmits, tp, total_retrans);
	counters->round_trip_us = BPF_CORE_READ(tp, srtt_us) >> 3; /* in eighths */
	counters->variance_us = BPF_CORE_READ(tp, mdev_us) >> 2;   /* in quarters */
}

/*
 * Keeps the counters of a socket that reaches CLOSE before its owner has closed it. The kernel clears the counters when
 * it disconnects a socket, for example a subflow of MPTCP. This is a separate function, because the stack is small.
 */
__noinline int keep_counters(__u64 socket)
{
	struct tcp_counters counters = {};
	struct sock_common *common;
	struct sock_room room;

	common = read_common(&room, (struct sock *)socket);
	read_counters(&counters, (struct sock *)socket, common);
	if (bpf_map_update_elem(&kept_counters, &socket, &counters, BPF_ANY))
		COUNT(untracked_connections);
	return 0;
}

/* Counts the retransmits of the handshake apart from the others. */
static __always_inline void split_retransmits(struct tcp_counters *counters, struct connection *connection)
{
	counters->syn_retransmits = counters->retransmits;
	if (connection->is_established && connection->syn_retransmits < counters->retransmits)
		counters->syn_retransmits = connection->syn_retransmits;
	counters->retransmits -= counters->syn_retransmits;
}

__noinline int emit_connection(__u64 socket, __u32 event, __u32 error)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &socket);
	struct sock *sk = (struct sock *)socket;
	struct connection_record record = {};
	struct sock_common *common;
	struct sock_room room;

	if (!connection || connection->is_hidden || !is_asked(RECORD_CONNECTION))
		return 0;
	common = read_common(&room, sk);
	record.header.process = connection->owner;
	record.header.kind = RECORD_CONNECTION;
	record.socket = disguised(socket);
	record.opened_ns = connection->opened_ns;
	record.event = event;
	record.network_inode = network_namespace(common->skc_net.net);
	record.network_namespace = disguised(record.network_inode);
	record.direction = connection->direction;
	record.error = error;
	record.closed_by = connection->closed_by;
	record.local_port = common->skc_num;
	record.peer_port = bpf_ntohs(common->skc_dport);
	fill_addresses(record.local_address, record.peer_address, common);
	record.header.time_ns = bpf_ktime_get_boot_ns();
	if (event == CONNECTION_CLOSED) {
		struct tcp_counters *kept = bpf_map_lookup_elem(&kept_counters, &socket);

		if (kept)
			record.counters = *kept;
		else
			read_counters(&record.counters, sk, common);
		split_retransmits(&record.counters, connection);
	}
	emit(&record, sizeof(record), RECORD_CONNECTION);
	return 0;
}

/*
 * Whether the restricted user must not see the connection. All three must be true: it belongs to a withheld process, it
 * is in another network namespace, and the user does not own that namespace. See user_namespaces(7): "the owner of a
 * user namespace has all capabilities in it".
 */
static __always_inline bool is_hidden_from_viewer(__u64 socket, __u32 owner_tgid)
{
	struct tracked_process *owner;
	struct net *net;

	if (!unshared.is_restricted)
		return false;
	owner = bpf_map_lookup_elem(&processes, &owner_tgid);
	if (!owner || !owner->is_withheld)
		return false;
	net = BPF_CORE_READ((struct sock *)socket, __sk_common.skc_net.net);
	return network_namespace(net) != unshared.network_namespace &&
	       BPF_CORE_READ(net, user_ns, owner.val) != unshared.user_id;
}

/*
 * A process, `owner_start` and `owner_tgid`, opens a connection. Returns 0 if there is no room for it, or if the user
 * does not ask for it. Connections to name servers are also followed for their lookups.
 */
__noinline int open_connection(__u64 socket, __u64 owner_start, __u32 owner_tgid, __u32 direction)
{
	struct connection connection = {};

	connection.is_dns =
	    is_asked(RECORD_DNS) && direction == DIRECTION_CONNECT && is_of_name_server((struct sock *)socket);
	if (!is_asked(RECORD_CONNECTION) && !connection.is_dns)
		return 0;
	connection.owner.start_ns = owner_start;
	connection.owner.tgid = owner_tgid;
	connection.opened_ns = bpf_ktime_get_boot_ns();
	connection.direction = direction;
	connection.is_owned = direction == DIRECTION_CONNECT;
	connection.is_hidden = is_hidden_from_viewer(socket, owner_tgid);
	if (connection.is_dns) {
		unshared.has_dns_streams = 1;
		forget_dns_streams(socket);
	}
	/* The entry of its former connection, if the socket connects again. */
	bpf_map_delete_elem(&kept_counters, &socket);
	if (bpf_map_update_elem(&connections, &socket, &connection, BPF_ANY)) {
		COUNT(untracked_connections);
		return 0;
	}
	return 1;
}

__noinline int close_connection(__u64 socket, __u32 error)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &socket);

	if (!connection)
		return 0;
	if (connection->is_dns)
		forget_dns_streams(socket);
	if (error)
		connection->closed_by = CLOSED_BY_NOBODY;
	/* An incoming connection whose handshake has failed has no record: no process has seen it. */
	if (connection->direction == DIRECTION_CONNECT || connection->is_established)
		emit_connection(socket, CONNECTION_CLOSED, error);
	bpf_map_delete_elem(&kept_counters, &socket);
	bpf_map_delete_elem(&connections, &socket);
	return 0;
}

/* A listening socket has accepted a connection. The owner of the connection is at first the owner of the listener. */
__noinline int accept_connection(__u64 socket)
{
	struct listener *known = find_listener((struct sock *)socket);

	if (known)
		open_connection(socket, known->owner.start_ns, known->owner.tgid, DIRECTION_ACCEPT);
	return 0;
}

__noinline int start_listening(__u64 socket)
{
	struct identity *owner = tracked_current();
	struct listener *known, listener = {};
	struct listener_key key = {};

	if (!owner)
		return 0;
	fill_listener_key(&key, (struct sock *)socket);
	/* listen() without bind() gets its port later. */
	if (!key.port)
		return 0;
	if (bpf_map_update_elem(&listening, &socket, &key, BPF_ANY)) {
		COUNT(untracked_connections);
		return 0;
	}
	known = bpf_map_lookup_elem(&listeners, &key);
	if (known) {
		known->owner = *owner;
		__sync_fetch_and_add(&known->sockets, 1);
		return 0;
	}
	listener.owner = *owner;
	listener.sockets = 1;
	if (bpf_map_update_elem(&listeners, &key, &listener, BPF_ANY))
		COUNT(untracked_connections);
	return 0;
}

__noinline int stop_listening(__u64 socket)
{
	struct listener_key *key = bpf_map_lookup_elem(&listening, &socket);
	struct listener_key copy;
	struct listener *known;

	if (!key)
		return 0;
	copy = *key;
	bpf_map_delete_elem(&listening, &socket);
	known = bpf_map_lookup_elem(&listeners, &copy);
	if (known && known->sockets > 1)
		__sync_fetch_and_add(&known->sockets, -1);
	else if (known)
		bpf_map_delete_elem(&listeners, &copy);
	return 0;
}

/* A process uses a connection. It is the true owner of an accepted one. */
static __always_inline int use_connection(__u64 socket, struct identity *user)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &socket);

	if (!connection || connection->is_owned || !user)
		return 0;
	connection->owner = *user;
	connection->is_owned = 1;
	return emit_connection(socket, CONNECTION_OWNED, 0);
}

/*
 * The state of an MPTCP socket changes. If a process has locked the socket, it has closed or shut down the socket. The
 * states of the TCP sockets below it change later, in a thread of the kernel.
 */
__noinline int use_mptcp_socket(__u64 socket)
{
	struct mptcp_sock *mptcp = (struct mptcp_sock *)socket;

	if (!bpf_core_field_exists(mptcp->first) || !BPF_CORE_READ((struct sock *)socket, sk_lock.owned))
		return 0;
	return use_connection((__u64)BPF_CORE_READ(mptcp, first), tracked_or_exiting_current());
}

/*
 * Whether the owner has closed the socket. One of three changes shows its close():
 * 1. The first FIN is sent.
 * 2. The old and the new state are equal, because a half-close has sent the FIN before.
 * 3. An abort changes the state to CLOSE.
 * In each case both directions are shut. The peer can also bring a half-closed socket to CLOSE, but from other states.
 */
static __always_inline bool closed_by_owner(struct sock *sk, int old_state, int new_state)
{
	/* An abort, a connect() to AF_UNSPEC, or a connect() that failed before it began. */
	if (new_state == TCP_CLOSE && (old_state == TCP_ESTABLISHED || old_state == TCP_CLOSE_WAIT ||
				       old_state == TCP_SYN_RECV || old_state == TCP_SYN_SENT))
		return true;
	if (BPF_CORE_READ(sk, sk_shutdown) != RCV_SEND_SHUTDOWN)
		return false;
	return old_state == new_state || new_state == TCP_FIN_WAIT1 || new_state == TCP_LAST_ACK;
}

/* Follows the state of a socket that a process has opened before. */
static __always_inline int follow_tcp_state(struct sock *sk, int old_state, int new_state)
{
	__u64 key = (__u64)sk;
	struct connection *connection;
	__u32 error;

	if (old_state == TCP_LISTEN)
		return new_state == TCP_SYN_RECV ? accept_connection(key) : 0;

	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection)
		return 0;
	if (new_state == TCP_ESTABLISHED) {
		connection->is_established = 1;
		connection->syn_retransmits = BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
		return emit_connection(key, CONNECTION_ESTABLISHED, 0);
	}
	if (old_state == TCP_ESTABLISHED)
		connection->closed_by = new_state == TCP_CLOSE_WAIT ? CLOSED_BY_PEER : CLOSED_BY_OWNER;
	error = new_state == TCP_CLOSE ? BPF_CORE_READ(sk, sk_err) : 0;
	if (error)
		return close_connection(key, error);
	if (closed_by_owner(sk, old_state, new_state)) {
		struct identity *user = tracked_or_exiting_current();

		/* No process has read from it. The process that closes it is its owner. */
		if (!connection->is_owned && user)
			connection->owner = *user;
		return close_connection(key, 0);
	}
	if (new_state == TCP_CLOSE)
		return keep_counters(key);
	return 0;
}

/*
 * A process that changes the state of its socket has locked the socket. A softirq can interrupt the process and change
 * the states of other sockets. Since Linux 6.1, the kernel does not start a program again while it runs on the same
 * processor. So there are two programs, one after the other. The second handles the changes that the first could not
 * handle because it was interrupted.
 */

/*
 * The last change that the first program has handled in a softirq. 0: there is none, or the second program has seen it.
 */
PER_PROCESSOR(seen_to, __u64, 1)

/*
 * A number for a change: the address of the socket, with the two states in its uppermost 16 bits. These bits are the
 * same in all kernel addresses, so no information is lost. The highest bit is always set, so the number is not 0.
 */
static __always_inline __u64 change_of(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[0] ^ ctx->args[1] << 56 ^ ctx->args[2] << 48;
}

SEC("raw_tp/inet_sock_set_state")
int handle_tcp_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int old_state = ctx->args[1];
	int new_state = ctx->args[2];
	__u64 key = (__u64)sk;
	__u16 protocol = BPF_CORE_READ(sk, sk_protocol);
	__u64 *seen = seen_to(0);

	if (seen)
		WRITE_ONCE(*seen, BPF_CORE_READ(sk, sk_lock.owned) ? 0 : change_of(ctx));
	if (protocol == IPPROTO_MPTCP)
		return use_mptcp_socket(key);
	if (protocol != IPPROTO_TCP)
		return 0;

	if (new_state == TCP_SYN_SENT) {
		struct identity *owner = tracked_current();

		if (owner && open_connection(key, owner->start_ns, owner->tgid, DIRECTION_CONNECT))
			emit_connection(key, CONNECTION_OPENED, 0);
		return 0;
	}
	if (new_state == TCP_LISTEN)
		return start_listening(key);
	if (old_state == TCP_LISTEN && new_state == TCP_CLOSE)
		return stop_listening(key);
	return follow_tcp_state(sk, old_state, new_state);
}

/* This program does not handle changes that only a process makes. */
SEC("raw_tp/inet_sock_set_state")
int handle_nested_tcp_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	__u64 *seen = seen_to(0);

	if (!seen)
		return 0;
	if (READ_ONCE(*seen) == change_of(ctx)) {
		WRITE_ONCE(*seen, 0);
		return 0;
	}
	if (BPF_CORE_READ(sk, sk_lock.owned))
		return 0;
	COUNT(nested_runs);
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? follow_tcp_state(sk, ctx->args[1], ctx->args[2]) : 0;
}

/* A read. The reader is the true owner of an accepted connection, and gets the answer of a name server. */
SEC("raw_tp/tcp_rcv_space_adjust")
int handle_tcp_read(struct bpf_raw_tracepoint_args *ctx)
{
	struct tracked_process *reader = tracked_process();
	struct sock *sk = (struct sock *)ctx->args[0];
	__u64 key = (__u64)sk;
	struct connection *connection;

	if (!reader)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection || (connection->is_owned && !connection->is_dns))
		return 0;
	/* If the kernel reads in a softirq, the read belongs to no process. */
	if (!BPF_CORE_READ(sk, sk_lock.owned))
		return 0;
	if (connection->is_dns)
		tell_transfer(key, 1);
	return use_connection(key, &reader->identity);
}

/*
 * A write to an MPTCP socket. The kernel looks at each of its connections. It can also do this in a softirq, and then
 * no process has written.
 */
SEC("raw_tp/mptcp_subflow_get_send")
int handle_mptcp_write(struct bpf_raw_tracepoint_args *ctx)
{
	struct mptcp_subflow_context *subflow = (struct mptcp_subflow_context *)ctx->args[0];

	if (!bpf_core_field_exists(subflow->tcp_sock) || !BPF_CORE_READ(subflow, conn, sk_lock.owned))
		return 0;
	return use_connection((__u64)BPF_CORE_READ(subflow, tcp_sock), tracked_current());
}

/* The socket does not exist any more. In every case, its entry must leave the table. */
SEC("raw_tp/tcp_destroy_sock")
int handle_tcp_destroy(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	__u64 key = (__u64)sk;

	if (bpf_map_lookup_elem(&connections, &key))
		close_connection(key, BPF_CORE_READ(sk, sk_err));
	return 0;
}

#endif
