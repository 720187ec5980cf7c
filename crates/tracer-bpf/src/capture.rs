//! What the attached programs are told, and what they tell besides events; dropping the [`Capture`] takes them out again.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

use aya::maps::{MapData, MapError};
use tracer_model::Losses;

use crate::{
    flows::{Flows, Slots},
    loader::{Attached, Programs},
    ring::Ring,
    shared::SharedPage,
    stream::Stream,
    syscall,
};

/// The reader is woken when this part of the ring buffer is full.
const WAKEUP_PART: u32 = 8;

/// Why the attached programs cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CaptureError {
    #[error("cannot use a map: {0}")]
    Map(#[from] MapError),
    #[error("cannot map the shared page: {0}")]
    SharedPage(io::Error),
    #[error("cannot map the ring buffer: {0}")]
    Ring(io::Error),
    #[error("cannot map the slots of flows: {0}")]
    FlowSlots(io::Error),
    #[error("cannot read /proc/self/ns/pid: {0}")]
    PidNamespace(io::Error),
}

/// The attached programs, running.
#[derive(Debug)]
pub struct Capture {
    shared: SharedPage,
    namespace: u32,
    wakeup_bytes: u32,
    programs: Programs,
    /// [`Self::missed`] when the launch was armed.
    missed_before: u64,
    /// Open as long as the programs are to run.
    _links: Vec<OwnedFd>,
}

impl Capture {
    /// Takes over attached programs. They report nothing until a launch is armed.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn start(attached: Attached, environment: bool) -> Result<(Self, Stream), CaptureError> {
        let namespace = fs::metadata("/proc/self/ns/pid").map_err(CaptureError::PidNamespace)?.ino();
        let shared = SharedPage::map(attached.shared).map_err(CaptureError::SharedPage)?;
        let slots = MapData::from_fd(attached.flow_slots)?;
        let slots = Slots::map(slots.fd(), slots.info()?.max_entries()).map_err(CaptureError::FlowSlots)?;
        let ring = MapData::from_fd(attached.records)?;
        let size = ring.info()?.max_entries();
        shared.configure(environment);
        let ring =
            ring.fd().as_fd().try_clone_to_owned().and_then(|fd| Ring::map(fd, size)).map_err(CaptureError::Ring)?;
        // Inode numbers of namespaces are 32 bits wide: include/linux/ns_common.h.
        let namespace = namespace as u32;
        let capture = Self {
            shared,
            namespace,
            wakeup_bytes: size / WAKEUP_PART,
            programs: attached.programs,
            missed_before: 0,
            _links: attached.links,
        };
        capture.wake_for_any(false);
        Ok((capture, Stream::new(ring, Flows::new(slots))))
    }

    /// Makes the next fork of the calling process the root of the trace.
    pub fn arm(&mut self) {
        // In the other order than at the end: so one that is made meanwhile counts.
        let (counted, tcp_state) = self.missed_by_kernel();
        self.missed_before = counted + tcp_state.saturating_sub(self.shared.nested_runs());
        self.shared.arm(std::process::id(), self.namespace);
    }

    /// From now on any record makes the stream readable, or only many of them do. Those that have come in before are to be
    /// drained.
    pub fn wake_for_any(&self, any: bool) {
        self.shared.wake_at(if any { 0 } else { self.wakeup_bytes });
    }

    /// Processes of the tree that are alive.
    #[must_use]
    pub fn live_processes(&self) -> u64 {
        self.shared.live_processes()
    }

    /// How often so far a signal of that number has been sent to us and to the root by the same hand, as by kill(2) of
    /// their process group.
    #[must_use]
    pub fn paired_signals(&self, signal: usize) -> u32 {
        self.shared.paired_signals(signal)
    }

    /// Records refused so far by a full ring buffer. Asking takes no system call.
    #[must_use]
    pub fn lost_records(&self) -> u64 {
        self.shared.losses().records()
    }

    /// What could not be reported so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses { missed: self.missed().saturating_sub(self.missed_before), ..self.shared.losses() }
    }

    /// Runs that the kernel has not made, and no program in the place of another. One that is made meanwhile counts.
    fn missed(&self) -> u64 {
        let nested = self.shared.nested_runs();
        let (counted, tcp_state) = self.missed_by_kernel();
        counted + tcp_state.saturating_sub(nested)
    }

    /// Of the program that another one stands in for apart.
    fn missed_by_kernel(&self) -> (u64, u64) {
        // Asking takes no privilege on the kernels that have something to tell.
        let missed = |program: &OwnedFd| syscall::missed_runs(program).unwrap_or_default();
        (self.programs.counted.iter().map(missed).sum(), self.programs.tcp_state.as_ref().map_or(0, missed))
    }
}
