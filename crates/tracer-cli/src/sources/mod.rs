//! Chooses the source that observes the command.

mod alone;
mod ebpf;
mod load;
mod named;
mod ptrace;
mod seats;
pub(crate) mod sudo;

use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow, bail};
use tracer_model::source::{EventStream, Source};

use self::named::Named;
pub(crate) use self::seats::Seat;
use crate::{
    cli::config::{Config, SourceChoice},
    console, limits,
};

/// The source of this run.
pub(crate) struct Chosen {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) stream: Box<dyn EventStream>,
    /// Events that were asked for and are not observed, with the reason.
    pub(crate) unobserved: Option<String>,
    /// Drop the seat after the source. Until the source is dropped, it slows down the system calls of this machine.
    pub(crate) seat: Option<Seat>,
    /// What the user has to know about the choice.
    pub(crate) notice: Option<Notice>,
}

/// A line about the choice of the source.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    text: String,
    is_warning: bool,
    /// A limit of the system caused the choice. The same limit can leave no room for the command and process-tracer
    /// together. Then another line says so, and this line is not needed. So this line is printed only after the command
    /// has ended.
    pub(crate) is_of_limit: bool,
}

impl Notice {
    pub(crate) fn print(&self) {
        match self.is_warning {
            true => console::warn(&self.text),
            false => console::say(&self.text),
        }
    }
}

/// Chooses the source.
///
/// By default it takes eBPF. If eBPF is impossible, it takes ptrace. If ptrace is impossible or can break a program, it warns
/// and takes the command alone. `needs_environment` says whether an attribute or a rule needs the environments of the
/// processes.
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
                    let notice = (!config.is_quiet).then(|| Notice {
                        text: format!(
                            "ptrace observes the processes, because eBPF is impossible: {}",
                            limits::reason(&error)
                        ),
                        is_warning: false,
                        is_of_limit: limits::behind(&error).is_some(),
                    });
                    Ok(Chosen { notice, ..chosen })
                }
                Err(obstacle) => {
                    let mut chosen = alone(&anyhow!("{}; {obstacle:#}", limits::reason(&error)), config, true)?;
                    if let Some(notice) = &mut chosen.notice {
                        notice.is_of_limit = limits::behind(&error).or(limits::behind(&obstacle)).is_some();
                    }
                    Ok(chosen)
                }
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
        stream: Box::new(Named::new(stream)),
        unobserved: system_calls.unobserved,
        seat: system_calls.seat,
        notice: None,
    }))
}

/// Takes the command alone. `reason` says why it takes no other source. `is_surprise`: the user did not ask for this.
///
/// # Errors
///
/// With `--strict`.
pub(crate) fn alone(reason: &Error, config: &Config, is_surprise: bool) -> Result<Chosen> {
    if config.is_strict {
        bail!("the command is not started, because of --strict: {reason:#}");
    }
    let notice = is_surprise.then(|| Notice {
        text: format!("only the command itself is traced, not its descendants: {reason:#}"),
        is_warning: true,
        is_of_limit: limits::behind(reason).is_some(),
    });
    let (source, stream) = alone::observe(&config.command);
    Ok(Chosen {
        source: Arc::new(source),
        stream: Box::new(stream),
        unobserved: Some(format!("descendants not observed: {reason:#}")),
        seat: None,
        notice,
    })
}
