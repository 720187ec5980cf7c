//! Notes of the tracer → [`Event`].

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracer_model::{
    Event, ExitStatus, Identity, Ktime,
    source::{End, EventStream},
};

use crate::{
    notes::Note,
    shared::{Left, Shared},
};

/// The events of a [`Ptrace`](crate::Ptrace).
pub struct PtraceStream {
    pub(crate) shared: Arc<Shared>,
    /// Processes that the tracer has left.
    pub(crate) departed: Vec<Departed>,
}

/// A process that the tracer has left.
pub(crate) struct Departed {
    process: Identity,
    parent: Identity,
    /// Readable when it has ended.
    end: OwnedFd,
}

impl PtraceStream {
    fn pass_on(&mut self, now: Ktime, handle: &mut dyn FnMut(Event)) -> usize {
        let notes = self.shared.notes.take();
        let count = notes.len();
        for note in notes {
            match note {
                Note::Fork { process, parent, is_root } => handle(Event::Fork { process, parent, is_root }),
                Note::Exec { at, process, parent, image } => {
                    let (image, environment, context) = image.decode();
                    handle(Event::Exec { at, process, parent, image, environment, context });
                }
                Note::Exit { at, process, parent, status, usage } => {
                    let status = status.map_or(ExitStatus::Withheld, ExitStatus::from_wait_status);
                    handle(Event::Exit { at, process, parent, status, is_oom_victim: false, usage });
                }
                Note::Leave { process, parent, end } => {
                    self.departed.push(Departed { process, parent, end });
                }
            }
        }
        self.departed.retain(|Departed { process, parent, end }| {
            let has_ended = poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1);
            if has_ended {
                // Only its parent knows its status.
                let (process, parent) = (*process, *parent);
                handle(Event::Exit {
                    at: now,
                    process,
                    parent,
                    status: ExitStatus::Withheld,
                    is_oom_victim: false,
                    usage: None,
                });
            }
            !has_ended
        });
        count
    }
}

impl EventStream for PtraceStream {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.notes.as_fd())
    }

    fn drain(&mut self, now: Ktime, handle: &mut dyn FnMut(Event)) -> io::Result<usize> {
        Ok(self.pass_on(now, handle))
    }

    fn finish(&mut self, now: Ktime, end: &End, handle: &mut dyn FnMut(Event)) {
        self.shared.end();
        self.pass_on(now, handle);
        if let Some(Left { process, parent }) = self.shared.left() {
            handle(Event::Exit { at: now, process, parent, status: end.status, is_oom_victim: false, usage: None });
        }
    }
}
