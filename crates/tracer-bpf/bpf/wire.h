/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * The records that the BPF programs write and user space reads: the only definition of them.
 *
 * build.rs generates the Rust side from this file. It understands only what is used here and refuses anything else:
 * `#define NAME NUMBER`, enums without values whose last name is their count, and structs. A struct has fields of __u8,
 * __u16, __u32, __u64 and earlier structs, and arrays of these. Padding is a field: implicit padding does not compile
 * on the Rust side.
 */
#ifndef TRACER_WIRE_H
#define TRACER_WIRE_H

/* record_header.kind. It is also the index into shared_page.lost_records. */
enum record_kind {
	RECORD_FORK,
	RECORD_EXEC,
	RECORD_TEXT,
	RECORD_EXIT,
	RECORD_CONNECTION,
	RECORD_DNS,
	RECORD_FAILED_EXEC,
	RECORD_FLOW,
	RECORD_UNIX,
	RECORD_KINDS
};

/* text_record.part */
enum text_part {
	TEXT_FILE,	  /* the file name that exec was given, and a NUL */
	TEXT_EXECUTABLE,  /* path of the mapped file: its components from leaf to root, each with a NUL */
	TEXT_DIRECTORY,	  /* working directory, in the same form */
	TEXT_ARGUMENTS,	  /* argv as it lies in memory: each string followed by NUL */
	TEXT_ENVIRONMENT, /* environ, in the same form */
	TEXT_CGROUP,	  /* path of the control group, version 2, in the form of the executable; none for the root's */
	TEXT_CONTEXT,	  /* TRACEPARENT=... of the environment, if the environment is not captured */
	TEXT_PARTS
};

/* Most bytes of text in one record: a page, so that a fault loses no more than that. */
#define TEXT_CHUNK 4096

/* exec_record.visibility: how much of the process /proc shows to the restricted user. */
#define VISIBLE_ALL    0
#define VISIBLE_PUBLIC 1 /* what it shows of any process to everybody */
#define VISIBLE_IDS    2 /* less than that: proc(5), hidepid. The ids alone are reported. */

/* connection_record.event */
#define CONNECTION_OPENED      0 /* connect() sent a SYN */
#define CONNECTION_ESTABLISHED 1 /* handshake done; for an accepted connection the first record */
#define CONNECTION_OWNED       2 /* an accepted connection was first used by this process */
#define CONNECTION_CLOSED      3 /* closed by its owner, or failed: connection_record.error */

/* connection_record.direction */
#define DIRECTION_CONNECT 0
#define DIRECTION_ACCEPT  1

/* connection_record.closed_by */
#define CLOSED_BY_NOBODY 0
#define CLOSED_BY_OWNER	 1
#define CLOSED_BY_PEER	 2

/* A process incarnation: tgid in the initial pid namespace, and when its leader was created (boot clock). A pid may be
 * reused; this pair is not. */
struct identity {
	__u64 start_ns;
	__u32 tgid;
	__u32 reserved;
};

/* Bytes that were read and written: proc_pid_io(5), rchar, wchar, read_bytes and write_bytes. */
struct io {
	__u64 read_chars;
	__u64 written_chars;
	__u64 read_bytes;
	__u64 written_bytes;
};

/* A live process of the tree. */
struct tracked_process {
	struct identity identity;
	struct io dead_threads_io; /* the first thread's not included */
	__u32 threads;		   /* that it has created */
	__u32 is_withheld;	   /* 1: the restricted user may not look at it */
};

struct record_header {
	__u64 time_ns; /* boot clock */
	struct identity process;
	struct identity parent; /* the forking process; in later records the real parent of that moment */
	__u32 kind;
	__u32 reserved;
};

struct fork_record {
	struct record_header header;
	__u32 is_root; /* 1 for the wrapped command itself */
	__u32 reserved;
};

/* By their inode numbers. */
struct namespaces {
	__u32 mount;
	__u32 pid;
	__u32 network;
	__u32 user;
};

/* Follows its text records, which carry the same header.time_ns. */
struct exec_record {
	struct record_header header;
	__u64 arguments_size;	/* in the process, bytes */
	__u64 environment_size; /* likewise, also when it was not read */
	__u32 argument_count;
	__u32 user_id; /* effective */
	__u32 real_user_id;
	__u32 vpid;		  /* as in its own pid namespace */
	__u32 group_leader_pid;	  /* the process group's, in the initial pid namespace */
	__u32 session_leader_pid; /* likewise */
	__u32 is_interactive;	  /* 1: the session has a controlling terminal */
	__u32 is_script;	  /* 1: the mapped file interprets the one handed to exec */
	__u32 group_id;		  /* effective */
	__u32 real_group_id;
	__u32 nice;		      /* plus 20 */
	struct namespaces namespaces; /* of a withheld process 0 */
	__u32 visibility;
};

/* Followed by `size` bytes of text. */
struct text_record {
	struct record_header header;
	__u32 part;
	__u32 offset; /* of this chunk in its part */
	__u32 size;
	__u32 fault; /* 1: these bytes could not be read, and are zero */
};

/* What a process has used in its life, all its threads together. */
struct usage {
	__u64 runtime_ns; /* CPU time, exact; of the two below only the proportion is */
	__u64 user_ns;
	__u64 system_ns;
	__u64 peak_resident_pages;
	__u64 minor_faults;
	__u64 major_faults;
	__u64 voluntary_switches;
	__u64 involuntary_switches;
	struct io io;
};

struct exit_record {
	struct record_header header;
	struct usage usage;
	__u32 status;		  /* as wait(2) gives it */
	__u32 threads;		  /* that it has created */
	__u32 is_oom_victim;	  /* 1: the kernel chose it when memory ran out */
	__u32 is_status_withheld; /* 1: the restricted user may know neither of status and is_oom_victim */
};

struct connection_record {
	struct record_header header; /* process: the owner */
	__u64 socket;		     /* made of its address; with opened_ns: identity of the connection */
	__u64 opened_ns;
	__u64 bytes_sent; /* this and the next four when it is closed, else 0 */
	__u64 bytes_received;
	__u32 retransmits;   /* segments */
	__u32 round_trip_us; /* smoothed */
	__u32 variance_us;   /* of that */
	__u32 event;
	__u32 direction;
	__u32 error;		 /* errno, 0 for none */
	__u32 closed_by;	 /* whose FIN or RST came first */
	__u32 network_namespace; /* in disguise: equal if it is the same */
	__u32 reserved;
	__u16 local_port;	/* host order */
	__u16 peer_port;	/* host order */
	__u8 local_address[16]; /* IPv4 as v4-mapped */
	__u8 peer_address[16];
};

/* Followed by `size` bytes: the file name handed to exec, and a NUL. */
struct failed_exec_record {
	struct record_header header;
	__u32 error; /* errno */
	__u32 size;
};

/* connect(2) to a unix socket. Followed by `size` bytes: its address without the family, as it was handed over. */
struct unix_record {
	struct record_header header;
	__u32 error; /* errno, 0 for none */
	__u32 size;
};

/* Followed by `size` bytes: a datagram, or a piece of what has passed a TCP connection. */
struct dns_record {
	struct record_header header; /* process: who has asked */
	__u64 socket;		     /* 0: a datagram; otherwise as of a connection */
	__u64 offset;		     /* of the first byte in its direction of the connection */
	__u32 is_answer;	     /* that direction: 1: from the name server, of a datagram: from its port */
	__u32 passed;		     /* bytes, of which this is the beginning */
	__u16 local_port;	     /* host order */
	__u16 peer_port;	     /* host order; of the name server as the process knows it */
	__u32 size;
	__u8 local_address[16]; /* IPv4 as v4-mapped */
	__u8 peer_address[16];
};

/* A socket has sent its first datagram to a peer. What comes after that is counted in a slot. */
struct flow_record {
	struct record_header header; /* process: who has sent it */
	__u32 slot;
	__u32 generation;	 /* of the slot */
	__u32 network_namespace; /* in disguise: equal if it is the same */
	__u16 local_port;	 /* host order */
	__u16 peer_port;	 /* host order */
	__u8 local_address[16];	 /* IPv4 as v4-mapped */
	__u8 peer_address[16];
};

/* Connections to name servers that are remembered, each direction for itself. More than these are the leavings of those
 * that have ended. */
#define DNS_STREAMS 1024

/* Slots of each processor, which alone takes from them. */
#define FLOW_SLOTS 1024

/* What a flow has carried so far: programs count, and user space reads it from the mapping. */
struct flow_slot {
	__u64 datagrams_sent;
	__u64 datagrams_received;
	__u64 bytes_sent; /* payload */
	__u64 bytes_received;
	__u64 last_ns;	  /* boot clock: of the last datagram */
	__u32 generation; /* user space increases it when a flow is over, and programs let go of the slot */
	__u32 freed;	  /* a place in the queue of this processor's free slots: number of one, plus 1; 0: none */
};

/* Signal numbers are below this: include/uapi/asm/signal.h, _NSIG. */
#define SIGNALS 65

/* What only the programs see. The beginning is set before they are attached: whose processes may be looked at. */
struct unshared {
	__u32 is_restricted; /* 1: this user's alone */
	__u32 user_id;
	__u32 group_id;
	__u32 launcher_tgid;	  /* once it has launched, in the initial pid namespace */
	__u32 root_tgid;	  /* likewise of the process it launched */
	__u32 has_sent;		  /* 1: some process has sent a datagram */
	__u32 tells_failed_execs; /* 1: calls of exec that failed are reported */
	__u32 tells_unix;	  /* 1: likewise connect() to unix sockets */
	__u32 has_dns_streams;	  /* 1: some process has connected to a name server over TCP */
	__u32 hides_processes;	  /* 1: /proc hides other users' processes from that user: proc(5), hidepid */
	__u32 network_namespace;  /* inode number of the one in which that user is */
	__u32 reserved;
	__u64 root_cgroup; /* address of the node of its control group, once it has called exec */
	__u64 socket_key;  /* random, nonzero: what takes the place of a socket's address */
};

/* One page shared by mmap, perhaps with an ordinary user, so no addresses of the kernel's: user space configures and
 * arms, programs count and say what happened. */
struct shared_page {
	__u32 capture_environment;	  /* 1: environments are read */
	__u32 wakeup_bytes;		  /* unread bytes of the ring buffer that wake its reader */
	__u32 launcher_pid;		  /* as in its own pid namespace; 0: nothing to launch, or done */
	__u32 launcher_namespace;	  /* inode number of that pid namespace */
	__u64 live_processes;		  /* in the table of processes */
	__u64 lost_records[RECORD_KINDS]; /* by record kind: the ring buffer was full */
	__u64 untracked_processes;	  /* the table of processes was full: these and their descendants are missing */
	__u64 untracked_connections;	  /* the tables of connections were full, or no slot free for a flow */
	__u64 text_faults;		  /* chunks of text that could not be read, and paths too deep or long */
	__u64 nested_runs; /* of programs that stand in for one that the kernel would not run within itself */
	__u32 paired_signals[SIGNALS]; /* by number: sent to the launcher and to the root by the same hand */
	__u32 reserved;
};

#endif
