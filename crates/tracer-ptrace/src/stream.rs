//! Notes of the tracer → [`Event`].

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use tracer_model::{
    Event, ExitStatus, Ktime,
    source::{End, EventStream},
};

use crate::shared::{Left, Note, Shared};

/// The events of a [`Ptrace`](crate::Ptrace).
pub struct PtraceStream {
    pub(crate) shared: Arc<Shared>,
}

impl EventStream for PtraceStream {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.notes_ready.as_fd())
    }

    fn drain(&mut self, _now: Ktime, handle: &mut dyn FnMut(Event)) -> io::Result<usize> {
        let notes = self.shared.take_notes();
        let count = notes.len();
        notes.into_iter().map(event).for_each(handle);
        Ok(count)
    }

    fn finish(&mut self, now: Ktime, end: &End, handle: &mut dyn FnMut(Event)) {
        self.shared.end();
        self.shared.take_notes().into_iter().map(event).for_each(&mut *handle);
        if let Some(Left { process, parent }) = self.shared.left() {
            handle(Event::Exit { at: now, process, parent, status: end.status, is_oom_victim: false, usage: None });
        }
    }
}

fn event(note: Note) -> Event {
    match note {
        Note::Fork { process, parent, is_root } => Event::Fork { process, parent, is_root },
        Note::Exec { at, process, parent, image } => {
            let (image, environment, context) = image.decode();
            Event::Exec { at, process, parent, image, environment, context }
        }
        Note::Exit { at, process, parent, status, usage } => {
            let status = status.map_or(ExitStatus::Withheld, ExitStatus::from_wait_status);
            Event::Exit { at, process, parent, status, is_oom_victim: false, usage }
        }
    }
}
