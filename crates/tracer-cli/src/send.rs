//! `process-tracer send`: delivers files of OTLP/JSON lines.

use std::{
    fs::{File, TryLockError},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::{
    cli::config::{Otlp, Url},
    console::{self, Progress},
    sinks::{
        file::Saved,
        otlp::{Accepted, Sender},
    },
};

/// Exit status if something was not delivered.
const EXIT_UNDELIVERED: u8 = 1;

/// How long a collector that does not take a piece is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Delivers the files, and gives the exit status: 0 if all of them have been taken.
pub(crate) fn send(files: &[PathBuf], keep: bool, otlp: &Otlp) -> Result<u8> {
    let sender = Sender::open(otlp, PATIENCE)?;
    for file in files {
        if let Err(error) = send_file(file, keep, &sender, &otlp.endpoint) {
            console::say(format_args!("{}: {error:#}", file.display()));
            return Ok(EXIT_UNDELIVERED);
        }
    }
    Ok(0)
}

/// Delivers a file line by line from its end, cutting off each line that has been taken: so what is left of it is what is
/// left to do, whatever comes between.
fn send_file(path: &Path, keep: bool, sender: &Sender, endpoint: &Url) -> Result<()> {
    let saved = Saved::open(path, !keep)?;
    let mut file = &saved.file;
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        bail!("a run is still writing it, or another send is on its way; nothing has been sent");
    }
    let starts = check(file)?;
    let total = file.metadata()?.len();
    let (mut spans, mut accepted) = (0, Accepted::default());
    let mut progress = Progress::default();
    let mut end = total;
    for start in starts.iter().rev().copied() {
        let mut line = vec![0; usize::try_from(end - start)?];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut line)?;
        let data: TracesData = serde_json::from_slice(&line)?;
        let scopes = data.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        spans += scopes.map(|scope| scope.spans.len() as u64).sum::<u64>();
        let answer = sender
            .send(data.resource_spans)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("not delivered to {endpoint}, {end} of {total} bytes are left"))?;
        accepted = accepted + answer;
        // What has been rejected in part stays, and with it what stands before it.
        if !keep && accepted.rejected == 0 {
            file.set_len(start)?;
        }
        end = start;
        progress.show(format_args!("{}: {} of {total} bytes sent", path.display(), total - end));
    }
    progress.end();
    if let Some(warning) = accepted.warning {
        console::warn(format_args!("{endpoint}: {warning}"));
    }
    if accepted.rejected > 0 {
        let Accepted { rejected, reason, .. } = accepted;
        bail!("{rejected} of {spans} spans were rejected by {endpoint}: {reason}; the file is kept");
    }
    if !keep {
        saved.delete().context("delivered, but cannot be deleted")?;
    }
    console::say(format_args!("{}: {spans} spans delivered to {endpoint}", path.display()));
    Ok(())
}

/// Reads all of it once, before anything is sent, and says where each line begins.
fn check(file: &File) -> Result<Vec<u64>> {
    let mut reader = BufReader::new(file);
    let (mut starts, mut start, mut line) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        let size = reader.read_until(b'\n', &mut line)?;
        if size == 0 {
            return Ok(starts);
        }
        let number = starts.len() + 1;
        let read = serde_json::from_slice::<TracesData>(&line);
        read.with_context(|| format!("line {number} is not OTLP/JSON; nothing has been sent"))?;
        starts.push(start);
        start += size as u64;
    }
}
