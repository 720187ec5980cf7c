//! Reads the ring buffer: Documentation/bpf/ringbuf.rst, kernel/bpf/ringbuf.c.
//!
//! It maps a part of the buffer at a time. Usually a reader maps the whole buffer twice in a row. Then both mappings
//! count as our memory, because the kernel enters each page into the page table at once.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::read::mapping::{Access, Mapping, page_size};

/// The size of the mapped part, bytes.
const WINDOW: u64 = 1 << 20;

/// Flags in the header of a record, above its length: include/uapi/linux/bpf.h.
const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;

/// The only reader of a ring buffer.
#[derive(Debug)]
pub(crate) struct Ring {
    fd: OwnedFd,
    /// Bytes of data: a power of two.
    size: u64,
    page: u64,
    /// The position of the reader. Only the reader writes it.
    consumer: Mapping,
    /// The position behind the last record. That record may be reserved, but not yet written.
    producer: Mapping,
    window: Option<Window>,
    /// The last read ended at a record that is still being written.
    is_held_up: bool,
}

/// A mapped part of the data.
#[derive(Debug)]
struct Window {
    start: u64,
    mapping: Mapping,
}

impl Ring {
    /// `size` is the number of entries of the map.
    pub(crate) fn map(fd: OwnedFd, size: u32) -> io::Result<Self> {
        let page = page_size().ok_or(io::ErrorKind::Unsupported)?.get() as u64;
        let size = u64::from(size);
        Ok(Self {
            consumer: Mapping::at(&fd, 0, page, Access::Write)?,
            producer: Mapping::at(&fd, page, page, Access::Read)?,
            window: None,
            is_held_up: false,
            fd,
            size,
            page,
        })
    }

    /// Passes on the records that have come in. Returns their number. After an error, the remaining records are still
    /// there.
    pub(crate) fn read(&mut self, mut handle: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut position = self.consumer.u64_at(0).load(Ordering::Relaxed);
        let mut count = 0;
        self.is_held_up = false;
        while position < self.producer.u64_at(0).load(Ordering::Acquire) {
            let start = position & (self.size - 1);
            let header = self.window(start, HEADER)?.length(start).load(Ordering::Acquire);
            if header & BUSY != 0 {
                self.is_held_up = true;
                break;
            }
            let length = u64::from(header & !DISCARD);
            if header & DISCARD == 0 {
                let window = self.window(start, HEADER + length)?;
                // SAFETY: the kernel does not write to a complete record until the reader's position is behind it.
                handle(unsafe { window.mapping.bytes((start + HEADER - window.start) as usize, length as usize) });
                count += 1;
            }
            position += (HEADER + length).next_multiple_of(HEADER);
            self.consumer.u64_at(0).store(position, Ordering::Release);
        }
        Ok(count)
    }

    /// Whether the last read ended at a record that is still being written.
    pub(crate) fn is_held_up(&self) -> bool {
        self.is_held_up
    }

    /// Returns a window with these bytes.
    fn window(&mut self, start: u64, length: u64) -> io::Result<&Window> {
        let has_it =
            |window: &Window| window.start <= start && start + length <= window.start + window.mapping.size() as u64;
        let window = match self.window.take().filter(has_it) {
            Some(window) => window,
            None => Window::open(&self.fd, self.page, self.size, start, length)?,
        };
        Ok(self.window.insert(window))
    }
}

impl Window {
    /// The length and the flags of the record at this offset.
    fn length(&self, start: u64) -> &AtomicU32 {
        self.mapping.u32_at((start - self.start) as usize)
    }

    fn open(fd: &OwnedFd, page: u64, size: u64, start: u64, length: u64) -> io::Result<Self> {
        let start = start & !(page - 1);
        // The data is mapped again behind its end, so that a record across the end is in one piece.
        let length = WINDOW.min(2 * size - start).max(length + page);
        Ok(Self { start, mapping: Mapping::at(fd, 2 * page + start, length, Access::Read)? })
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A file with the layout of the kernel's memory. Its methods do what the programs do.
    struct Buffer {
        file: File,
        page: u64,
        size: u64,
        reserved: u64,
    }

    impl Buffer {
        fn new(size: u64) -> Self {
            let file = tempfile::tempfile().unwrap();
            let page = page_size().unwrap().get() as u64;
            file.set_len(2 * page + 2 * size).unwrap();
            Self { file, page, size, reserved: 0 }
        }

        fn reader(&self) -> Ring {
            Ring::map(self.file.try_clone().unwrap().into(), self.size as u32).unwrap()
        }

        /// Writes to both places where the bytes appear.
        fn write(&self, position: u64, bytes: &[u8]) {
            let start = position & (self.size - 1);
            let (before, behind) = bytes.split_at(bytes.len().min((self.size - start) as usize));
            for turn in [0, self.size] {
                self.file.write_all_at(before, 2 * self.page + turn + start).unwrap();
                self.file.write_all_at(behind, 2 * self.page + turn).unwrap();
            }
        }

        fn commit(&self, position: u64, header: u32) {
            self.write(position, &header.to_ne_bytes());
        }

        /// Returns its position.
        fn reserve(&mut self, record: &[u8]) -> u64 {
            let position = self.reserved;
            self.commit(position, record.len() as u32 | BUSY);
            self.write(position + HEADER, record);
            self.reserved += (HEADER + record.len() as u64).next_multiple_of(HEADER);
            self.file.write_all_at(&self.reserved.to_ne_bytes(), self.page).unwrap();
            position
        }

        fn consumed(&self) -> u64 {
            let mut bytes = [0; 8];
            self.file.read_exact_at(&mut bytes, 0).unwrap();
            u64::from_ne_bytes(bytes)
        }
    }

    fn read(ring: &mut Ring) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        assert_eq!(ring.read(|record| records.push(record.to_vec())).unwrap(), records.len());
        records
    }

    #[test]
    fn the_reader_waits_for_an_incomplete_record_and_skips_a_discarded_one() {
        let mut buffer = Buffer::new(4096);
        let mut ring = buffer.reader();
        let [first, second, third] = [b"first", b"other", b"third"].map(|record| buffer.reserve(record));
        buffer.commit(second, 5 | DISCARD);
        buffer.commit(third, 5);
        assert!(read(&mut ring).is_empty() && buffer.consumed() == 0 && ring.is_held_up());
        buffer.commit(first, 5);
        assert_eq!(read(&mut ring), [b"first", b"third"]);
        assert!(buffer.consumed() == buffer.reserved && !ring.is_held_up());
    }

    #[test]
    fn a_window_moves_over_a_large_buffer() {
        let mut buffer = Buffer::new(4 * WINDOW);
        let mut ring = buffer.reader();
        for round in 0..200_u64 {
            let record: Vec<u8> = round.to_ne_bytes().into_iter().cycle().take(30_000 + round as usize).collect();
            let position = buffer.reserve(&record);
            buffer.commit(position, record.len() as u32);
            assert_eq!(read(&mut ring), [record]);
        }
        assert!(buffer.reserved > buffer.size && ring.window.unwrap().mapping.size() as u64 <= WINDOW);
    }

    proptest! {
        #[test]
        fn records_are_read_as_they_were_written(lengths in vec(0..3000_usize, 1..40)) {
            let mut buffer = Buffer::new(4096);
            let mut ring = buffer.reader();
            for (number, length) in lengths.into_iter().enumerate() {
                let record = vec![number as u8; length];
                let position = buffer.reserve(&record);
                buffer.commit(position, length as u32);
                prop_assert_eq!(read(&mut ring), [record]);
            }
        }
    }
}
