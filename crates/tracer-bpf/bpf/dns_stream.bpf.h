/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * DNS over TCP: the data that the tracked processes write to name servers and read from them. No BPF program
 * can read the payload of a connection. But the payload is also in the buffers of the system call that writes or reads
 * it.
 */
#ifndef TRACER_DNS_STREAM_BPF_H
#define TRACER_DNS_STREAM_BPF_H

/* One direction of a connection to a name server. */
struct dns_stream_key {
	__u64 socket; /* struct sock * */
	__u64 is_answer;
};

/*
 * The position in one direction of the stream, and the system call that has reached this position. One call can
 * transfer several segments, one after another.
 */
struct dns_stream {
	__u64 end; /* payload bytes */
	__u64 thread;
	__u64 argument; /* the second one */
	__u64 size;	/* the third */
	__u64 done;	/* bytes by this call */
	__u64 goes_on;	/* 1: the call is not at its end yet */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DNS_STREAMS);
	__type(key, struct dns_stream_key);
	__type(value, struct dns_stream);
} dns_streams SEC(".maps");

/*
 * This many pieces of a system call's vector are used. If a program passes a message and its length separately, there
 * are two pieces.
 */
#define PIECES 4

/* include/uapi/linux/uio.h, struct iovec */
struct piece {
	__u64 address;
	__u64 size;
};

/* include/linux/socket.h, struct user_msghdr */
struct message_header {
	__u64 name[2];
	__u64 vector;
	__u64 count;
};

/* The state of one system call. It is too large for the stack. */
struct transfer {
	struct dns_record record;
	char message[DNS_MESSAGE];
	struct dns_stream_key key;
	struct dns_stream stream;
	struct piece pieces[PIECES];
	struct message_header header;
	__u64 room;    /* bytes in the pieces */
	__u64 skipped; /* bytes at the beginning that were reported before */
	__u64 size;    /* bytes to report after that */
};

PER_PROCESSOR(current_transfer, struct transfer, 1)

static __always_inline bool is_of_name_server(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_dport) == bpf_htons(PORT_DNS);
}

/* Forgets both streams of a socket, because their connection is over. */
__noinline int forget_dns_streams(__u64 socket)
{
	struct dns_stream_key key = {.socket = socket};

	bpf_map_delete_elem(&dns_streams, &key);
	key.is_answer = 1;
	bpf_map_delete_elem(&dns_streams, &key);
	return 0;
}

/* Before Linux 5.15, programs cannot get the registers. */
static __always_inline void *current_registers(void)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id___known, BPF_FUNC_task_pt_regs___known))
		return NULL;
	return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

__noinline int current_transfer_kind(__u32 is_read)
{
	void *registers = current_registers();

	return registers ? transfer_of(registers, is_read) : TRANSFER_NONE;
}

/* Whether the descriptor refers to the socket. */
static __always_inline bool is_file_of(struct sock *sk, __u32 descriptor)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL, *own = BPF_CORE_READ(sk, sk_socket, file);

	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return false;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + descriptor);
	return own && file == own;
}

/* include/linux/socket.h */
#define MSG_TRUNC   0x20
#define MSG_WAITALL 0x100

/*
 * Finds the buffers of the system call, if the call is for this socket. Returns the flags of the call. The kernel can
 * also work on the socket during another system call.
 */
__noinline int find_pieces(__u64 socket, __u32 is_read)
{
	struct transfer *transfer = current_transfer(0);
	int kind = current_transfer_kind(is_read);
	void *registers = current_registers();
	struct message_header *header;
	__u64 size = 0;
	int flags = 0;

	if (!transfer || !registers)
		return 0;
	header = &transfer->header;
	header->vector = transfer->stream.argument;
	header->count = transfer->stream.size;
	__builtin_memset(transfer->pieces, 0, sizeof(transfer->pieces));
	transfer->room = 0;
	if (kind == TRANSFER_NONE || !is_file_of((struct sock *)socket, call_argument(registers, 0)))
		return 0;
	if (kind == TRANSFER_FLAGS)
		flags = call_argument(registers, 3);
	else if (kind == TRANSFER_MESSAGE)
		flags = call_argument(registers, 2);
	/* With MSG_TRUNC, the buffer gets no data. */
	if (is_read && (flags & MSG_TRUNC))
		return 0;
	if (kind == TRANSFER_BUFFER || kind == TRANSFER_FLAGS) {
		header->count = 1;
		transfer->pieces[0].address = transfer->stream.argument;
		transfer->pieces[0].size = transfer->room = transfer->stream.size;
		return flags;
	}
	if (kind == TRANSFER_MESSAGE && bpf_probe_read_user(header, sizeof(*header), (void *)transfer->stream.argument))
		return 0;
	for (__u32 i = 0; i < PIECES; i++) {
		struct piece *piece = &transfer->pieces[i];

		if (i >= header->count ||
		    bpf_probe_read_user(piece, sizeof(*piece), (void *)header->vector + i * sizeof(*piece)))
			break;
		size += piece->size;
	}
	transfer->room = size;
	return flags;
}

/* If a piece is longer than DNS_MESSAGE, only its beginning is reported. */
__noinline int emit_piece(__u64 address, __u64 size)
{
	struct transfer *transfer = current_transfer(0);
	__u64 told = size < DNS_MESSAGE ? size : DNS_MESSAGE;

	if (!transfer)
		return 0;
	transfer->record.passed = size;
	barrier_var(told);
	if (told > DNS_MESSAGE || bpf_probe_read_user(transfer->message, told, (void *)address))
		return 0;
	transfer->record.size = told;
	emit(transfer, sizeof(transfer->record) + told, RECORD_DNS);
	return 0;
}

__noinline int emit_pieces(void)
{
	struct transfer *transfer = current_transfer(0);

	if (!transfer)
		return 0;
	for (__u32 i = 0; i < PIECES; i++) {
		struct piece *piece = &transfer->pieces[i];
		__u64 left = piece->size - transfer->skipped;

		if (transfer->skipped >= piece->size) {
			transfer->skipped -= piece->size;
			continue;
		}
		if (left > transfer->size)
			left = transfer->size;
		if (!left)
			break;
		emit_piece(piece->address + transfer->skipped, left);
		transfer->record.offset += left;
		transfer->size -= left;
		transfer->skipped = 0;
	}
	return 0;
}

/* The number of payload bytes so far. */
static __always_inline __u64 position_of(struct tcp_sock *tp, bool is_answer)
{
	if (is_answer)
		return BPF_CORE_READ(tp, bytes_received) - (BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq));
	/* The count of acknowledged bytes includes the SYN. */
	return BPF_CORE_READ(tp, bytes_acked) - 1 + (BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_una));
}

/* Reads the position of the stream. Returns 0 if it has not moved. */
__noinline int begin_transfer(__u64 socket, __u32 is_answer)
{
	struct transfer *transfer = current_transfer(0);
	struct tcp_sock *tp = (struct tcp_sock *)socket;
	void *registers = current_registers();
	struct dns_stream *known;

	if (!transfer || !registers)
		return 0;
	transfer->key.socket = socket;
	transfer->key.is_answer = is_answer;
	known = bpf_map_lookup_elem(&dns_streams, &transfer->key);
	transfer->stream.end = position_of(tp, is_answer);
	transfer->record.offset = known ? known->end : 0;
	/* The data is sent again, or was read with MSG_PEEK. */
	if (transfer->stream.end <= transfer->record.offset)
		return 0;
	transfer->size = transfer->stream.end - transfer->record.offset;
	transfer->stream.thread = bpf_get_current_pid_tgid();
	transfer->stream.argument = call_argument(registers, 1);
	transfer->stream.size = call_argument(registers, 2);
	return 1;
}

/* Stores the position. Returns 0 if there is nothing to report. */
__noinline int end_transfer(__u64 socket, __u32 is_answer, __u32 flags)
{
	struct transfer *transfer = current_transfer(0);
	struct tcp_sock *tp = (struct tcp_sock *)socket;
	struct sock *sk = (struct sock *)socket;
	struct dns_stream *stream, *known;
	__u64 done = 0;

	if (!transfer)
		return 0;
	stream = &transfer->stream;
	known = bpf_map_lookup_elem(&dns_streams, &transfer->key);
	if (known && known->goes_on && known->thread == stream->thread && known->argument == stream->argument &&
	    known->size == stream->size && known->done + transfer->size <= transfer->room)
		done = known->done;
	transfer->skipped = done;
	stream->done = done + transfer->size;
	stream->goes_on = stream->done < transfer->room;
	/* A read returns the available data, unless it waits for more: net/ipv4/tcp.c, tcp_recvmsg_locked(). */
	if (is_answer && !(flags & MSG_WAITALL) && BPF_CORE_READ(tp, rcv_nxt) == BPF_CORE_READ(tp, copied_seq) &&
	    !BPF_CORE_READ(sk, sk_backlog.tail) && stream->done >= BPF_CORE_READ(sk, sk_rcvlowat))
		stream->goes_on = 0;
	bpf_map_update_elem(&dns_streams, &transfer->key, stream, BPF_ANY);
	if (transfer->size <= transfer->room)
		return is_answer || transfer->room <= DNS_MESSAGE;
	/*
	 * The buffers do not hold all bytes. Then an answer is skipped. A write that is longer than any question is
	 * skipped, too: possibly the kernel has accepted only a part of it so far.
	 */
	if (is_answer || transfer->room > DNS_MESSAGE)
		return 0;
	/* The kernel can send delayed data without a system call. This data comes before the data in these buffers. */
	if (transfer->header.count <= PIECES)
		transfer->record.offset += transfer->size - transfer->room;
	transfer->size = transfer->room;
	return 1;
}

__noinline int fill_transfer(__u64 socket, __u32 is_answer)
{
	struct tracked_process *process = tracked_process();
	struct transfer *transfer = current_transfer(0);
	struct dns_record *record;
	struct sock_common *sk;
	struct sock_room room;

	if (!transfer || !process || process->is_withheld)
		return 0;
	record = &transfer->record;
	record->header.time_ns = bpf_ktime_get_boot_ns();
	record->header.process = process->identity;
	record->header.kind = RECORD_DNS;
	record->socket = disguised(socket);
	record->is_answer = is_answer;
	sk = read_common(&room, (struct sock *)socket);
	record->local_port = sk->skc_num;
	record->peer_port = PORT_DNS;
	__builtin_memset(record->local_address, 0, 16);
	__builtin_memset(record->peer_address, 0, 16);
	fill_addresses(record->local_address, record->peer_address, sk);
	return 1;
}

/*
 * Reports the data of the socket that the current system call has locked. The functions are called one after the other,
 * because nested functions share 512 bytes of stack.
 */
static __always_inline void tell_transfer(__u64 socket, __u32 is_answer)
{
	int flags;

	if (!tracked_process() || !begin_transfer(socket, is_answer))
		return;
	flags = find_pieces(socket, is_answer);
	if (end_transfer(socket, is_answer, flags) && fill_transfer(socket, is_answer))
		emit_pieces();
}

#endif
