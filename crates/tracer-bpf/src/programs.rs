//! The table of programs, and the descriptors of attached programs. `load` makes the descriptors. `read` uses them,
//! possibly in another process.

use std::{ffi::CStr, os::fd::OwnedFd, time::Duration};

/// A program and its tracepoint.
pub(crate) type Attachment = (&'static str, &'static CStr);

/// The programs that are always attached.
pub(crate) const PROCESSES: [Attachment; 4] = [
    ("handle_fork", c"sched_process_fork"),
    ("handle_exec", c"sched_process_exec"),
    ("handle_exit", c"sched_process_exit"),
    ("handle_signal", c"signal_generate"),
];

/// The programs for connections, and for lookups over TCP. The programs of one tracepoint are neighbours, in the order in
/// which the kernel is to call them.
pub(crate) const CONNECTIONS: [Attachment; 5] = [
    (TCP_STATE, c"inet_sock_set_state"),
    (NESTED, c"inet_sock_set_state"),
    (TCP_READ, c"tcp_rcv_space_adjust"),
    (MPTCP_WRITE, c"mptcp_subflow_get_send"),
    ("handle_tcp_destroy", c"tcp_destroy_sock"),
];

/// The programs for flows and lookups.
pub(crate) const DATAGRAMS: [Attachment; 2] =
    [("handle_udp_send", c"net_dev_queue"), ("handle_udp_receive", c"netif_receive_skb")];

/// The program for failed execs and unix sockets.
pub(crate) const SYSTEM_CALLS: [Attachment; 1] = [("handle_syscall_exit", c"sys_exit")];

/// The program for queues of io_uring. Through a queue, a process connects to unix sockets without a system call.
pub(crate) const QUEUES: [Attachment; 1] = [(IO_URING, c"io_uring_create")];

/// A kernel without io_uring or MPTCP has no tracepoints for them.
pub(crate) const OPTIONAL: [&str; 2] = [IO_URING, MPTCP_WRITE];
const IO_URING: &str = "handle_io_uring";

/// The number of all programs.
pub(crate) const PROGRAMS: usize =
    PROCESSES.len() + CONNECTIONS.len() + DATAGRAMS.len() + SYSTEM_CALLS.len() + QUEUES.len();

/// The kernel does not start this program again while it runs on the same processor. It runs [`NESTED`] instead.
pub(crate) const TCP_STATE: &str = "handle_tcp_state";
pub(crate) const NESTED: &str = "handle_nested_tcp_state";

/// The kernel never misses a run of these programs for a read or write of the process itself. No event depends on the
/// other runs.
pub(crate) const TCP_READ: &str = "handle_tcp_read";
const MPTCP_WRITE: &str = "handle_mptcp_write";

/// How long each step took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Reading the eBPF object, and loading its types.
    pub object: Duration,
    /// Making the maps, and at the same time fitting the programs to the kernel's types.
    pub maps: Duration,
    /// Verifying the programs, and attaching them.
    pub programs: Duration,
}

/// Attached programs, as descriptors. The programs run as long as the descriptors are open. Making a [`crate::Capture`]
/// of them needs no privilege. Another process than the one that attached them can do it.
#[derive(Debug)]
pub struct Attached {
    pub(crate) records: OwnedFd,
    pub(crate) shared: OwnedFd,
    pub(crate) flow_slots: OwnedFd,
    /// Empty if another process has attached them.
    pub(crate) programs: Programs,
    pub(crate) links: Vec<OwnedFd>,
    pub(crate) timing: Option<Timing>,
}

/// The programs whose missed runs count. The kernel says at the end how many it has missed.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    /// A missed run of these programs is a missed event.
    pub(crate) counted: Vec<OwnedFd>,
    /// A missed run of this program is a missed event, unless [`NESTED`] has run instead.
    pub(crate) tcp_state: Option<OwnedFd>,
}

impl Programs {
    pub(crate) fn add(&mut self, name: &str, program: OwnedFd) {
        match name {
            TCP_STATE => self.tcp_state = Some(program),
            NESTED | TCP_READ | MPTCP_WRITE => {}
            _ => self.counted.push(program),
        }
    }
}

impl Attached {
    /// The largest number of descriptors.
    pub const DESCRIPTORS: usize = Self::MAPS + PROGRAMS;

    /// The number of maps among them.
    const MAPS: usize = 3;

    /// `None` if another process has attached them.
    #[must_use]
    pub fn timing(&self) -> Option<Timing> {
        self.timing
    }

    /// The maps and the links, for another process, which calls [`Attached::from_descriptors`].
    ///
    /// The open links keep the programs attached. The programs themselves are not among the descriptors. With the
    /// descriptor of a program, a process could run it with any arguments (`BPF_PROG_TEST_RUN`). So it could read any
    /// kernel memory.
    #[must_use]
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        [self.records, self.shared, self.flow_slots].into_iter().chain(self.links).collect()
    }

    /// The inverse of [`Attached::into_descriptors`]. `None` if their number is impossible.
    #[must_use]
    pub fn from_descriptors(mut descriptors: Vec<OwnedFd>) -> Option<Self> {
        if !(Self::MAPS + PROCESSES.len()..=Self::DESCRIPTORS).contains(&descriptors.len()) {
            return None;
        }
        let links = descriptors.split_off(Self::MAPS);
        let [records, shared, flow_slots] = <[OwnedFd; Self::MAPS]>::try_from(descriptors).ok()?;
        Some(Self { records, shared, flow_slots, programs: Programs::default(), links, timing: None })
    }
}
