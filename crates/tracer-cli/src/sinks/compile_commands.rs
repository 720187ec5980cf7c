//! The compilation database. Its entries come from events: see [`Recorder`]. A second thread reads response files, because
//! a build deletes them soon.

use std::{
    fs::File,
    io::{self, BufWriter, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use nix::libc;
use tracer_model::Span;
use tracer_report::compilations::{Database, Observation, Summary};

use super::{
    file::Draft,
    queue::{Queue, Undelivered},
    recorder::Recorder,
    sink::{Closing, Extras, Sink},
};
use crate::{
    child::privileges,
    console::{self, counted},
    threads::Threads,
};

/// The largest response file that is read.
const RESPONSE: u64 = 16 << 20;

pub(super) struct CompileCommandsSink {
    path: PathBuf,
    draft: Draft,
    recorder: Recorder,
    /// Until the start.
    observations: Option<Receiver<Observation>>,
    collector: Option<JoinHandle<Database>>,
    has_begun: bool,
}

impl CompileCommandsSink {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (recorder, observations) = Recorder::new();
        Ok(Self {
            path: path.to_owned(),
            draft: Draft::create(path)?,
            recorder,
            observations: Some(observations),
            collector: None,
            has_begun: false,
        })
    }
}

impl Sink for CompileCommandsSink {
    /// It has no spans.
    fn destination(&self) -> String {
        String::new()
    }

    fn start(&mut self, threads: Threads) -> Result<Extras> {
        let observations = self.observations.take();
        let collect = move || {
            let may_read = privileges::drop_in_sink().is_ok();
            let mut database = Database::default();
            for observation in observations.into_iter().flatten() {
                database.add(observation, &mut |path| may_read.then(|| read(path).ok())?);
            }
            database
        };
        self.collector = Some(threads.start_quiet("compilers", collect).context("cannot start a thread")?);
        Ok(Extras { recorder: Some(self.recorder.clone()), ..Extras::default() })
    }

    fn begin(&mut self) {
        self.has_begun = true;
    }

    fn write(&mut self, _: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        Undelivered::default()
    }

    fn close(mut self: Box<Self>) -> Closing {
        let lost = self.recorder.end();
        let Some(collector) = self.collector.take().filter(|_| self.has_begun) else {
            // The command did not start. The file that was there before stays.
            return Closing::default();
        };
        let path = self.path.display().to_string();
        let written = collector.join().map_err(|_| io::Error::other("this is a bug, please report it")).and_then(
            |mut database| {
                database.count_unknown(lost);
                let to = BufWriter::new(self.draft.writer()?);
                let summary = database.finish(|source| source.exists(), to)?;
                self.draft.finish()?;
                Ok(summary)
            },
        );
        match written {
            Ok(summary) => {
                if let Some(missing) = missing(&summary) {
                    console::warn(format_args!("{path} lacks {missing}"));
                }
                Closing { note: Some(note(&path, &summary)), ..Closing::default() }
            }
            Err(error) => {
                console::warn(format_args!("cannot write '{path}': {error}"));
                Closing::default()
            }
        }
    }
}

fn note(path: &str, summary: &Summary) -> String {
    let entries = match summary.entries {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    match summary.gone {
        0 => format!("{entries} in {path}"),
        gone => format!(
            "{entries} in {path}; left out: {}",
            if gone == 1 {
                "1 source that no longer exists".to_owned()
            } else {
                format!("{gone} sources that no longer exist")
            }
        ),
    }
}

/// What the file should have, but has not.
fn missing(summary: &Summary) -> Option<String> {
    let causes = [
        (summary.cut, "with arguments that are too long to record"),
        (summary.unread, "with a response file that could not be read"),
        (summary.unknown, "with arguments or a folder that are not known exactly"),
    ];
    let causes: Vec<_> = causes
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{} {why}", counted(count, "call")))
        .collect();
    (!causes.is_empty()).then(|| causes.join(", "))
}

/// Reads a response file. The traced command chooses its name, so it can be a pipe or a device.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    // Opening a device can have effects.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("no response file"));
    }
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > RESPONSE {
        return Err(io::Error::other("no response file"));
    }
    let mut content = Vec::new();
    file.take(RESPONSE).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_name_each_cause_and_its_count() {
        let summary = Summary { entries: 1, gone: 2, cut: 1, unknown: 0, unread: 3 };
        assert_eq!(note("c.json", &summary), "1 entry in c.json; left out: 2 sources that no longer exist");
        assert_eq!(
            missing(&summary).unwrap(),
            "1 call with arguments that are too long to record, 3 calls with a response file that could not be read"
        );
        assert_eq!(missing(&Summary { gone: 1, ..Summary::default() }), None);
    }
}
