//! The options of a capture: its extent, its user, its memory.

use crate::{
    programs::{Attachment, CONNECTIONS, DATAGRAMS, PROCESSES, QUEUES, SYSTEM_CALLS},
    wire::RecordKind,
};

/// A user who may see only their own processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Real user id.
    pub user_id: u32,
    /// Real group id.
    pub group_id: u32,
    /// /proc hides other users' processes from this user: see [`crate::probe::hides_processes`].
    pub hides_processes: bool,
}

/// The extent of a capture, its user, and its memory.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Live processes that can be followed at once.
    pub max_processes: u32,
    /// `None`: root, who may see everything. Otherwise the programs read the environment of a process only if /proc
    /// would show it to this user. Only a process of this user can then launch the command.
    pub viewer: Option<Viewer>,
    /// The records that are reported besides those of processes.
    pub asked: Asked,
}

/// The records that are reported only on demand. Records of system calls slow down every system call of every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(u32);

impl Asked {
    /// Whether records of this kind are asked for.
    pub(crate) fn has(self, kind: RecordKind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    /// The set as a number, for another process.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The inverse of [`bits`](Self::bits). The programs ignore bits that they do not know.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl Default for Asked {
    /// Connections, flows and DNS.
    fn default() -> Self {
        Self::from_iter([RecordKind::Connection, RecordKind::Flow, RecordKind::Dns])
    }
}

impl FromIterator<RecordKind> for Asked {
    fn from_iter<I: IntoIterator<Item = RecordKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | 1 << kind as u32))
    }
}

/// Upper limits of [`Options`], because all users share the memory of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest [`Options::ring_bytes`].
    pub ring_bytes: u32,
    /// The largest [`Options::max_processes`].
    pub max_processes: u32,
}

impl Limits {
    /// For root. Linux has at most this many pids: include/linux/threads.h, PID_MAX_LIMIT.
    pub const ROOT: Self = Self { ring_bytes: 1 << 30, max_processes: 1 << 22 };

    /// For an ordinary user.
    pub const ORDINARY: Self = Self { ring_bytes: 64 << 20, max_processes: 1 << 16 };
}

impl Options {
    /// The programs, grouped by tracepoint.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &'static [Attachment]> {
        use RecordKind::{Connection, Dns, FailedExec, Flow, Unix};
        let asked = |kinds: &[RecordKind]| kinds.iter().any(|kind| self.asked.has(*kind));
        let needed: [(bool, &[Attachment]); 5] = [
            (true, &PROCESSES),
            (asked(&[Connection, Dns]), &CONNECTIONS),
            (asked(&[Flow, Dns]), &DATAGRAMS),
            (asked(&[FailedExec, Unix]), &SYSTEM_CALLS),
            (asked(&[Unix]), &QUEUES),
        ];
        let needed = needed.into_iter().filter(|(is_needed, _)| *is_needed);
        needed.flat_map(|(_, programs)| programs.chunk_by(|left, right| left.1 == right.1))
    }

    /// Whether this user may have so much memory.
    pub(crate) fn are_allowed(&self) -> bool {
        let Limits { ring_bytes, max_processes } = Limits::ORDINARY;
        self.viewer.is_none() || (self.ring_bytes <= ring_bytes && self.max_processes <= max_processes)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_bytes: 16 * 1024 * 1024, max_processes: 16_384, viewer: None, asked: Asked::default() }
    }
}
