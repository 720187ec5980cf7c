//! The compilation database. Its entries come from events: see [`Recorder`]. A second thread reads response files, because
//! a build deletes them soon.

use std::{
    fs::File,
    io::{self, BufWriter, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{libc, unistd::geteuid};
use tracer_model::Span;
use tracer_report::compilations::{Database, Observation, RESPONSE_BYTES, Summary};

use super::{
    queue::{Queue, Undelivered},
    recorder::Recorder,
    sink::{Closing, Extras, Sink},
};
use crate::{
    child::{privileges, user::Invoker},
    console::{self, counted},
    file::Draft,
    threads::Threads,
};

pub(super) struct CompileCommandsSink {
    path: PathBuf,
    draft: Draft,
    recorder: Recorder,
    /// Until the start.
    observations: Option<Receiver<Observation>>,
    /// From the start.
    collected: Option<Receiver<Database>>,
    /// There is no time for more calls.
    is_late: Arc<AtomicBool>,
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
            collected: None,
            is_late: Arc::default(),
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
        let (sender, collected) = mpsc::channel();
        let is_late = Arc::clone(&self.is_late);
        let collect = move || {
            let may_read = privileges::drop_in_sink().is_ok();
            let mut read = |path: &Path, user| may_read.then(|| read(path, user).ok())?;
            // If there is no receiver, the sink has been given up.
            let _ = sender.send(collect(observations.into_iter().flatten(), &is_late, &mut read));
        };
        threads.start_quiet("compilers", collect).context("cannot start a thread")?;
        self.collected = Some(collected);
        Ok(Extras { recorder: Some(self.recorder.clone()), ..Extras::default() })
    }

    fn begin(&mut self) {
        self.has_begun = true;
    }

    fn write(&mut self, _: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        Undelivered::default()
    }

    fn close(mut self: Box<Self>, queue: &Queue) -> Closing {
        let lost = self.recorder.end();
        let Some(collected) = self.collected.take().filter(|_| self.has_begun) else {
            // The command did not start. The file that was there before stays.
            return Closing::default();
        };
        let path = self.path.display().to_string();
        let mut unchecked = 0;
        let written = self.wait_for(&collected, queue).and_then(|mut database| {
            database.count_late(lost);
            let exists = |source: &Path| {
                let is_late = is_late(queue);
                unchecked += u64::from(is_late);
                is_late || source.exists()
            };
            let to = BufWriter::new(self.draft.writer()?);
            let summary = database.finish(exists, to)?;
            self.draft.finish()?;
            Ok(summary)
        });
        match written {
            Ok(summary) => {
                if let Some(missing) = missing(&summary) {
                    console::warn(format_args!("{path} lacks {missing}"));
                }
                if unchecked > 0 {
                    let sources = counted(unchecked, "source");
                    console::warn(format_args!("{path} has {sources} that may not exist: there was no time to check"));
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

/// The file may take this much longer than the spans.
const MORE: Duration = Duration::from_secs(1);

/// When the queue is late, we wait this long for the thread that collects the entries. If it has not ended by then, it is
/// reading a response file, and we give up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the time is checked.
const GLANCE: Duration = Duration::from_millis(50);

fn is_late(queue: &Queue) -> bool {
    queue.deadline().is_some_and(|deadline| Instant::now() >= deadline + MORE)
}

impl CompileCommandsSink {
    /// Waits for the entries, also those of the calls that still wait.
    fn wait_for(&self, collected: &Receiver<Database>, queue: &Queue) -> io::Result<Database> {
        let mut late_since = None;
        loop {
            match collected.recv_timeout(GLANCE) {
                Ok(database) => return Ok(database),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("this is a bug, please report it"));
                }
                Err(RecvTimeoutError::Timeout) if is_late(queue) => {
                    self.is_late.store(true, Ordering::Relaxed);
                    if late_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        return Err(io::Error::other("a response file could not be read in time"));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Collects the entries of all calls. When it is late, it only counts the calls.
fn collect(
    observations: impl IntoIterator<Item = Observation>,
    is_late: &AtomicBool,
    read: &mut dyn FnMut(&Path, u32) -> Option<Vec<u8>>,
) -> Database {
    let mut database = Database::default();
    for observation in observations {
        match observation {
            Observation::Compiler { .. } if is_late.load(Ordering::Relaxed) => database.count_late(1),
            observation => database.add(observation, read),
        }
    }
    database
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
        (summary.late, "that came too fast or too late"),
    ];
    let causes: Vec<_> = causes
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{} {why}", counted(count, "call")))
        .collect();
    (!causes.is_empty()).then(|| causes.join(", "))
}

/// Reads a response file. The traced command chooses its name, so it can be a pipe or a device.
fn read(path: &Path, user: u32) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    // Opening a device can have effects.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("no response file"));
    }
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let reader = Invoker::of_root().map_or_else(geteuid, |invoker| invoker.uid);
    if !metadata.is_file() || metadata.len() > RESPONSE_BYTES as u64 || !may_read(user, metadata.uid(), reader.as_raw())
    {
        return Err(io::Error::other("no response file"));
    }
    let mut content = Vec::new();
    file.take(RESPONSE_BYTES as u64).read_to_end(&mut content)?;
    Ok(content)
}

/// Whether we, as `reader`, read a response file of `owner` for a compiler of `user`. The kernel checks only our rights, and
/// `user` may have fewer. So the file must belong to `user`, unless `user` is root or is `reader`.
fn may_read(user: u32, owner: u32, reader: u32) -> bool {
    user == 0 || user == reader || user == owner
}

#[cfg(test)]
mod tests {
    use tracer_model::{Event, Identity, Ktime, event::Image};

    use super::*;

    #[test]
    fn the_messages_name_each_cause_and_its_count() {
        let summary = Summary { entries: 1, gone: 2, cut: 1, unknown: 0, unread: 3, late: 0 };
        assert_eq!(note("c.json", &summary), "1 entry in c.json; left out: 2 sources that no longer exist");
        assert_eq!(
            missing(&summary).unwrap(),
            "1 call with arguments that are too long to record, 3 calls with a response file that could not be read"
        );
        assert_eq!(missing(&Summary { gone: 1, ..Summary::default() }), None);
    }

    /// The observations of two calls.
    fn calls() -> Vec<Observation> {
        let (recorder, observations) = Recorder::new();
        for tgid in [1, 2] {
            let process = Identity { tgid, start: Ktime(1) };
            let arguments = ["gcc", "-c", "a.c"].iter().collect();
            let image =
                Image { file: "/bin/gcc".to_owned(), arguments, directory: Some("/".into()), ..Image::default() };
            let (image, at, parent) = (Arc::new(image), Ktime(2), process);
            recorder.record(&Event::Exec { at, process, parent, image, environment: None, context: None });
        }
        recorder.end();
        observations.into_iter().collect()
    }

    #[test]
    fn late_calls_are_only_counted() {
        let summary = |is_late| {
            let database = collect(calls(), &AtomicBool::new(is_late), &mut |_, _| None);
            database.finish(|_| true, io::sink()).unwrap()
        };
        assert_eq!(summary(false), Summary { entries: 1, ..Summary::default() });
        assert_eq!(summary(true), Summary { late: 2, ..Summary::default() });
        assert_eq!(missing(&summary(true)).unwrap(), "2 calls that came too fast or too late");
    }

    #[test]
    fn a_hanging_thread_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = CompileCommandsSink::open(&folder.path().join("compile_commands.json")).unwrap();
        let (_sender, collected) = mpsc::channel();
        (sink.collected, sink.has_begun) = (Some(collected), true);
        let queue = Queue::default();
        queue.close(Instant::now());
        let is_late = Arc::clone(&sink.is_late);
        assert_eq!(Box::new(sink).close(&queue), Closing::default());
        assert!(is_late.load(Ordering::Relaxed));
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn for_a_compiler_of_another_user_only_that_users_response_file_is_read() {
        let (root, nobody, builder) = (0, 65534, 1000);
        assert!(may_read(nobody, nobody, root) && may_read(builder, root, builder) && may_read(root, builder, builder));
        assert!(!may_read(nobody, root, root) && !may_read(nobody, builder, builder));
    }
}
