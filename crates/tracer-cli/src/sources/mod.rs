//! Chooses the source that observes the command.

mod alone;
mod ebpf;
mod load;
mod seats;
pub(crate) mod sudo;

use std::sync::Arc;

use anyhow::{Error, Result, bail};
use tracer_model::source::{EventStream, Source};

pub(crate) use self::seats::Seat;
use crate::{cli::config::Config, console};

/// The source of this run.
pub(crate) struct Chosen {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) stream: Box<dyn EventStream>,
    /// What is not observed although it was asked for, and why.
    pub(crate) unobserved: Option<String>,
    /// Drop it after the source: the source slows down the system calls of this machine until then.
    pub(crate) seat: Option<Seat>,
}

/// Chooses the source. It takes eBPF. If eBPF is impossible, it warns and takes the command alone.
///
/// `needs_environment` says whether an attribute needs the environments of the processes.
///
/// # Errors
///
/// With `--strict`, if the source cannot observe all that was asked for.
pub(crate) fn choose(config: &Config, needs_environment: bool) -> Result<Chosen> {
    let way = match ebpf::way(config) {
        Ok(way) => way,
        Err(error) => return alone(&error, config),
    };
    let system_calls = ebpf::SystemCalls::prepare(config)?;
    match ebpf::start(&way, config, &system_calls, needs_environment) {
        Ok((capture, stream)) => Ok(Chosen {
            source: Arc::new(capture),
            stream: Box::new(stream),
            unobserved: system_calls.unobserved,
            seat: system_calls.seat,
        }),
        Err(error) => alone(&error, config),
    }
}

/// Takes the command alone, and warns. `error` says why nothing better is possible.
///
/// # Errors
///
/// With `--strict`.
pub(crate) fn alone(error: &Error, config: &Config) -> Result<Chosen> {
    if config.is_strict {
        bail!("the command is not started, as --strict asks: {error:#}");
    }
    console::warn(format_args!("only the command itself is traced, not what it starts: {error:#}"));
    let (source, stream) = alone::observe(&config.command);
    Ok(Chosen {
        source: Arc::new(source),
        stream: Box::new(stream),
        unobserved: Some(format!("{error:#}")),
        seat: None,
    })
}
