//! Chooses the source that observes the command.

mod alone;
mod ebpf;
mod load;
mod ptrace;
mod seats;
pub(crate) mod sudo;

use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow, bail};
use tracer_model::source::{EventStream, Source};

pub(crate) use self::seats::Seat;
use crate::{
    cli::config::{Config, SourceChoice},
    console,
};

/// The source of this run.
pub(crate) struct Chosen {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) stream: Box<dyn EventStream>,
    /// Events that were asked for and are not observed, with the reason.
    pub(crate) unobserved: Option<String>,
    /// Drop it after the source: the source slows down the system calls of this machine until then.
    pub(crate) seat: Option<Seat>,
}

/// Chooses the source.
///
/// By default it takes eBPF. If eBPF is impossible, it takes ptrace. If ptrace is impossible or can break a program, it warns
/// and takes the command alone. `needs_environment` says whether an attribute needs the environments of the processes.
///
/// # Errors
///
/// The source that was asked for is impossible. With `--strict`, the source cannot observe all events that were asked
/// for.
pub(crate) fn choose(config: &Config, needs_environment: bool) -> Result<Chosen> {
    if config.uses_sudo && matches!(config.source, SourceChoice::Ptrace | SourceChoice::None) {
        console::warn("--sudo has no effect: this source needs no privileges");
    }
    match config.source {
        SourceChoice::Ebpf => ebpf(config, needs_environment)?.context("--source ebpf"),
        SourceChoice::Ptrace => {
            ptrace::check().context("--source ptrace")?;
            ptrace::start(config, needs_environment)
        }
        SourceChoice::None => alone(&anyhow!("--source none"), config, false),
        SourceChoice::Auto => match ebpf(config, needs_environment)? {
            Ok(chosen) => Ok(chosen),
            Err(error) => match ptrace::check().and_then(|()| ptrace::check_harmless()) {
                Ok(()) => {
                    let chosen = ptrace::start(config, needs_environment)?;
                    if !config.is_quiet {
                        console::say(format_args!(
                            "ptrace observes the processes, because eBPF is impossible: {error:#}"
                        ));
                    }
                    Ok(chosen)
                }
                Err(obstacle) => alone(&anyhow!("{error:#}; {obstacle:#}"), config, true),
            },
        },
    }
}

/// Returns an error inside if eBPF is impossible.
fn ebpf(config: &Config, needs_environment: bool) -> Result<Result<Chosen>> {
    let way = match ebpf::way(config) {
        Ok(way) => way,
        Err(error) => return Ok(Err(error)),
    };
    let system_calls = ebpf::SystemCalls::prepare(config)?;
    let started = ebpf::start(&way, config, &system_calls, needs_environment);
    Ok(started.map(|(capture, stream)| Chosen {
        source: Arc::new(capture),
        stream: Box::new(stream),
        unobserved: system_calls.unobserved,
        seat: system_calls.seat,
    }))
}

/// Takes the command alone. `reason` says why it takes no other source. `is_surprise`: the user did not ask for this.
///
/// # Errors
///
/// With `--strict`.
pub(crate) fn alone(reason: &Error, config: &Config, is_surprise: bool) -> Result<Chosen> {
    if config.is_strict {
        bail!("the command is not started, as --strict asks: {reason:#}");
    }
    if is_surprise {
        console::warn(format_args!("only the command itself is traced, not its descendants: {reason:#}"));
    }
    let (source, stream) = alone::observe(&config.command);
    Ok(Chosen {
        source: Arc::new(source),
        stream: Box::new(stream),
        unobserved: Some(format!("{reason:#}")),
        seat: None,
    })
}
