//! The page that is shared with the programs. User space writes the configuration and arms the launch. The programs
//! write the counters.

use std::{io, mem::offset_of, os::fd::AsFd, sync::atomic::Ordering};

use tracer_model::Losses;

use crate::{
    read::{
        decode::{lost_records, unreadable},
        mapping::Mapping,
    },
    wire::{self, RecordKind, TextPart},
};

/// The mapped page.
#[derive(Debug)]
pub(crate) struct SharedPage(Mapping);

impl SharedPage {
    pub(crate) fn map(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self(Mapping::new(fd, size_of::<wire::SharedPage>())?))
    }

    /// Sets whether environments are captured.
    pub(crate) fn configure(&self, environment: bool) {
        self.0.u32_at(offset_of!(wire::SharedPage, capture_environment)).store(environment.into(), Ordering::Relaxed);
    }

    /// Sets how many unread bytes wake the reader.
    pub(crate) fn wake_at(&self, wakeup_bytes: u32) {
        self.0.u32_at(offset_of!(wire::SharedPage, wakeup_bytes)).store(wakeup_bytes, Ordering::Relaxed);
    }

    /// Makes the next fork of process `pid` the root of the trace. `pid` is in its own pid namespace, which has the
    /// inode number `namespace`.
    pub(crate) fn arm(&self, pid: u32, namespace: u32) {
        self.0.u32_at(offset_of!(wire::SharedPage, launcher_namespace)).store(namespace, Ordering::Relaxed);
        self.0.u32_at(offset_of!(wire::SharedPage, launcher_pid)).store(pid, Ordering::Release);
    }

    /// Processes of the tree that are alive.
    pub(crate) fn live_processes(&self) -> u64 {
        self.count(offset_of!(wire::SharedPage, live_processes))
    }

    /// How often the same sender has sent this signal to the launcher and to the root.
    pub(crate) fn paired_signals(&self, signal: usize) -> u32 {
        if signal >= wire::SIGNALS as usize {
            return 0;
        }
        let offset = offset_of!(wire::SharedPage, paired_signals) + signal * size_of::<u32>();
        self.0.u32_at(offset).load(Ordering::Relaxed)
    }

    /// How often a program has run in place of one that the kernel has skipped.
    pub(crate) fn nested_runs(&self) -> u64 {
        self.count(offset_of!(wire::SharedPage, nested_runs))
    }

    /// The events that the programs could not report so far.
    pub(crate) fn losses(&self) -> Losses {
        let mut losses = Losses {
            untracked_processes: self.count(offset_of!(wire::SharedPage, untracked_processes)),
            untracked_connections: self.count(offset_of!(wire::SharedPage, untracked_connections)),
            io_uring_queues: self.count(offset_of!(wire::SharedPage, io_uring_queues)),
            ..Losses::default()
        };
        for kind in RecordKind::ALL {
            *lost_records(&mut losses, kind) =
                self.count(offset_of!(wire::SharedPage, lost_records) + kind as usize * size_of::<u64>());
        }
        for part in TextPart::ALL {
            *unreadable(&mut losses, part) +=
                self.count(offset_of!(wire::SharedPage, text_faults) + part as usize * size_of::<u64>());
        }
        losses
    }

    fn count(&self, offset: usize) -> u64 {
        self.0.u64_at(offset).load(Ordering::Relaxed)
    }
}
