//! The ptrace source. It sees the processes without any privilege, but nothing else.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use tracer_ptrace::probe::{Facts, hazard};

use super::Chosen;
use crate::{cli::config::Config, console, limits};

/// Checks whether ptrace is possible.
///
/// # Errors
///
/// ptrace is impossible. The error names the remedy.
pub(super) fn check() -> Result<()> {
    let facts = Facts::gather();
    match (facts.obstacle(), facts.error) {
        (Some(_), Some(limit)) if limits::is_limit(&limit) => Err(limit).context("cannot try ptrace(2)"),
        (Some(obstacle), _) => Err(anyhow!(obstacle)),
        (None, _) => Ok(()),
    }
}

/// Checks that ptrace breaks no program on PATH.
///
/// # Errors
///
/// ptrace can break a program.
pub(super) fn check_harmless() -> Result<()> {
    match hazard() {
        Some(program) => bail!(
            "ptrace is not used, because '{}' cannot be read and could lose its privileges; to use ptrace anyway, add \
             --source ptrace",
            program.display()
        ),
        None => Ok(()),
    }
}

/// Starts the source.
///
/// # Errors
///
/// With `--strict`, the source cannot observe all events that were asked for.
pub(super) fn start(config: &Config, needs_environment: bool) -> Result<Chosen> {
    let unobserved = config.system_call_flags().map(|flags| format!("{flags} not observed: impossible with ptrace"));
    if let Some(unobserved) = &unobserved {
        if config.is_strict {
            bail!("the command is not started, because of --strict: {unobserved}");
        }
        console::warn(unobserved);
    }
    let (source, stream) = tracer_ptrace::observe(needs_environment, config.ring_bytes as usize)?;
    Ok(Chosen { source: Arc::new(source), stream: Box::new(stream), unobserved, seat: None, notice: None })
}
