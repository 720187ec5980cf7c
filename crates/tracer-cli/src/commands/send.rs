//! `process-tracer send`: delivers files of OTLP/JSON lines.

use std::{
    fs::TryLockError,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use tracer_otlp::{
    Accepted, Client, Collector, Signal,
    spool::{Delivered, DeliveryError, deliver},
};

use crate::{
    console::{self, Progress},
    sinks::file::Saved,
};

/// Exit status if some spans were not delivered.
const EXIT_UNDELIVERED: u8 = 1;

/// How long requests to a busy collector are repeated.
const PATIENCE: Duration = Duration::from_secs(30);

/// Delivers the files. Returns the exit status: 0 if all of them are delivered.
pub(crate) fn send(files: &[PathBuf], keep: bool, collector: &Collector) -> Result<u8> {
    let client = Client::open(collector, console::warn)?;
    for file in files {
        if let Err(error) = send_file(file, keep, &client, collector) {
            console::say(format_args!("{}: {error:#}", file.display()));
            return Ok(EXIT_UNDELIVERED);
        }
    }
    Ok(0)
}

fn send_file(path: &Path, keep: bool, client: &Client, collector: &Collector) -> Result<()> {
    let endpoint = collector.url(Signal::Traces);
    let saved = Saved::open(path, !keep)?;
    if matches!(saved.file.try_lock(), Err(TryLockError::WouldBlock)) {
        bail!("a run is still writing it, or another send is on its way; nothing has been sent");
    }
    let mut progress = Progress::default();
    let sent = deliver(&saved.file, keep, client, PATIENCE, |sent, total| {
        progress.show(format_args!("{}: {sent} of {total} bytes sent", path.display()));
    });
    progress.end();
    let Delivered { spans, accepted } = sent.map_err(|error| match error {
        DeliveryError::Line(error) => {
            let shown = format!("{error}; nothing has been sent");
            anyhow!(error).context(shown)
        }
        DeliveryError::File(error) => error.into(),
        DeliveryError::Undelivered { left, total, source } => {
            anyhow!(source).context(format!("not delivered to {endpoint}, {left} of {total} bytes are left"))
        }
    })?;
    let Accepted { rejected, reason, warning } = accepted;
    if let Some(warning) = warning {
        console::warn(format_args!("{endpoint}: {warning}"));
    }
    if rejected > 0 {
        bail!("{rejected} of {spans} spans were rejected by {endpoint}: {reason}; the file is kept");
    }
    if !keep {
        saved.delete().context("delivered, but cannot be deleted")?;
    }
    console::say(format_args!("{}: {spans} spans delivered to {endpoint}", path.display()));
    Ok(())
}
