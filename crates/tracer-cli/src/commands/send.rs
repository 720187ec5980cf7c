//! `process-tracer send`: delivers files of OTLP/JSON lines.

use std::{
    collections::BTreeSet,
    fs::TryLockError,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use tracer_otlp::{
    Accepted, Client, Collector, Signal,
    spool::{Delivered, DeliveryError, deliver},
};

use tracer_report::compression::Compression;

use super::saved;
use crate::{
    console::{self, Progress, counted},
    file::Saved,
    sinks::cut_off,
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
    if !keep {
        finish_others(files, &client, collector);
    }
    Ok(0)
}

/// Sends the root spans of runs that were killed, from the folders of the files.
fn finish_others(files: &[PathBuf], client: &Client, collector: &Collector) {
    let folder = |file: &PathBuf| {
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
    };
    let folders: BTreeSet<PathBuf> = files.iter().map(folder).collect();
    for folder in folders {
        let traces = cut_off::finish_others(&folder, collector, client, &|| None);
        if !traces.is_empty() {
            console::warn(cut_off::report(&traces));
        }
    }
}

fn send_file(path: &Path, keep: bool, client: &Client, collector: &Collector) -> Result<()> {
    let endpoint = collector.url(Signal::Traces);
    let file = Saved::open(path, !keep)?;
    if matches!(file.file.try_lock(), Err(TryLockError::WouldBlock)) {
        bail!("a run is still writing this file, or another send is reading it; nothing has been sent");
    }
    let mut first = [0; 4];
    if file.file.read_at(&mut first, 0).is_ok_and(|size| Compression::of_bytes(&first[..size]).is_some()) {
        bail!("the file is compressed; decompress it first, with gunzip or unzstd; nothing has been sent");
    }
    let mut progress = Progress::default();
    let sent = deliver(&file.file, keep, client, PATIENCE, |sent, total| {
        progress.show(format_args!("{}: {sent} of {total} bytes sent", path.display()));
    });
    progress.end();
    let Delivered { spans, accepted, skipped } = sent.map_err(|error| match error {
        error @ (DeliveryError::Line(_) | DeliveryError::NoSpans) => error.into(),
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
        let spans = counted(spans, "span");
        bail!("{endpoint} has rejected {rejected} of {spans}: {reason}; the file is kept");
    }
    if skipped > 0 {
        console::warn(format_args!(
            "{}: {}, and the file is kept",
            path.display(),
            saved::lines_of_other_data(skipped)
        ));
    } else if !keep {
        file.delete().context("delivered, but cannot be deleted")?;
    }
    console::say(format_args!("{}: {} delivered to {endpoint}", path.display(), counted(spans, "span")));
    Ok(())
}
