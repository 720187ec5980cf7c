//! The eBPF source: attaches the programs for this run.

use std::time::Instant;

use anyhow::{Result, bail};
use tracer_bpf::{
    Attached, Capture, Options, RecordKind, Stream, Timing,
    probe::{self, Obstacle},
};
use tracer_model::Captured;

use crate::{
    child::privileges,
    cli::config::Config,
    console::{self, ms},
    sources::{load, seats::Seat, sudo},
};

/// The process that attaches the programs.
pub(super) enum Way {
    /// This process.
    Own,
    /// A helper that sudo runs.
    Sudo,
}

/// Checks whether the programs can be attached, from the facts that are known before the attempt.
///
/// # Errors
///
/// The obstacle and its remedy. With `--sudo`, missing privileges are no obstacle.
pub(super) fn way(config: &Config) -> Result<Way> {
    match probe::check() {
        Ok(()) => Ok(Way::Own),
        Err(Obstacle::Privileges { .. }) if config.uses_sudo => Ok(Way::Sudo),
        Err(obstacle) => bail!("{obstacle}; {}", obstacle.remedy()),
    }
}

/// Loads and attaches the programs.
pub(super) fn start(
    way: &Way,
    config: &Config,
    system_calls: &SystemCalls,
    needs_environment: bool,
) -> Result<(Capture, Stream)> {
    let started = Instant::now();
    let attached = attach(way, config, system_calls)?;
    let timing = attached.timing();
    let capture = Capture::start(attached, needs_environment)?;
    if config.is_verbose {
        let steps = timing.map_or(String::new(), |Timing { object, maps, programs }| {
            format!(": object {}, types and maps {}, programs {}", ms(object), ms(maps), ms(programs))
        });
        console::say(format_args!("eBPF programs attached in {}{steps}", ms(started.elapsed())));
    }
    Ok(capture)
}

fn attach(way: &Way, config: &Config, system_calls: &SystemCalls) -> Result<Attached> {
    let options = Options {
        ring_bytes: config.ring_bytes,
        max_processes: config.max_processes,
        viewer: privileges::viewer(),
        asked: asked(config, system_calls).collect(),
    };
    match way {
        Way::Own => load::load(options),
        Way::Sudo => sudo::attach(&options),
    }
}

/// The records that this run needs besides those of processes.
fn asked(config: &Config, system_calls: &SystemCalls) -> impl Iterator<Item = RecordKind> {
    let Captured { connections, flows, lookups, .. } = config.captured;
    let kinds = [(connections, RecordKind::Connection), (flows, RecordKind::Flow), (lookups, RecordKind::Dns)];
    let calls = config.system_calls.iter().map(|(_, kind)| (system_calls.is_observed(), *kind));
    kinds.into_iter().chain(calls).filter(|(is_asked, _)| *is_asked).map(|(_, kind)| kind)
}

/// The program that runs at every system call. It observes failed execs and connections to unix sockets.
pub(super) struct SystemCalls {
    /// Held as long as the program runs.
    pub(super) seat: Option<Seat>,
    /// The reason why the program does not run, although it was asked for.
    pub(super) unobserved: Option<String>,
}

impl SystemCalls {
    /// An ordinary user needs a seat for the program. Without a seat, the run continues without the program.
    ///
    /// # Errors
    ///
    /// With `--strict`, if there is no seat.
    pub(super) fn prepare(config: &Config) -> Result<Self> {
        let Some(flags) = config.system_call_flags().filter(|_| privileges::viewer().is_some()) else {
            return Ok(Self { seat: None, unobserved: None });
        };
        let reason = match Seat::take() {
            Ok(Some(seat)) => return Ok(Self { seat: Some(seat), unobserved: None }),
            Ok(None) => {
                "other runs without root already observe the system calls, and their number is limited".to_owned()
            }
            Err(error) => format!("cannot count the runs that observe the system calls: {error}"),
        };
        let unobserved = format!("{flags} not observed: {reason}");
        if config.is_strict {
            bail!("the command is not started, because of --strict: {unobserved}; try again later, or run with sudo");
        }
        console::warn(format_args!("{unobserved}; try again later, or run with sudo"));
        Ok(Self { seat: None, unobserved: Some(unobserved) })
    }

    fn is_observed(&self) -> bool {
        self.unobserved.is_none()
    }
}
