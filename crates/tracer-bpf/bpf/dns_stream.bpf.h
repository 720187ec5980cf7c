/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * DNS over TCP: what the tracked processes write to name servers, and read from them. The payload of a connection lies
 * where no program can read it; but whoever writes or reads it has it in the buffers of the system call.
 */
#ifndef TRACER_DNS_STREAM_BPF_H
#define TRACER_DNS_STREAM_BPF_H

/* One direction of a connection to a name server. */
struct dns_stream_key {
	__u64 socket; /* struct sock * */
	__u64 is_answer;
};

/* How far it has got, and by which system call. One call may take several segments, one after another. */
struct dns_stream {
	__u64 end; /* payload bytes */
	__u64 thread;
	__u64 argument; /* the second */
	__u64 size;	/* the third */
	__u64 done;	/* bytes by this call */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct dns_stream_key);
	__type(value, struct dns_stream);
} dns_streams SEC(".maps");

/* Pieces of a system call's vector that are looked at. Who has the length of a message apart from it has two. */
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

static __always_inline bool is_of_name_server(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_dport) == bpf_htons(PORT_DNS);
}

/* What is at that address now is another socket. */
static __always_inline void forget_dns_streams(__u64 socket)
{
	struct dns_stream_key key = {.socket = socket};

	bpf_map_delete_elem(&dns_streams, &key);
	key.is_answer = 1;
	bpf_map_delete_elem(&dns_streams, &key);
}

/* Gives how many bytes there are at most, 0 if that is not known. */
static __always_inline __u64 read_pieces(struct piece *pieces, void *registers, bool is_read)
{
	int transfer = transfer_of(registers, is_read);
	__u64 vector = call_argument(registers, 1);
	__u64 count = call_argument(registers, 2);
	__u64 size = 0;

	if (transfer == TRANSFER_NONE)
		return 0;
	if (transfer == TRANSFER_BUFFER) {
		pieces[0].address = vector;
		pieces[0].size = count;
		return count;
	}
	if (transfer == TRANSFER_MESSAGE) {
		struct message_header header;

		if (bpf_probe_read_user(&header, sizeof(header), (void *)vector))
			return 0;
		vector = header.vector;
		count = header.count;
	}
	for (__u32 i = 0; i < PIECES; i++) {
		if (i >= count ||
		    bpf_probe_read_user(&pieces[i], sizeof(pieces[i]), (void *)vector + i * sizeof(*pieces)))
			break;
		size += pieces[i].size;
	}
	return size;
}

/* Of a piece that is longer than any answer worth telling there is only the beginning. */
static __always_inline void emit_piece(struct dns_scratch *scratch, __u64 address, __u64 size)
{
	scratch->record.passed = size;
	if (size > DNS_MESSAGE)
		size = DNS_MESSAGE;
	barrier_var(size);
	if (size > DNS_MESSAGE || bpf_probe_read_user(scratch->message, size, (void *)address))
		return;
	scratch->record.size = size;
	emit(scratch, sizeof(scratch->record) + size, RECORD_DNS);
}

/* How many payload bytes have passed. */
static __always_inline __u64 position_of(struct tcp_sock *tp, bool is_answer)
{
	if (is_answer)
		return BPF_CORE_READ(tp, bytes_received) - (BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq));
	/* The SYN was acknowledged as well. */
	return BPF_CORE_READ(tp, bytes_acked) - 1 + (BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_una));
}

/* Of the socket that the current task's system call has locked. */
static __always_inline void tell_dns(struct sock *sk, struct tracked_process *process, bool is_answer)
{
	struct dns_stream_key key = {.socket = (__u64)sk, .is_answer = is_answer};
	struct dns_stream stream = {.thread = bpf_get_current_pid_tgid()}, *known;
	struct piece pieces[PIECES] = {};
	struct dns_scratch *scratch;
	__u64 size, room, skipped;
	__u32 place = DNS_STREAM;
	void *registers;

	/* Before Linux 5.15 there is no way to the registers. */
	if (!bpf_core_enum_value_exists(enum bpf_func_id___known, BPF_FUNC_task_pt_regs___known))
		return;
	registers = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	scratch = bpf_map_lookup_elem(&dns_scratches, &place);
	if (!scratch)
		return;
	known = bpf_map_lookup_elem(&dns_streams, &key);
	stream.end = position_of((struct tcp_sock *)sk, is_answer);
	scratch->record.offset = known ? known->end : 0;
	/* Sent again, or looked at without being taken. */
	if (stream.end <= scratch->record.offset)
		return;
	size = stream.end - scratch->record.offset;
	stream.argument = call_argument(registers, 1);
	stream.size = call_argument(registers, 2);
	room = read_pieces(pieces, registers, is_answer);
	if (known && known->thread == stream.thread && known->argument == stream.argument &&
	    known->size == stream.size && known->done + size <= room)
		stream.done = known->done;
	skipped = stream.done;
	stream.done += size;
	bpf_map_update_elem(&dns_streams, &key, &stream, BPF_ANY);
	if (process->is_withheld)
		return;
	/* What was put off, and sent later by nobody's call, is not in these buffers. */
	if (size > room) {
		if (is_answer)
			return;
		scratch->record.offset += size - room;
		size = room;
	}

	scratch->record.header.time_ns = bpf_ktime_get_boot_ns();
	scratch->record.header.process = process->identity;
	scratch->record.header.kind = RECORD_DNS;
	scratch->record.socket = disguised((__u64)sk);
	scratch->record.is_answer = is_answer;
	scratch->record.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	scratch->record.peer_port = PORT_DNS;
	read_local_address(scratch->record.local_address, sk);
	read_peer_address(scratch->record.peer_address, sk);
	for (__u32 i = 0; i < PIECES && size; i++) {
		struct piece *piece = &pieces[i];
		__u64 left = piece->size - skipped;

		if (skipped >= piece->size) {
			skipped -= piece->size;
			continue;
		}
		if (left > size)
			left = size;
		emit_piece(scratch, piece->address + skipped, left);
		scratch->record.offset += left;
		size -= left;
		skipped = 0;
	}
}

#endif
