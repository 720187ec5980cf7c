//! The ptrace source: sees the processes without any privilege, and nothing else.

use anyhow::{Result, anyhow, bail};
use tracer_ptrace::probe::{Facts, hazard};

use super::Chosen;
use crate::{cli::config::Config, console};

use std::sync::Arc;

/// Checks whether ptrace is possible.
///
/// # Errors
///
/// It is not. The error names the remedy.
pub(super) fn check() -> Result<()> {
    match Facts::gather().obstacle() {
        Some(obstacle) => Err(anyhow!(obstacle)),
        None => Ok(()),
    }
}

/// Checks whether ptrace breaks no program.
///
/// # Errors
///
/// It can break one.
pub(super) fn check_harmless() -> Result<()> {
    match hazard() {
        Some(program) => bail!(
            "ptrace is not used, because '{}' cannot be read and could lose its privileges; --source ptrace uses it all the \
             same",
            program.display()
        ),
        None => Ok(()),
    }
}

/// Starts the source.
///
/// # Errors
///
/// With `--strict`, if it cannot observe all that was asked for.
pub(super) fn start(config: &Config, needs_environment: bool) -> Result<Chosen> {
    let flags = [("--failed-execs", config.failed_execs), ("--unix", config.unix)];
    let flags: Vec<_> = flags.into_iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| flag).collect();
    let unobserved = (!flags.is_empty()).then(|| format!("{}: ptrace cannot observe this", flags.join(" and ")));
    if let Some(unobserved) = &unobserved {
        if config.is_strict {
            bail!("the command is not started, as --strict asks: {unobserved}");
        }
        console::warn(format_args!("{unobserved}"));
    }
    let (source, stream) = tracer_ptrace::observe(needs_environment)?;
    Ok(Chosen { source: Arc::new(source), stream: Box::new(stream), unobserved, seat: None })
}
