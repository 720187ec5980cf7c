//! The root span of a trace that is cut off, because process-tracer is killed.
//!
//! The root span is the last one. If process-tracer is killed after it has sent other spans, the trace has no root. So before
//! it sends any, it writes the root span into a file beside the spool, with `process_tracer.cut_off`. It deletes this file
//! after it has sent the real root. Otherwise the next run that reaches the same collector sends the file, or
//! `process-tracer send` does.
//!
//! The collector does not get a placeholder at the start, because the real root has the same id. Tempo keeps the first span
//! with an id, and Jaeger and ClickHouse keep both.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use sha2::{Digest, Sha256};
use tracer_model::{Span, SpanId};
use tracer_otlp::{Client, Collector, Encoder, Signal, spool};

use super::queue::Queue;
use crate::file::{self, Saved};

/// How often the file is written again. The root span in it ends at the time of the last write.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many files of other runs are sent at most. The exit must not wait for more.
const MOST: usize = 16;

/// The file of a run.
pub(super) struct CutOff {
    path: PathBuf,
    root: SpanId,
    encoder: Encoder,
    file: Option<File>,
    written: Option<Instant>,
    /// Nothing is written any more.
    is_over: bool,
}

impl CutOff {
    /// The file beside this spool. It does not exist yet.
    pub(super) fn new(spool_file: &Path, collector: &Collector, root: SpanId, encoder: Encoder) -> Self {
        let stem = spool_file.file_stem().unwrap_or_default().to_string_lossy();
        let path = spool_file.with_file_name(format!(".{stem}{}", suffix(collector)));
        Self { path, root, encoder, file: None, written: None, is_over: false }
    }

    /// Writes the file, unless it was just written. Call this before these spans are sent.
    pub(super) fn prepare(&mut self, spans: &[Arc<Span>], queue: &Queue) {
        let is_recent = self.written.is_some_and(|at| at.elapsed() < INTERVAL);
        if self.is_over || is_recent || self.has_root(spans) {
            return;
        }
        let Some(root) = queue.cut_off_root() else { return };
        let root = Span { end: root.end.max(SystemTime::now()), ..Span::clone(&root) };
        // The trace does not depend on this file, so an error is not reported.
        self.is_over = self.write(&root).is_err();
        self.written = Some(Instant::now());
    }

    /// Deletes the file if the root is among these spans. Call this when they have arrived or are kept.
    pub(super) fn finish(&mut self, spans: &[Arc<Span>]) {
        if self.has_root(spans) {
            self.remove();
        }
    }

    /// Deletes the file.
    pub(super) fn remove(&mut self) {
        self.is_over = true;
        if self.file.take().is_some() {
            // If this fails, the file is left behind. It belongs to its owner.
            let _ = Saved::open(&self.path, true).and_then(Saved::delete);
        }
    }

    fn has_root(&self, spans: &[Arc<Span>]) -> bool {
        spans.iter().any(|span| span.span_id == self.root)
    }

    fn write(&mut self, root: &Span) -> Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                if let Some(folder) = self.path.parent() {
                    file::make_folder(folder)?;
                }
                self.file.insert(file::create(&self.path)?)
            }
        };
        let line = self.encoder.json_lines([root]);
        file.write_all_at(&line, 0)?;
        Ok(file.set_len(line.len() as u64)?)
    }
}

/// The end of the name of such a file. It differs between collectors.
fn suffix(collector: &Collector) -> String {
    let hash: [u8; 32] = Sha256::digest(collector.url(Signal::Traces).to_string()).into();
    format!(".{:08x}.jsonl", u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
}

/// Sends the root spans of traces that were cut off on their way to this collector. They are in files of this folder.
/// Returns the ids of the traces.
pub(crate) fn finish_others(
    folder: &Path,
    collector: &Collector,
    client: &Client,
    deadline: &dyn Fn() -> Option<Instant>,
) -> Vec<String> {
    let suffix = suffix(collector);
    let is_such = |name: &OsStr| name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(suffix.as_bytes());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| is_such(&entry.file_name()));
    let sent = entries.take(MOST).filter_map(|entry| {
        send(&entry.path(), client, deadline).ok()?;
        let name = entry.file_name();
        Some(name.to_string_lossy().trim_start_matches('.').split('-').next()?.to_owned())
    });
    sent.collect()
}

/// Reports the traces that [`finish_others`] has finished.
pub(crate) fn report(traces: &[String]) -> String {
    match traces {
        [trace] => format!("sent the missing root span of an earlier run: trace {trace}"),
        traces => format!("sent the missing root spans of earlier runs: traces {}", traces.join(", ")),
    }
}

/// Sends a file and deletes it, unless its run is still alive or it is another user's.
fn send(path: &Path, client: &Client, deadline: &dyn Fn() -> Option<Instant>) -> Result<()> {
    let saved = Saved::open(path, true)?;
    // The kernel releases the lock of a process that is killed.
    saved.file.try_lock()?;
    if !saved.is_ours()? {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
    }
    spool::send_line(&saved.file, client, deadline)?;
    Ok(saved.delete()?)
}
