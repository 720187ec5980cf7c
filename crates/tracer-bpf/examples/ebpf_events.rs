//! Prints the events of a command: `cargo run --example ebpf_events -- sh -c 'ls | wc'`. This needs root.
#![allow(clippy::print_stdout)]

use std::{
    env,
    error::Error,
    io,
    os::unix::process::ExitStatusExt,
    process::{self, Command},
    thread,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use tracer_bpf::{Attached, Capture, Options};
use tracer_model::{
    Event, ExitStatus, Ktime,
    event::Usage,
    source::{Child, ChildChange, End, EventStream, Source},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut command = Command::new(arguments.next().ok_or("which command?")?);
    command.args(arguments);
    events_of(command, |event| println!("{event:?}"))?;
    Ok(())
}

/// Runs a command and passes on its events. Returns its exit status.
pub(crate) fn events_of(mut command: Command, mut handle: impl FnMut(Event)) -> Result<ExitStatus, Box<dyn Error>> {
    let attached = Attached::load(&Options::default())?;
    let (source, mut stream) = Capture::start(attached, false)?;
    let mut child = source.launch(Box::new(move |_| Ok(Box::new(Running(command.spawn()?)) as Box<dyn Child>)))?;
    let end = loop {
        stream.drain(now()?, &mut handle)?;
        match child.look() {
            Some(ChildChange::Ended(end)) => break end,
            _ => thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.finish(now()?, &end, &mut handle);
    Ok(end.status)
}

/// The boot clock.
fn now() -> io::Result<Ktime> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(Ktime(Duration::from(time).as_nanos() as u64))
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
