//! The page shared with the programs: configuration and the armed launch in, the loss counters out. Reading it takes no system call, and so
//! no privilege.

use std::{
    io,
    mem::offset_of,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use nix::{
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};
use tracer_model::Losses;

use crate::wire;

/// Bytes of a page of memory.
pub(crate) fn page_size() -> Option<NonZeroUsize> {
    NonZeroUsize::new(sysconf(SysconfVar::PAGE_SIZE).ok()?? as usize)
}

/// The mapped page.
#[derive(Debug)]
pub(crate) struct SharedPage {
    page: NonNull<std::ffi::c_void>,
    size: NonZeroUsize,
}

// SAFETY: the page is only ever accessed through atomics, from any thread.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    pub(crate) fn map(fd: impl AsFd) -> io::Result<Self> {
        let size = page_size().ok_or(io::ErrorKind::Unsupported)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let page = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, fd, 0)? };
        Ok(Self { page, size })
    }

    /// Says what is captured, and how many unread bytes wake the reader.
    pub(crate) fn configure(&self, environment: bool, wakeup_bytes: u32) {
        self.u32_at(offset_of!(wire::SharedPage, capture_environment)).store(environment.into(), Ordering::Relaxed);
        self.u32_at(offset_of!(wire::SharedPage, wakeup_bytes)).store(wakeup_bytes, Ordering::Relaxed);
    }

    /// Makes the next fork of process `pid` (as in its own pid namespace, with that inode number) the root of the trace.
    pub(crate) fn arm(&self, pid: u32, namespace: u32) {
        self.u32_at(offset_of!(wire::SharedPage, launcher_namespace)).store(namespace, Ordering::Relaxed);
        self.u32_at(offset_of!(wire::SharedPage, launcher_pid)).store(pid, Ordering::Release);
    }

    /// Processes of the tree that are alive.
    pub(crate) fn live_processes(&self) -> u64 {
        self.u64_at(offset_of!(wire::SharedPage, live_processes)).load(Ordering::Relaxed)
    }

    /// How often a signal was sent to the launcher and to the root by the same hand.
    pub(crate) fn paired_signals(&self, signal: usize) -> u32 {
        if signal >= wire::SIGNALS as usize {
            return 0;
        }
        let offset = offset_of!(wire::SharedPage, paired_signals) + signal * size_of::<u32>();
        self.u32_at(offset).load(Ordering::Relaxed)
    }

    fn u32_at(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the offset is of an aligned u32 within the page, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.page.as_ptr().wrapping_byte_add(offset).cast()) }
    }

    fn u64_at(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the offset is of an aligned u64 within the page, which lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.page.as_ptr().wrapping_byte_add(offset).cast()) }
    }

    /// What the programs could not report so far.
    pub(crate) fn losses(&self) -> Losses {
        let count = |offset| self.u64_at(offset).load(Ordering::Relaxed);
        let lost = |kind| count(offset_of!(wire::SharedPage, lost_records) + kind as usize * size_of::<u64>());
        Losses {
            forks: lost(wire::RECORD_FORK),
            execs: lost(wire::RECORD_EXEC),
            texts: lost(wire::RECORD_TEXT),
            exits: lost(wire::RECORD_EXIT),
            connections: lost(wire::RECORD_CONNECTION),
            lookups: lost(wire::RECORD_DNS),
            failed_execs: lost(wire::RECORD_FAILED_EXEC),
            untracked_processes: count(offset_of!(wire::SharedPage, untracked_processes)),
            untracked_connections: count(offset_of!(wire::SharedPage, untracked_connections)),
            text_faults: count(offset_of!(wire::SharedPage, text_faults)),
            ..Losses::default()
        }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.page, self.size.get()) };
    }
}
