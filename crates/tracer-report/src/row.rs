//! A span as a small row, so that a report can keep very many spans.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use tracer_model::{ExitStatus, SpanId, losses::in_words};

use crate::{
    span::{Call, Certificate, Connection, Crash, Folded, Span, Subject},
    untrusted::Untrusted,
    whatif::words::Words,
    words::{self, Word},
};

/// The place of a string in [`Rows::strings`]. It is counted from 1, so that an `Option` of it needs no extra memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Label(NonZeroU32);

/// The subject of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Process,
    Connection,
    Lookup,
    /// The whole trace of several runs.
    Runs,
    /// A span of another program.
    Other,
}

/// One span.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) kind: Kind,
    pub(crate) is_root: bool,
    pub(crate) is_unfinished: bool,
    pub(crate) is_fork: bool,
    /// The program of the process is a shell.
    pub(crate) is_shell: bool,
    /// How it ended, if it is a process that failed.
    pub(crate) exit: Option<ExitStatus>,
    /// The crash or the out-of-memory kill that ended it, also if the failure was handled and `exit` is `None`.
    pub(crate) crash: Option<Crash>,
    pub(crate) is_repaired: bool,
    pub(crate) name: Label,
    /// The reason, if it failed.
    pub(crate) failure: Option<Label>,
    /// The other end, if it is a connection.
    pub(crate) peer: Option<Label>,
    pub(crate) pid: u32,
    pub(crate) parent_pid: u32,
    /// Nanoseconds since the epoch.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// CPU time of a process, nanoseconds.
    pub(crate) cpu: u64,
    /// Time in which a process waited for a processor, nanoseconds. 0 if the kernel does not account it.
    pub(crate) run_delay: u64,
    /// Processes below it without a span.
    pub(crate) folded: Folded,
    /// Payload of a connection in both directions.
    pub(crate) bytes: u64,
}

impl Row {
    pub(crate) fn duration(&self) -> u64 {
        self.end - self.start
    }
}

/// An end of a connection whose other end is in the trace, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkedEnd {
    /// The index of its row.
    pub(crate) row: usize,
    pub(crate) other: SpanId,
    pub(crate) is_accepted: bool,
}

/// The facts of the root span about the whole trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) trace_id: String,
    /// The command as it was typed, with its arguments.
    pub(crate) arguments: Vec<Untrusted>,
    pub(crate) certificate: Certificate,
    /// The runs, if there are several.
    pub(crate) runs: Vec<Run>,
}

/// One of several runs of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The index of its root in the rows.
    pub(crate) row: usize,
    /// The command as it was typed, with its arguments.
    pub(crate) arguments: Vec<Untrusted>,
    pub(crate) certificate: Certificate,
}

impl About {
    /// Reads the root span. A root that is still running has no certificate yet.
    pub(crate) fn of(root: &Span<'_>) -> Self {
        Self {
            trace_id: root.trace.to_string(),
            arguments: typed(root),
            certificate: root.certificate().unwrap_or_default(),
            runs: Vec::new(),
        }
    }
}

/// The command of a run as it was typed. The trace of several runs has none.
fn typed(root: &Span<'_>) -> Vec<Untrusted> {
    let mut arguments = root.first_call().unwrap_or_else(|| root.call().arguments);
    if arguments.is_empty() && root.process().is_some() {
        arguments.push(root.name.as_ref().into());
    }
    arguments
}

/// The limit of [`Rows::with_limit`] for the text and the live page of a run. The memory of a run must have a limit.
pub const SPAN_LIMIT: usize = 250_000;

/// The spans of a trace, each reduced to the facts that reports need.
#[derive(Debug)]
pub struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) about: About,
    longest_root: Option<u64>,
    limit: usize,
    /// How many spans the report lacks because of a limit.
    pub(crate) left_out: u64,
    strings: Vec<Untrusted>,
    known: HashMap<Arc<str>, Label>,
    /// The ends of connections whose other end has a span, too.
    pub(crate) linked: Vec<LinkedEnd>,
    /// The calls of failed processes, by their index in `rows`.
    calls: BTreeMap<usize, Call>,
    /// The bytes of memory that `calls` take.
    call_bytes: usize,
    /// The words of all command lines, one after the other.
    words: Vec<Word<Label>>,
    /// For each row, the place of its first word.
    first_words: Vec<usize>,
    /// Bytes of the strings so far.
    bytes: usize,
    /// See [`Self::complete`].
    pub(crate) root_is_missing: bool,
    /// The files that processes name. `None`: they are not needed.
    files: Option<Words>,
}

/// The name of a missing root.
pub(crate) const NO_ROOT: &str = "(the root span is missing)";

/// The most failed processes whose calls are kept, and the bytes of memory for them. A call of the root is kept in any case.
const CALLS: usize = 1000;
const BYTES_OF_CALLS: usize = 8 << 20;

/// The most words and the most bytes of text, as an average over the spans that `limit` allows. If there are more,
/// later processes have no argument in a report.
const WORDS: usize = 16;
const BYTES: usize = 256;

impl Default for Rows {
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

impl Rows {
    /// Keeps the first `limit` spans, and after those only processes, up to twice `limit` spans in all. The root is always
    /// kept.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            rows: Vec::new(),
            about: About::default(),
            longest_root: None,
            limit,
            left_out: 0,
            strings: Vec::new(),
            known: HashMap::new(),
            linked: Vec::new(),
            calls: BTreeMap::new(),
            call_bytes: 0,
            words: Vec::new(),
            first_words: Vec::new(),
            bytes: 0,
            root_is_missing: false,
            files: None,
        }
    }

    /// Also keeps the files that processes name, for [`WhatIf`](crate::whatif::WhatIf).
    pub(crate) fn with_files(self) -> Self {
        Self { files: Some(Words::default()), ..self }
    }

    pub(crate) fn files(&self) -> Option<&Words> {
        self.files.as_ref()
    }

    /// Adds a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &Span<'_>) {
        self.insert(span);
    }

    /// Adds a span and returns its index. `None`: there was no room for it.
    pub(crate) fn insert(&mut self, span: &Span<'_>) -> Option<usize> {
        let row = self.read(span);
        let index = self.keep(row, span);
        self.left_out += u64::from(index.is_none());
        index
    }

    /// Makes a row of a span, but does not keep it.
    pub(crate) fn read(&mut self, span: &Span<'_>) -> Row {
        let name = self.intern(&span.name);
        let process = span.process().copied().unwrap_or_default();
        let (kind, peer, bytes) = match &span.subject {
            Subject::Process(_) => (Kind::Process, None, 0),
            Subject::Connection(connection) => {
                let peer = connection.peer.as_deref().map(|peer| self.intern(peer));
                (Kind::Connection, peer.or(connection.is_accepted.then_some(name)), connection.bytes)
            }
            Subject::Lookup => (Kind::Lookup, None, 0),
            Subject::Runs(_) => (Kind::Runs, None, 0),
            Subject::Other => (Kind::Other, None, 0),
        };
        Row {
            id: span.id,
            parent: span.parent,
            kind,
            is_root: span.is_root(),
            is_unfinished: span.is_unfinished,
            is_fork: process.is_fork,
            is_shell: process.is_shell,
            exit: match span.subject {
                Subject::Runs(exit) => exit,
                _ => process.exit,
            },
            crash: process.crash,
            is_repaired: span.is_repaired,
            name,
            failure: span.failure.as_deref().map(|failure| self.intern(failure)),
            peer,
            pid: process.pid,
            parent_pid: process.parent_pid,
            start: span.start,
            end: span.end,
            cpu: process.cpu,
            run_delay: process.run_delay,
            folded: process.folded,
            bytes,
        }
    }

    /// Keeps the row of a span and returns its index, if there is room.
    pub(crate) fn keep(&mut self, row: Row, span: &Span<'_>) -> Option<usize> {
        // Connections and lookups are left out first, because the tree needs the processes.
        let limit = if row.kind == Kind::Process { self.limit.saturating_mul(2) } else { self.limit };
        if self.rows.len() >= limit && !row.is_root {
            return None;
        }
        // If there are several roots, the longest counts. The tree uses the same rule.
        let is_longest = || self.longest_root.is_none_or(|longest| row.duration() > longest);
        if row.is_root && (row.kind == Kind::Runs || is_longest()) {
            self.longest_root = Some(row.duration());
            self.about = About { runs: std::mem::take(&mut self.about.runs), ..About::of(span) };
        }
        if span.is_run() {
            let certificate = span.certificate().unwrap_or_default();
            self.about.runs.push(Run { row: self.rows.len(), arguments: typed(span), certificate });
        }
        if row.failure.is_some() && row.kind == Kind::Process {
            self.keep_call(span.call());
        }
        if let Some(files) = self.files.as_mut().filter(|_| row.kind == Kind::Process) {
            files.add(self.rows.len(), &span.short_call().arguments);
        }
        if let Subject::Connection(Connection { is_accepted, .. }) = span.subject
            && let Some((_, other)) = span.links().first().copied()
        {
            self.linked.push(LinkedEnd { row: self.rows.len(), other, is_accepted });
        }
        self.first_words.push(self.words.len());
        if row.kind == Kind::Process && !row.is_fork {
            self.keep_words(span);
        }
        self.rows.push(row);
        Some(self.rows.len() - 1)
    }

    /// Keeps the call of the next row, which failed. If there is no room, the oldest calls are dropped: the failure that stops
    /// the command comes late.
    fn keep_call(&mut self, call: Call) {
        let row = self.rows.len();
        self.call_bytes += call.size();
        self.calls.insert(row, call);
        while self.calls.len() > CALLS || self.call_bytes > BYTES_OF_CALLS {
            let oldest = self.calls.keys().copied().find(|old| *old != row && !self.rows[*old].is_root);
            let Some(dropped) = oldest.and_then(|oldest| self.calls.remove(&oldest)) else { return };
            self.call_bytes -= dropped.size();
        }
    }

    /// Keeps the words of a command line, if there is room.
    fn keep_words(&mut self, span: &Span<'_>) {
        let has_room =
            self.words.len() < self.limit.saturating_mul(WORDS) && self.bytes < self.limit.saturating_mul(BYTES);
        if !has_room {
            return;
        }
        let (arguments, is_shell) = span.named_call();
        for Word { text, role } in words::words(is_shell, &arguments) {
            let text = self.intern(&text);
            self.words.push(Word { text, role });
        }
    }

    /// The words of a process.
    pub(crate) fn words(&self, row: usize) -> &[Word<Label>] {
        let at = |row: usize| self.first_words.get(row).copied().unwrap_or(self.words.len());
        &self.words[at(row)..at(row + 1)]
    }

    pub(crate) fn text(&self, text: Label) -> &Untrusted {
        &self.strings[text.0.get() as usize - 1]
    }

    /// The call of a failed process.
    pub(crate) fn call(&self, row: usize) -> Option<&Call> {
        self.calls.get(&row)
    }

    /// Adds a root in place of a missing one, if a span of the file has a parent that is missing. Call it after the last span.
    ///
    /// Otherwise a child of the root would look like the command.
    pub(crate) fn complete(&mut self) {
        if self.longest_root.is_some() || self.root_is_missing {
            return;
        }
        let ids: HashSet<SpanId> = self.rows.iter().map(|row| row.id).collect();
        let tops = || self.rows.iter().filter(|row| row.parent.is_none_or(|parent| !ids.contains(&parent)));
        let Some(first) = tops().min_by_key(|row| row.start) else { return };
        let Some(missing) = first.parent else { return };
        let end = self.rows.iter().map(|row| row.end).max().unwrap_or(first.end);
        let root = Row {
            id: missing,
            parent: None,
            kind: Kind::Other,
            is_root: true,
            pid: 0,
            parent_pid: 0,
            exit: None,
            crash: None,
            failure: None,
            is_shell: false,
            is_fork: false,
            is_unfinished: false,
            is_repaired: false,
            peer: None,
            cpu: 0,
            run_delay: 0,
            folded: Folded::default(),
            bytes: 0,
            name: first.name,
            start: first.start,
            end,
        };
        self.first_words.push(self.words.len());
        let name = self.intern(NO_ROOT);
        self.rows.push(Row { name, ..root });
        self.root_is_missing = true;
    }

    /// What is missing from the trace, in words. Empty if the trace is complete, or if nothing is known about it.
    pub(crate) fn problems(&self) -> Vec<String> {
        let certificate = &self.about.certificate;
        let losses = certificate.losses.iter();
        let losses = losses.map(|(key, count)| in_words(key, (*count).try_into().unwrap_or_default()));
        let no_root = self.root_is_missing.then(|| "the root span is missing".to_owned());
        let reason = certificate.unobserved.as_ref().map(|reason| reason.exact().to_owned());
        no_root.into_iter().chain(losses).chain(reason).collect()
    }

    fn intern(&mut self, text: &str) -> Label {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let text: Arc<str> = text.into();
        self.strings.push(Arc::clone(&text).into());
        self.bytes += text.len();
        let label = Label(NonZeroU32::MIN.saturating_add(self.known.len() as u32));
        self.known.insert(text, label);
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Tree, read::SavedTrace, story::story};

    #[test]
    fn a_missing_root_is_not_replaced_by_its_child() {
        let story = story("make", 0, 100).starts("cc", 10, 20, |cc| cc.starts("cc1", 11, 5, |cc1| cc1)).starts(
            "ld",
            40,
            50,
            |it| it,
        );
        let mut rows = Rows::default();
        for span in story.spans().iter().filter(|span| span.name != "make") {
            rows.add(&span.into());
        }
        rows.complete();
        rows.complete();
        let tree = Tree::grow(&rows.rows).unwrap();
        assert_eq!((rows.text(rows.rows[tree.root].name).exact(), rows.rows.len()), (NO_ROOT, 4));
        assert_eq!((tree.children(tree.root).len(), rows.rows[tree.root].duration()), (2, 80_000_000));
        assert_eq!(rows.problems(), ["the root span is missing"]);
        let mut rows = story.rows();
        rows.complete();
        assert!(!rows.root_is_missing);
    }

    #[test]
    fn the_calls_of_the_last_failures_are_kept() {
        let many = (0..CALLS as u64 + 500)
            .fold(story("sh", 0, 9000).exits(1), |sh, i| sh.starts("grep", i, 1, |grep| grep.exits(1)));
        let rows = many.rows();
        let last = rows.rows.len() - 2;
        assert!(rows.call(0).is_none() && rows.call(last).is_some(), "the failure that stopped the command comes last");
        assert!(rows.call(last + 1).is_some_and(|call| call.arguments.len() == 1), "the root");
        let long = "x".repeat(BYTES_OF_CALLS / 4);
        let many = (0..9).fold(story("sh", 0, 9000).exits(1), |sh, i| {
            sh.starts("cc", i, 1, |cc| cc.exits(1).arguments(&["cc", &long]))
        });
        let rows = many.rows();
        let kept: Vec<_> = (0..10).filter(|row| rows.call(*row).is_some()).collect();
        assert_eq!(kept, [6, 7, 8, 9]);
    }

    #[test]
    fn an_attribute_does_not_overwrite_the_certificate() {
        let file = concat!(
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#,
            r#"{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0000000000000002","parentSpanId":"0000000000000001","#,
            r#""name":"cc","kind":1,"startTimeUnixNano":"1500000000","endTimeUnixNano":"9000000000","#,
            r#""attributes":[{"key":"process.pid","value":{"intValue":"8"}},"#,
            r#"{"key":"process_tracer.complete","value":{"boolValue":true}}]},"#,
            r#"{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0000000000000001","#,
            r#""name":"make","kind":1,"startTimeUnixNano":"1000000000","endTimeUnixNano":"3500000000","#,
            r#""attributes":[{"key":"process.pid","value":{"intValue":"7"}},"#,
            r#"{"key":"process_tracer.lost.forks","value":{"intValue":"5"}},"#,
            r#"{"key":"process_tracer.complete","value":{"boolValue":true}}]}"#,
            r#"]}]}]}"#,
        );
        let mut rows = Rows::default();
        for span in SavedTrace::new(file.as_bytes(), None) {
            rows.add(&Span::from(&span.unwrap()));
        }
        assert_eq!(rows.rows.iter().map(|row| row.is_root).collect::<Vec<_>>(), [false, true]);
        assert!(!rows.about.certificate.is_complete, "forks are missing");
    }
}
