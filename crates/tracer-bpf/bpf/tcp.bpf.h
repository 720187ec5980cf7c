/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * TCP connections of the tracked processes.
 *
 * Most state changes happen in softirq, where the current task has nothing to do with the socket. So the owner is noted
 * when it acts for itself: at connect(), at listen() for what will be accepted, and at the first read of an accepted
 * connection, which moves it from the listener to the worker.
 */
#ifndef TRACER_TCP_BPF_H
#define TRACER_TCP_BPF_H

struct connection {
	struct identity owner;
	__u64 opened_ns;
	__u8 direction;
	__u8 closed_by; /* whose FIN or RST came first so far */
	__u8 is_owned;	/* the owner has used it; before that it is the listener */
	__u8 is_established;
	__u8 is_dns; /* connected to a name server */
	__u8 reserved[3];
};

struct listener_key {
	__u32 network_namespace;
	__u32 port;
	__u8 address[16]; /* IPv4 as v4-mapped */
};

struct listener {
	struct identity owner;
	__u64 sockets; /* several may listen at one address and port: SO_REUSEPORT */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* struct sock * */
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listener_key);
	__type(value, struct listener);
} listeners SEC(".maps");

/* The sockets among these that listen: when one stops, it may have forgotten its port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* struct sock * */
	__type(value, struct listener_key);
} listening SEC(".maps");

static __always_inline struct listener_key listener_key(struct sock *sk)
{
	struct listener_key key = {};

	key.network_namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	key.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	read_local_address(key.address, sk);
	return key;
}

/* Who listens where this new connection came in: at its very address, at any IPv4 one, or at any at all. */
static __always_inline struct listener *find_listener(struct sock *sk)
{
	struct listener_key key = listener_key(sk);
	struct listener *known = bpf_map_lookup_elem(&listeners, &key);

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
 * Payload as the owner sees it. Sent: what it wrote, whether acknowledged yet or not. bytes_sent counts payload alone,
 * so no correction for SYN and FIN; bytes_received counts the peer's FIN.
 */
static __always_inline void read_counters(struct connection_record *record, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 unsent = BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_nxt);

	/* A dissolved socket has begun a new sequence. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		unsent = 0;

	record->bytes_sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans) + unsent;
	record->bytes_received = BPF_CORE_READ(tp, bytes_received);
	if (record->bytes_received && (BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << SOCK_DONE)))
		record->bytes_received--;
	record->retransmits = BPF_CORE_READ(tp, total_retrans);
	record->round_trip_us = BPF_CORE_READ(tp, srtt_us) >> 3; /* kept in eighths */
	record->variance_us = BPF_CORE_READ(tp, mdev_us) >> 2;	 /* in quarters */
}

static __always_inline void emit_connection(struct sock *sk, struct connection *connection, __u32 event, __u32 error)
{
	struct connection_record record = {};

	record.header.time_ns = event == CONNECTION_OPENED ? connection->opened_ns : bpf_ktime_get_boot_ns();
	record.header.process = connection->owner;
	record.header.kind = RECORD_CONNECTION;
	record.socket = disguised((__u64)sk);
	record.opened_ns = connection->opened_ns;
	record.event = event;
	record.network_namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	record.direction = connection->direction;
	record.error = error;
	record.closed_by = error ? CLOSED_BY_NOBODY : connection->closed_by;
	record.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	record.peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	read_local_address(record.local_address, sk);
	read_peer_address(record.peer_address, sk);
	read_counters(&record, sk);
	emit(&record, sizeof(record), RECORD_CONNECTION);
}

static __always_inline void open_connection(struct sock *sk, struct identity *owner, __u32 direction)
{
	struct connection connection = {};
	__u64 key = (__u64)sk;

	connection.owner = *owner;
	connection.opened_ns = bpf_ktime_get_boot_ns();
	connection.direction = direction;
	connection.is_owned = direction == DIRECTION_CONNECT;
	connection.is_dns = direction == DIRECTION_CONNECT && is_of_name_server(sk);
	if (connection.is_dns)
		forget_dns_streams(key);
	if (bpf_map_update_elem(&connections, &key, &connection, BPF_ANY))
		COUNT(untracked_connections);
	else if (direction == DIRECTION_CONNECT)
		emit_connection(sk, &connection, CONNECTION_OPENED, 0);
}

static __always_inline void close_connection(struct sock *sk, struct connection *connection, __u32 error)
{
	struct connection closed = *connection;
	__u64 key = (__u64)sk;

	if (bpf_map_delete_elem(&connections, &key))
		return;
	if (closed.is_dns)
		forget_dns_streams(key);
	if (closed.direction == DIRECTION_ACCEPT && !closed.is_established)
		return; /* a handshake that came to nothing, which no process has seen */
	emit_connection(sk, &closed, CONNECTION_CLOSED, error);
}

static __always_inline void start_listening(struct sock *sk)
{
	struct listener_key key = listener_key(sk);
	struct identity *owner = tracked_current();
	struct listener *known, listener = {};
	__u64 socket = (__u64)sk;

	/* listen() without bind() gets its port only later. */
	if (!owner || !key.port)
		return;
	if (bpf_map_update_elem(&listening, &socket, &key, BPF_ANY)) {
		COUNT(untracked_connections);
		return;
	}
	known = bpf_map_lookup_elem(&listeners, &key);
	if (known) {
		known->owner = *owner;
		__sync_fetch_and_add(&known->sockets, 1);
		return;
	}
	listener.owner = *owner;
	listener.sockets = 1;
	if (bpf_map_update_elem(&listeners, &key, &listener, BPF_ANY))
		COUNT(untracked_connections);
}

static __always_inline void stop_listening(struct sock *sk)
{
	__u64 socket = (__u64)sk;
	struct listener_key *key = bpf_map_lookup_elem(&listening, &socket);
	struct listener_key copy;
	struct listener *known;

	if (!key)
		return;
	copy = *key;
	bpf_map_delete_elem(&listening, &socket);
	known = bpf_map_lookup_elem(&listeners, &copy);
	if (known && known->sockets > 1)
		__sync_fetch_and_add(&known->sockets, -1);
	else if (known)
		bpf_map_delete_elem(&listeners, &copy);
}

/*
 * Has the owner let go? Its own close() shows as the first FIN, or as a change into the same state when a half-close
 * has sent that FIN before, or as an abort to CLOSE; each time with both directions shut. What the peer does later to a
 * half-closed socket also ends in CLOSE, but from other states.
 */
static __always_inline bool closed_by_owner(struct sock *sk, int old_state, int new_state)
{
	/* Aborted, or dissolved by connect() to nowhere, or a connect() that failed before it began. */
	if (new_state == TCP_CLOSE && (old_state == TCP_ESTABLISHED || old_state == TCP_CLOSE_WAIT ||
				       old_state == TCP_SYN_RECV || old_state == TCP_SYN_SENT))
		return true;
	if (BPF_CORE_READ(sk, sk_shutdown) != RCV_SEND_SHUTDOWN)
		return false;
	return old_state == new_state || new_state == TCP_FIN_WAIT1 || new_state == TCP_LAST_ACK;
}

SEC("raw_tp/inet_sock_set_state")
int handle_tcp_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int old_state = ctx->args[1];
	int new_state = ctx->args[2];
	__u64 key = (__u64)sk;
	struct connection *connection;
	__u32 error;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;

	if (new_state == TCP_SYN_SENT) {
		struct identity *owner = tracked_current();

		if (owner)
			open_connection(sk, owner, DIRECTION_CONNECT);
		return 0;
	}
	if (new_state == TCP_LISTEN) {
		start_listening(sk);
		return 0;
	}
	if (old_state == TCP_LISTEN) {
		struct listener *known;

		if (new_state == TCP_CLOSE) {
			stop_listening(sk);
			return 0;
		}
		known = find_listener(sk);
		if (known && new_state == TCP_SYN_RECV)
			open_connection(sk, &known->owner, DIRECTION_ACCEPT);
		return 0;
	}

	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection)
		return 0;
	if (new_state == TCP_ESTABLISHED) {
		connection->is_established = 1;
		emit_connection(sk, connection, CONNECTION_ESTABLISHED, 0);
		return 0;
	}
	if (old_state == TCP_ESTABLISHED)
		connection->closed_by = new_state == TCP_CLOSE_WAIT ? CLOSED_BY_PEER : CLOSED_BY_OWNER;
	error = new_state == TCP_CLOSE ? BPF_CORE_READ(sk, sk_err) : 0;
	if (error) {
		close_connection(sk, connection, error);
	} else if (closed_by_owner(sk, old_state, new_state)) {
		struct identity *user = tracked_or_exiting_current();

		/* Never read from: whoever closes it had it. */
		if (!connection->is_owned && user)
			connection->owner = *user;
		close_connection(sk, connection, 0);
	}
	return 0;
}

/* A read, by the process that does it: the true owner of an accepted connection, and who gets a name server's answer.
 */
SEC("raw_tp/tcp_rcv_space_adjust")
int handle_tcp_read(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	struct tracked_process *reader = tracked_process();
	struct connection *connection;
	__u64 key = (__u64)sk;

	if (!reader)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection)
		return 0;
	if (connection->is_dns)
		tell_transfer(key, 1);
	if (connection->is_owned)
		return 0;
	connection->owner = reader->identity;
	connection->is_owned = 1;
	emit_connection(sk, connection, CONNECTION_OWNED, 0);
	return 0;
}

/* The socket is gone, whatever happened before: nothing stays in the table. */
SEC("raw_tp/tcp_destroy_sock")
int handle_tcp_destroy(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	__u64 key = (__u64)sk;
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);

	if (connection)
		close_connection(sk, connection, BPF_CORE_READ(sk, sk_err));
	return 0;
}

#endif
