//! Memory that is shared with the programs. Reading it needs no system call. So it needs no privilege.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU32, AtomicU64},
};

use nix::{
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};

/// Bytes of a page of memory.
pub(crate) fn page_size() -> Option<NonZeroUsize> {
    NonZeroUsize::new(sysconf(SysconfVar::PAGE_SIZE).ok()?? as usize)
}

/// The use of mapped memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The mapped array of a map.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<std::ffi::c_void>,
    size: NonZeroUsize,
}

// SAFETY: the memory is only ever accessed through atomics, from any thread.
unsafe impl Send for Mapping {}
// SAFETY: any thread may use the memory, because it is accessed through atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps this number of bytes, and the rest of their last page.
    pub(crate) fn new(fd: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::at(fd, 0, bytes as u64, Access::Write)
    }

    /// Maps bytes from an offset, which is a multiple of a page.
    pub(crate) fn at(fd: impl AsFd, offset: u64, bytes: u64, access: Access) -> io::Result<Self> {
        let page = page_size().ok_or(io::ErrorKind::Unsupported)?;
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        let size = NonZeroUsize::new(bytes.next_multiple_of(page.get())).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, fd, offset as i64)? };
        Ok(Self { start, size })
    }

    /// The number of mapped bytes.
    pub(crate) fn size(&self) -> usize {
        self.size.get()
    }

    /// Returns bytes at an offset.
    ///
    /// # Safety
    ///
    /// These bytes must not change while the slice lives.
    pub(crate) unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.size.get()));
        // SAFETY: the bytes are within the mapping, which lives as long as `self`. The caller says that they do not
        // change.
        unsafe { slice::from_raw_parts(self.start.as_ptr().wrapping_byte_add(offset).cast(), length) }
    }

    /// The number at an offset within the mapping.
    pub(crate) fn u32_at(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(size_of::<u32>()) && offset + size_of::<u32>() <= self.size.get());
        // SAFETY: an aligned u32 within the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().wrapping_byte_add(offset).cast()) }
    }

    /// The number at an offset within the mapping.
    pub(crate) fn u64_at(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(size_of::<u64>()) && offset + size_of::<u64>() <= self.size.get());
        // SAFETY: an aligned u64 within the mapping, which lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().wrapping_byte_add(offset).cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is our own mapping, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start, self.size.get()) };
    }
}
