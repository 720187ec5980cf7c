//! The notes of the tracer, on their way to the thread that reads them.
//!
//! The tracer never waits for the reader, because the tracees would wait too. If the reader is slow and the buffer is full, new
//! notes are dropped and counted.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tracer_model::{Identity, Ktime, event::Usage};

use crate::{image::RawImage, lock::lock};

/// An event that the tracer has seen.
#[derive(Debug)]
pub(crate) enum Note {
    Fork {
        process: Identity,
        parent: Identity,
        is_root: bool,
    },
    Exec {
        at: Ktime,
        process: Identity,
        parent: Identity,
        image: Box<RawImage>,
    },
    /// `status` is that of wait(2). `None`: it is not known.
    Exit {
        at: Ktime,
        process: Identity,
        parent: Identity,
        status: Option<u32>,
        usage: Option<Box<Usage>>,
    },
    /// The process continues without the tracer. `end` is readable when the process has ended.
    Leave {
        process: Identity,
        parent: Identity,
        end: OwnedFd,
    },
}

impl Note {
    /// Bytes of memory.
    fn size(&self) -> usize {
        let more = match self {
            Self::Exec { image, .. } => image.size(),
            Self::Exit { usage: Some(_), .. } => size_of::<Usage>(),
            Self::Exit { usage: None, .. } | Self::Fork { .. } | Self::Leave { .. } => 0,
        };
        size_of::<Self>() + more
    }
}

/// The buffer.
pub(crate) struct Notes {
    waiting: Mutex<Waiting>,
    /// Bytes of notes at most.
    capacity: usize,
    /// Readable when there are many notes. After `wake_for_any(true)`, one note is enough.
    ready: EventFd,
    wakes_for_any: AtomicBool,
    pub(crate) lost: Lost,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: Vec<Note>,
    bytes: usize,
}

/// Notes that found the buffer full.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    pub(crate) forks: AtomicU64,
    pub(crate) execs: AtomicU64,
    /// Also counts the lost notes about processes that the tracer has left, because nobody will see the exits of these.
    pub(crate) exits: AtomicU64,
}

impl Notes {
    pub(crate) fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self {
            waiting: Mutex::default(),
            capacity,
            ready: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            wakes_for_any: AtomicBool::new(false),
            lost: Lost::default(),
        })
    }

    /// Adds a note. It never waits for the reader.
    pub(crate) fn add(&self, note: Note) {
        let size = note.size();
        // The reader must be woken while there is still room.
        let many = self.capacity / 4;
        let mut waiting = lock(&self.waiting);
        let before = waiting.bytes;
        if before + size > self.capacity {
            drop(waiting);
            let lost = match note {
                Note::Fork { .. } => &self.lost.forks,
                Note::Exec { .. } => &self.lost.execs,
                Note::Exit { .. } | Note::Leave { .. } => &self.lost.exits,
            };
            lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += size;
        waiting.notes.push(note);
        drop(waiting);
        if (before < many && before + size >= many) || self.wakes_for_any.load(Ordering::Relaxed) {
            // An error is ignored: the counter of the eventfd is full only if the eventfd is readable already.
            let _ = self.ready.write(1);
        }
    }

    /// The notes since the last time.
    pub(crate) fn take(&self) -> Vec<Note> {
        // The read fails if nothing was written to the eventfd. That is no error.
        let _ = self.ready.read();
        mem::take(&mut *lock(&self.waiting)).notes
    }

    /// With `true`, any note makes the descriptor readable. With `false`, only a large number of notes does.
    pub(crate) fn wake_for_any(&self, any: bool) {
        self.wakes_for_any.store(any, Ordering::Relaxed);
        if any && !lock(&self.waiting).notes.is_empty() {
            // As above.
            let _ = self.ready.write(1);
        }
    }
}

impl AsFd for Notes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn fork(tgid: u32) -> Note {
        let process = Identity { tgid, start: Ktime(1) };
        Note::Fork { process, parent: process, is_root: false }
    }

    fn exit() -> Note {
        let process = Identity { tgid: 1, start: Ktime(1) };
        Note::Exit { at: Ktime(2), process, parent: process, status: Some(0), usage: Some(Box::default()) }
    }

    fn exec() -> Note {
        let process = Identity { tgid: 1, start: Ktime(1) };
        Note::Exec { at: Ktime(2), process, parent: process, image: Box::default() }
    }

    fn is_readable(notes: &Notes) -> bool {
        poll(&mut [PollFd::new(notes.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn notes_beyond_the_capacity_are_lost_and_counted() {
        let notes = Notes::new(10 * fork(0).size()).unwrap();
        for tgid in 0..12 {
            notes.add(fork(tgid));
        }
        notes.add(exec());
        (0..3).for_each(|_| notes.add(exit()));
        let lost =
            || [&notes.lost.forks, &notes.lost.execs, &notes.lost.exits].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(lost(), [2, 1, 3]);
        let tgids: Vec<_> = notes
            .take()
            .iter()
            .map(|note| match note {
                Note::Fork { process, .. } => process.tgid,
                _ => panic!("{note:?}"),
            })
            .collect();
        assert_eq!(tgids, (0..10).collect::<Vec<_>>());
        // There is room again.
        notes.add(fork(12));
        assert_eq!((notes.take().len(), lost()), (1, [2, 1, 3]));
    }

    #[test]
    fn reader_is_woken_when_a_quarter_of_the_buffer_is_used() {
        let notes = Notes::new(8 * fork(0).size()).unwrap();
        notes.add(fork(0));
        assert!(!is_readable(&notes));
        notes.add(fork(1));
        assert!(is_readable(&notes));
        assert_eq!(notes.take().len(), 2);
        assert!(!is_readable(&notes));
        notes.wake_for_any(true);
        assert!(!is_readable(&notes));
        notes.add(fork(2));
        assert!(is_readable(&notes));
    }

    #[test]
    fn size_of_a_note_counts_the_texts_of_its_image() {
        let image = || RawImage::with_arguments(vec![b'x'; 100_000]);
        let Note::Exec { at, process, parent, .. } = exec() else { unreachable!() };
        let long = Note::Exec { at, process, parent, image: Box::new(image()) };
        assert!(long.size() >= exec().size() + 100_000);
    }
}
