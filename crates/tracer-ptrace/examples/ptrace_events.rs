//! Writes the events of a command to FILE: `cargo run --example ptrace_events -- FILE sh -c 'ls | wc'`.
#![allow(clippy::print_stdout)]

use std::{
    env,
    error::Error,
    fs::File,
    io::{BufWriter, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt},
    process::{self, Command},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, poll},
    time::{ClockId, clock_gettime},
};
use tracer_model::{
    Event, ExitStatus, Ktime,
    event::Usage,
    source::{Child, ChildChange, End, EventStream, Source},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut file = BufWriter::new(File::create(arguments.next().ok_or("which file?")?)?);
    let mut command = Command::new(arguments.next().ok_or("which command?")?);
    command.args(arguments);
    // To get the events of daemons too, wait up to this many milliseconds for the ends of all processes.
    let patience = env::var("WAIT_FOR_TREE").ok().and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let status = events_of(command, patience, |event| {
        // A full disk ends the example.
        if writeln!(file, "{event:?}").is_err() {
            process::exit(125);
        }
    })?;
    file.flush()?;
    process::exit(status.shell_code().map_or(125, i32::from));
}

/// Runs a command and passes on its events. Returns its exit status.
pub(crate) fn events_of(
    mut command: Command,
    patience: Option<Duration>,
    mut handle: impl FnMut(Event),
) -> Result<ExitStatus, Box<dyn Error>> {
    let (source, mut stream) = tracer_ptrace::observe(false, 16 << 20)?;
    let spawn = move |after_fork: Option<tracer_model::source::AfterFork>| {
        if let Some(after_fork) = after_fork {
            // SAFETY: `after_fork` makes only async-signal-safe calls.
            unsafe { command.pre_exec(after_fork) };
        }
        Ok(Box::new(Running(command.spawn()?)) as Box<dyn Child>)
    };
    let mut child = source.launch(Box::new(spawn))?;
    let end = loop {
        stream.drain(now(), &mut handle)?;
        match child.look() {
            Some(ChildChange::Ended(end)) => break end,
            Some(ChildChange::Stopped { .. }) => continue,
            None => {}
        }
        // If there is no descriptor, SIGCHLD reports the end. This example polls instead.
        let mut ready: Vec<_> = child.as_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
        poll(&mut ready, 50u16)?;
    };
    let ended = Instant::now();
    while patience.is_some_and(|patience| ended.elapsed() < patience) && source.live_processes() > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    stream.finish(now(), &end, &mut handle);
    Ok(end.status)
}

/// The boot clock.
fn now() -> Ktime {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Ktime(time.as_nanos() as u64)
}

struct Running(process::Child);

impl Child for Running {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn look(&mut self) -> Option<ChildChange> {
        let status = self.0.try_wait().ok()??;
        let status = ExitStatus::from_wait_status(status.into_raw() as u32);
        Some(ChildChange::Ended(End { status, usage: Usage::default() }))
    }
}
