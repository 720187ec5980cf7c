/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * Only those fields of kernel structures that the programs read. CO-RE relocates them on load. If kernels differ, the
 * accessor that hides the difference is here too.
 */
#ifndef TRACER_KERNEL_BPF_H
#define TRACER_KERNEL_BPF_H

#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h */

/* include/linux/sched/coredump.h or mm_types.h: the lowest bits of the flags of a struct mm_struct */
#define MMF_DUMPABLE_MASK 3
#define SUID_DUMP_USER	  1

#define RCV_SEND_SHUTDOWN 3 /* include/net/sock.h, SHUTDOWN_MASK */
#define SOCK_DONE	  1 /* enum sock_flags: the peer's FIN has been received */

#define SKB_GSO_UDP_L4 (1 << 17) /* include/linux/skbuff.h: several datagrams in one */

#define AF_UNIX	 1
#define AF_INET	 2
#define AF_INET6 10

/* enum in include/net/tcp_states.h */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT	2
#define TCP_SYN_RECV	3
#define TCP_FIN_WAIT1	4
#define TCP_CLOSE	7
#define TCP_CLOSE_WAIT	8
#define TCP_LAST_ACK	9
#define TCP_LISTEN	10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	int mnt_id;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
	unsigned long flags;
	struct file *exe_file;
};

typedef struct {
	unsigned long __mm_flags[1];
} mm_flags_t;

/* Since Linux 6.18. */
struct mm_struct___bitmap {
	mm_flags_t flags;
};

typedef struct {
	int counter;
} atomic_t;

/* enum pid_type in include/linux/pid_types.h */
#define PIDTYPE_PGID 2
#define PIDTYPE_SID  3

struct list_head {
	struct list_head *next;
};

/* Only with CONFIG_TASK_XACCT and CONFIG_TASK_IO_ACCOUNTING. */
struct task_io_accounting {
	__u64 rchar;
	__u64 wchar;
	__u64 read_bytes;
	__u64 write_bytes;
};

/* Its counts are of reaped threads. */
struct signal_struct {
	atomic_t live;
	struct list_head thread_head;
	int group_exit_code;
	unsigned int flags;
	struct pid *pids[4];
	void *tty;
	void *oom_mm; /* set if the out-of-memory killer has chosen this process */
	__u64 utime;
	__u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	unsigned long min_flt;
	unsigned long maj_flt;
	unsigned long maxrss;
	unsigned long long sum_sched_runtime;
};

/* Only with CONFIG_SCHED_INFO. */
struct sched_info {
	unsigned long long run_delay;
};

/* Only with CONFIG_TASK_DELAY_ACCT. A task has none if the accounting is off, as it is by default since Linux 5.14. */
struct task_delay_info {
	__u64 blkio_delay;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

/* An array of two words before Linux 6.3. */
typedef struct {
	__u64 val;
} kernel_cap_t;

struct ns_common {
	unsigned int inum;
};

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	kernel_cap_t cap_permitted;
	struct user_namespace *user_ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct user_namespace {
	struct ns_common ns;
	kuid_t owner;
};

struct net {
	struct ns_common ns;
	struct user_namespace *user_ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
};

/* Since Linux 6.15. */
struct kernfs_node___rcu {
	struct kernfs_node *__parent;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

enum cgroup_subsys_id {
	memory_cgrp_id, /* none if the kernel was built without this controller */
};

struct css_set {
	struct cgroup *dfl_cgrp;
	struct cgroup_subsys_state *subsys[1]; /* by cgroup_subsys_id */
};

struct thread_info {
	__u32 status; /* only on x86 */
};

struct task_struct {
	struct thread_info thread_info;
	char comm[16];
	int pid;
	int tgid;
	int static_prio;
	int exit_code;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	const struct cred *cred;
	struct fs_struct *fs;
	struct files_struct *files;
	void *io_uring; /* since Linux 5.11 */
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct list_head thread_node;
	struct sched_entity se;
	__u64 utime;
	__u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	unsigned long min_flt;
	unsigned long maj_flt;
	struct task_io_accounting ioac;
	struct sched_info sched_info;
	struct task_delay_info *delays;
};

struct linux_binprm {
	int argc;
	const char *filename;
	const char *interp;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__u32 skc_portpair; /* the next two */
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct inode {
	unsigned long i_ino;
};

struct socket {
	struct file *file;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct {
		struct sk_buff *tail;
	} sk_backlog;
	int sk_rcvlowat;
	struct socket *sk_socket;
	int sk_err;
	__u16 sk_protocol;
	__u8 sk_shutdown;
	kuid_t sk_uid;
};

struct net_device {
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	unsigned int data_len;
	__u16 inner_network_header;
	__u16 network_header;
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
};

struct skb_shared_info {
	unsigned short gso_size;
	unsigned int gso_type;
};

struct inet_sock {
	__be16 inet_sport;
};

struct tcp_sock {
	__u64 bytes_acked;
	__u32 snd_una;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_received;
	__u32 write_seq;
	__u32 snd_nxt;
	__u32 segs_in;
	__u32 segs_out;
	__u32 srtt_us;
	__u32 mdev_us;
	__u32 total_retrans;
};

/* Only with CONFIG_MPTCP. */
struct mptcp_sock {
	struct sock *first; /* the socket of its first TCP connection */
};

struct mptcp_subflow_context {
	struct sock *tcp_sock;
	struct sock *conn; /* the MPTCP socket */
};

#pragma clang attribute pop

/* Helpers of this kernel: include/uapi/linux/bpf.h */
enum bpf_func_id___known {
	BPF_FUNC_task_pt_regs___known, /* since Linux 5.15 */
};

static __always_inline unsigned long mm_flags(struct mm_struct *mm)
{
	struct mm_struct___bitmap *bitmap = (void *)mm;
	unsigned long flags = 0;

	if (bpf_core_field_exists(bitmap->flags.__mm_flags))
		bpf_core_read(&flags, sizeof(flags), &bitmap->flags);
	else
		bpf_core_read(&flags, sizeof(flags), &mm->flags);
	return flags;
}

/*
 * The inode number of a socket's file. A later socket at the same address has another inode number. 0 if the socket is
 * closed.
 */
static __always_inline __u32 socket_inode(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);
	struct socket_alloc *alloc = (void *)socket - bpf_core_field_offset(struct socket_alloc, socket);

	return socket ? BPF_CORE_READ(alloc, vfs_inode.i_ino) : 0;
}

static __always_inline struct kernfs_node *parent_node(struct kernfs_node *node)
{
	struct kernfs_node___rcu *rcu = (void *)node;

	if (bpf_core_field_exists(rcu->__parent))
		return BPF_CORE_READ(rcu, __parent);
	return BPF_CORE_READ(node, parent);
}

static __always_inline __u64 permitted_capabilities(const struct cred *cred)
{
	__u64 capabilities = 0;

	bpf_probe_read_kernel(&capabilities, sizeof(capabilities),
			      (void *)cred + bpf_core_field_offset(struct cred, cap_permitted));
	return capabilities;
}

#endif
