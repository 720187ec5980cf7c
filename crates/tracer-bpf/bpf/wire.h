/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * The records that the BPF programs write and user space reads. This is their only definition.
 *
 * build.rs generates the Rust side from this file. It understands only the forms that are used here and refuses any
 * other: `#define NAME NUMBER`, enums without values whose last name is their count, and structs. A struct has fields
 * of __u8, __u16, __u32, __u64 and earlier structs, and arrays of these. Padding is a field: implicit padding does not
 * compile on the Rust side.
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
	TEXT_FILE,	  /* the file name that exec was given, or the comm of a withheld process, and a NUL */
	TEXT_EXECUTABLE,  /* path of the mapped file: its components from leaf to root, each with a NUL */
	TEXT_DIRECTORY,	  /* working directory, in the same form */
	TEXT_ARGUMENTS,	  /* argv as it is in memory: each string followed by NUL */
	TEXT_ENVIRONMENT, /* environ, in the same form */
	TEXT_CGROUP,	  /* control group's path, version 2, as components; none if the root had it at its last exec */
	TEXT_CGROUP_V1,	  /* the same for the memory controller, if it is in a hierarchy of version 1 */
	TEXT_CONTEXT,	  /* TRACEPARENT=... of the environment, if the environment is not captured */
	TEXT_PARTS
};

/* The largest text of one record, bytes. It is a page, so that a page fault loses only one record. */
#define TEXT_CHUNK 4096

/* exec_record.visibility: what /proc shows about the process to the restricted user. */
#define VISIBLE_ALL    0
#define VISIBLE_PUBLIC 1 /* what /proc shows of any process to everybody */
#define VISIBLE_IDS    2 /* only the ids: proc(5), hidepid */

/* connection_record.event */
#define CONNECTION_OPENED      0 /* connect() sent a SYN */
#define CONNECTION_ESTABLISHED 1 /* the handshake is done; the first record of an accepted connection */
#define CONNECTION_OWNED       2 /* an accepted connection was first used by this process */
#define CONNECTION_CLOSED      3 /* its owner has closed it, or it has failed: connection_record.error */

/* connection_record.direction */
#define DIRECTION_CONNECT 0
#define DIRECTION_ACCEPT  1

/* connection_record.closed_by */
#define CLOSED_BY_NOBODY 0
#define CLOSED_BY_OWNER	 1
#define CLOSED_BY_PEER	 2

/*
 * One incarnation of a process: its tgid in the initial pid namespace, and the creation time of its leader (boot
 * clock). A pid can be reused, but this pair cannot.
 */
struct identity {
	__u64 start_ns;
	__u32 tgid;
	__u32 reserved;
};

/*
 * Counters that the kernel keeps for each thread, but not for a process. The bytes are rchar, wchar, read_bytes and
 * write_bytes of proc_pid_io(5).
 */
struct thread_counters {
	__u64 read_chars;
	__u64 written_chars;
	__u64 read_bytes;
	__u64 written_bytes;
	__u64 run_delay_ns;   /* runnable, but without a processor */
	__u64 block_delay_ns; /* waiting for block devices; 0 if the kernel does not account it */
};

/* A live process of the tree. */
struct tracked_process {
	struct identity identity;
	struct thread_counters dead_threads; /* without the first thread */
	__u32 threads;			     /* that it has created */
	__u32 is_withheld;		     /* 1: the restricted user must not look at it */
};

struct record_header {
	__u64 time_ns; /* boot clock */
	struct identity process;
	struct identity parent; /* the real parent at that time; in a fork record the forking process */
	__u32 kind;
	__u32 reserved;
};

struct fork_record {
	struct record_header header;
	__u32 is_root; /* 1 for the wrapped command itself */
	__u32 reserved;
};

/* Inode numbers. */
struct namespaces {
	__u32 mount;
	__u32 pid;
	__u32 network;
	__u32 user;
};

/* As statx(2) describes it. */
struct root_folder {
	__u64 inode;
	__u64 mount;
};

/* It follows its text records, which have the same header.time_ns. */
struct exec_record {
	struct record_header header;
	__u64 arguments_size;		/* in the process, bytes */
	__u64 environment_size;		/* in the process, bytes, even if it is not copied; 0 for a withheld process */
	struct root_folder root_folder; /* 0 for a withheld process */
	__u32 argument_count;
	__u32 user_id; /* effective */
	__u32 real_user_id;
	__u32 vpid;		  /* as in its own pid namespace */
	__u32 group_leader_pid;	  /* of the process group, in the initial pid namespace */
	__u32 session_leader_pid; /* of the session, in the initial pid namespace */
	__u32 is_interactive;	  /* 1: the session has a controlling terminal */
	__u32 is_script;	  /* 1: the mapped file is the interpreter of the file that exec was given */
	__u32 group_id;		  /* effective */
	__u32 real_group_id;
	__u32 nice;		      /* plus 20 */
	struct namespaces namespaces; /* 0 for a withheld process */
	__u32 visibility;
	__u32 hierarchy;      /* number of the memory controller's hierarchy of control groups; 0 in version 2 */
	__u32 has_other_root; /* 1: its root folder is not the launcher's, as after chroot(2) */
};

/* Followed by `size` bytes of text. */
struct text_record {
	struct record_header header;
	__u32 part;
	__u32 offset; /* of this chunk in its part */
	__u32 size;
	__u32 fault; /* 1: these bytes could not be read and are zero */
};

/* Usage of a process in its whole life, by all its threads. */
struct usage {
	__u64 runtime_ns; /* CPU time, exact. Of the next two, only the ratio counts. */
	__u64 user_ns;
	__u64 system_ns;
	__u64 peak_resident_pages;
	__u64 minor_faults;
	__u64 major_faults;
	__u64 voluntary_switches;
	__u64 involuntary_switches;
	struct thread_counters of_threads;
};

struct exit_record {
	struct record_header header;
	struct usage usage;
	__u32 status;		  /* as wait(2) gives it */
	__u32 threads;		  /* that it has created */
	__u32 is_oom_victim;	  /* 1: the out-of-memory killer chose it */
	__u32 is_status_withheld; /* 1: the restricted user must not know status and is_oom_victim */
};

/* Counters of a TCP connection in its whole life. */
struct tcp_counters {
	__u64 bytes_sent; /* payload */
	__u64 bytes_received;
	__u32 packets_sent; /* segments */
	__u32 packets_received;
	__u32 syn_retransmits; /* segments of the handshake */
	__u32 retransmits;     /* other segments */
	__u32 round_trip_us;   /* smoothed */
	__u32 variance_us;     /* of that */
};

struct connection_record {
	struct record_header header; /* process: the owner */
	__u64 socket;		     /* made from its address; with opened_ns it identifies the connection */
	__u64 opened_ns;
	struct tcp_counters counters; /* set when it is closed, otherwise 0 */
	__u32 event;
	__u32 direction;
	__u32 error;		 /* errno, 0 for none */
	__u32 closed_by;	 /* the side whose FIN or RST came first */
	__u32 network_namespace; /* from the inode number: equal numbers mean the same namespace */
	__u32 network_inode;	 /* of that namespace */
	__u32 reserved;
	__u16 local_port;	/* host order */
	__u16 peer_port;	/* host order */
	__u8 local_address[16]; /* IPv4 as v4-mapped */
	__u8 peer_address[16];
};

/* A failed exec. Followed by `size` bytes: the file name that exec was given, and a NUL. */
struct failed_exec_record {
	struct record_header header;
	__u32 error; /* errno */
	__u32 size;
};

/* connect(2) to a unix socket. Followed by `size` bytes: the address argument without the family. */
struct unix_record {
	struct record_header header;
	__u32 error; /* errno, 0 for none */
	__u32 size;
};

/* DNS. Followed by `size` bytes: a datagram, or a piece of the data of a TCP connection. */
struct dns_record {
	struct record_header header; /* process: the one that asked */
	__u64 socket;		     /* 0 for a datagram; otherwise as in a connection record */
	__u64 offset;		     /* of the first byte, in its direction of the connection */
	__u32 is_answer;	     /* 1: from the name server. For a datagram: from the port of name servers */
	__u32 passed;		     /* bytes in all; the text is their beginning */
	__u16 local_port;	     /* host order */
	__u16 peer_port;	     /* host order; the name server's, as the process knows it */
	__u32 size;
	__u8 local_address[16]; /* IPv4 as v4-mapped */
	__u8 peer_address[16];
};

/* A socket has sent its first datagram to a peer. A slot counts the datagrams of the flow, this one included. */
struct flow_record {
	struct record_header header; /* process: the sender */
	__u32 slot;
	__u32 generation;	 /* of the slot */
	__u32 network_namespace; /* from the inode number: equal numbers mean the same namespace */
	__u16 local_port;	 /* host order */
	__u16 peer_port;	 /* host order */
	__u8 local_address[16];	 /* IPv4 as v4-mapped */
	__u8 peer_address[16];
};

/*
 * This many directions of connections to name servers are remembered. A connection has two. If there are more, the
 * oldest are forgotten. They have probably ended.
 */
#define DNS_STREAMS 1024

/* Slots of each processor. Only this processor takes them. */
#define FLOW_SLOTS 1024

/* The datagrams of a flow so far. The programs count them, and user space reads the counts from the mapping. */
struct flow_slot {
	__u64 datagrams_sent;
	__u64 datagrams_received;
	__u64 bytes_sent; /* payload */
	__u64 bytes_received;
	__u64 last_ns;	  /* time of the last datagram, boot clock */
	__u32 generation; /* user space increases it when a flow is over; then no program counts in the slot */
	__u32 freed;	  /* entry in the queue of this processor's free slots: slot number plus 1; 0: none */
};

/* Signal numbers are below this: include/uapi/asm/signal.h, _NSIG. */
#define SIGNALS 65

/*
 * Only the programs see this. Before user space attaches them, it sets the options, the data of the user, and the key.
 * The programs set the other fields.
 */
struct unshared {
	__u32 is_restricted; /* 1: report only data that this user may see */
	__u32 user_id;
	__u32 group_id;
	__u32 launcher_tgid;	 /* set at the launch, in the initial pid namespace */
	__u32 root_tgid;	 /* the launched process, set at the launch, in the initial pid namespace */
	__u32 has_sent;		 /* 1: a process has sent a datagram */
	__u32 asked_records;	 /* records on demand: bit 1 << record_kind if the user asks for them */
	__u32 has_dns_streams;	 /* 1: a process has connected to a name server over TCP */
	__u32 hides_processes;	 /* 1: /proc hides other users' processes from this user: proc(5), hidepid */
	__u32 network_namespace; /* inode number of this user's network namespace */
	__u64 root_cgroup;	 /* address of the node of the root's control group, set when the root calls exec */
	__u64 root_cgroup_v1;	 /* the same for TEXT_CGROUP_V1 */
	__u64 root_folder;	 /* address of the dentry of the launcher's root folder, set at the launch */
	__u64 socket_key;	 /* random, nonzero; hides the addresses of sockets */
};

/*
 * One page that user space has mapped. An ordinary user can have it too, so it has no kernel addresses. User space
 * configures and arms the programs. The programs count.
 */
struct shared_page {
	__u32 capture_environment;	  /* 1: environments are read */
	__u32 wakeup_bytes;		  /* unread bytes of the ring buffer that wake its reader */
	__u32 launcher_pid;		  /* in its own pid namespace; 0: not armed, or already launched */
	__u32 launcher_namespace;	  /* inode number of that pid namespace */
	__u64 live_processes;		  /* entries in the table of processes */
	__u64 lost_records[RECORD_KINDS]; /* by record kind: the ring buffer was full */
	__u64 untracked_processes;   /* did not fit into the table of processes; their descendants are missing too */
	__u64 untracked_connections; /* did not fit into the tables of connections, or found no free slot for a flow */
	__u64 text_faults[TEXT_PARTS]; /* unreadable chunks of text, and paths that are too deep or too long */
	__u64 io_uring_queues;	       /* made by processes, if connect() to unix sockets is reported */
	__u64 nested_runs; /* runs of handle_nested_tcp_state() that replace skipped runs of handle_tcp_state() */
	__u32 paired_signals[SIGNALS]; /* by number: the same sender has sent it to the launcher and to the root */
	__u32 reserved;
};

#endif
