//! The source. It configures and arms the attached programs, and reads their counters. When the [`Capture`] is dropped,
//! the programs are detached.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{MapData, MapError};
use tracer_model::{
    Losses,
    losses::Cause,
    source::{Child, Description, Source, Spawn},
};

use crate::{
    programs::{Attached, Programs},
    read::{
        flows::{Flows, Slots},
        ring::Ring,
        shared::SharedPage,
        stream::Stream,
    },
    syscall,
};

/// The programs wake the reader when the unread bytes reach the size of the ring buffer divided by this.
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
    /// The value of [`Self::missed`] when the launch was armed.
    missed_before: AtomicU64,
    /// The programs run as long as these are open.
    _links: Vec<OwnedFd>,
}

impl Capture {
    /// Takes over attached programs. They report events only after a launch is armed.
    ///
    /// # Errors
    ///
    /// The kernel refused a step.
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
            missed_before: AtomicU64::new(0),
            _links: attached.links,
        };
        capture.wake_for_any(false);
        Ok((capture, Stream::new(ring, Flows::new(slots))))
    }

    /// Makes the next fork of this process the root of the trace.
    fn arm(&self) {
        // This function reads the skipped runs before the replaced runs. `missed` reads them in the other order. So in
        // both functions, a run that is skipped and replaced between the two reads counts as missed.
        let (counted, tcp_state) = self.missed_by_kernel();
        let missed = counted + tcp_state.saturating_sub(self.shared.nested_runs());
        self.missed_before.store(missed, Ordering::Relaxed);
        self.shared.arm(std::process::id(), self.namespace);
    }

    /// Runs that the kernel has skipped and that no other program has replaced. A run that is replaced during this call
    /// counts.
    fn missed(&self) -> u64 {
        let nested = self.shared.nested_runs();
        let (counted, tcp_state) = self.missed_by_kernel();
        counted + tcp_state.saturating_sub(nested)
    }

    /// Runs that the kernel has skipped. One number is for the counted programs, the other for the program that another
    /// program can replace.
    fn missed_by_kernel(&self) -> (u64, u64) {
        // On kernels that skip runs, this needs no privilege.
        let missed = |program: &OwnedFd| syscall::missed_runs(program).unwrap_or_default();
        (self.programs.counted.iter().map(missed).sum(), self.programs.tcp_state.as_ref().map_or(0, missed))
    }
}

impl Source for Capture {
    fn launch(&self, spawn: Spawn) -> io::Result<Box<dyn Child>> {
        self.arm();
        spawn(None)
    }

    fn description(&self) -> Description {
        Description { name: "ebpf", unobserved_kinds: Vec::new() }
    }

    fn live_processes(&self) -> u64 {
        self.shared.live_processes()
    }

    fn paired_signals(&self, signal: i32, _sender: u32) -> u32 {
        usize::try_from(signal).map_or(0, |signal| self.shared.paired_signals(signal))
    }

    fn lost_events(&self) -> u64 {
        self.shared.losses().by(Cause::Unread)
    }

    fn wake_for_any(&self, any: bool) {
        self.shared.wake_at(if any { 0 } else { self.wakeup_bytes });
    }

    fn losses(&self) -> Losses {
        let missed = self.missed().saturating_sub(self.missed_before.load(Ordering::Relaxed));
        Losses { missed, ..self.shared.losses() }
    }
}
