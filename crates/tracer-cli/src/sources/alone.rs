//! Observes the command alone, with the facts that its parent knows. This needs no privilege.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::BorrowedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    sync::{Arc, OnceLock},
};

use nix::unistd::{getegid, geteuid, getgid, getuid};
use tracer_model::{
    Event, Identity, Ktime, Losses,
    calls::Call,
    event::{Image, Strings},
    source::{Child, Description, End, EventStream, Source, Spawn},
};

use tracer_ptrace::clock;

/// Makes the source and its stream.
pub(super) fn observe(command: &[OsString]) -> (Alone, AloneStream) {
    let process = Arc::new(OnceLock::new());
    (Alone { process: Arc::clone(&process) }, AloneStream { process, command: command.to_vec() })
}

/// The source.
pub(super) struct Alone {
    /// The command, once it runs.
    process: Arc<OnceLock<Identity>>,
}

impl Source for Alone {
    fn launch(&self, spawn: Spawn) -> io::Result<Box<dyn Child>> {
        let start = clock::now();
        let child = spawn(None)?;
        let _ = self.process.set(Identity { tgid: child.id(), start });
        Ok(child)
    }

    fn description(&self) -> Description {
        Description {
            name: "none",
            unobserved_kinds: [
                &["descendants", "connections", "flows", "lookups"],
                Call::KINDS,
                &["failed_execs", "usage"],
            ]
            .concat(),
        }
    }

    fn live_processes(&self) -> u64 {
        0
    }

    fn losses(&self) -> Losses {
        Losses::default()
    }
}

/// The events of the command. All of them come at the end.
pub(super) struct AloneStream {
    process: Arc<OnceLock<Identity>>,
    command: Vec<OsString>,
}

impl EventStream for AloneStream {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn drain(&mut self, _now: Ktime, _handle: &mut dyn FnMut(Event)) -> io::Result<usize> {
        Ok(0)
    }

    fn finish(&mut self, now: Ktime, end: &End, handle: &mut dyn FnMut(Event)) {
        let Some(process) = self.process.get().copied() else { return };
        let parent = Identity { tgid: std::process::id(), start: Ktime(0) };
        handle(Event::Fork { process, parent, is_root: true });
        handle(Event::Exec {
            at: process.start,
            process,
            parent,
            image: Arc::new(image(&self.command)),
            environment: Some(environment()),
            context: None,
        });
        handle(Event::Exit { at: now, process, parent, status: end.status, is_oom_victim: false, usage: None });
    }
}

fn image(command: &[OsString]) -> Image {
    Image {
        file: command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
        directory: std::env::current_dir().ok().map(|directory| directory.into_os_string().into_vec()),
        arguments: command.iter().map(|argument| argument.as_bytes()).collect::<Strings>(),
        argument_count: command.len().try_into().unwrap_or(u32::MAX),
        user_id: geteuid().as_raw(),
        real_user_id: getuid().as_raw(),
        group_id: getegid().as_raw(),
        real_group_id: getgid().as_raw(),
        ..Image::default()
    }
}

/// The command has inherited our environment.
fn environment() -> Strings {
    std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect()
}
