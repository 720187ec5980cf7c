//! A run, reduced to its steps.
//!
//! A step is a command line at a place in the tree. Processes with the same command line under the same step are one
//! step. So a run of 100,000 processes has few steps, and two runs can be aligned step by step.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use tracer_model::event::TEMPORARY_FOLDERS;

use crate::{
    analysis::Tree,
    by::{By, Shares, Totals},
    row::{Kind, Label, Rows},
    span::Span,
    untrusted::Untrusted,
    words::Word,
};

/// Stands between the arguments of a command line.
pub(super) const SEPARATOR: char = '\0';

/// Collects the spans of a run.
#[derive(Debug, Default)]
pub struct Recording {
    rows: Rows,
    /// The command line of each row.
    commands: Vec<Arc<str>>,
    known: HashSet<Arc<str>>,
    /// The working directories of runs, by the row of their first process.
    directories: HashMap<usize, Untrusted>,
    shares: Option<Shares>,
}

/// A run, reduced to its steps. Parents come before their children.
#[derive(Debug)]
pub struct Run {
    pub(super) trace_id: String,
    pub(super) is_complete: bool,
    /// The first step stands for the root, whose span is missing.
    pub(super) root_is_missing: bool,
    /// The command as it was typed.
    pub(super) arguments: Vec<Untrusted>,
    /// Nanoseconds.
    pub(super) wall: u64,
    pub(super) cpu: u64,
    pub(super) processes: u64,
    pub(super) steps: Vec<Step>,
    /// If they were asked for.
    pub(super) totals: Option<Totals>,
}

/// The processes with one command line at one place.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) parent: Option<usize>,
    pub(super) name: Untrusted,
    /// The arguments, without the parts that are different in each run.
    pub(super) command: Arc<str>,
    /// The arguments of the first process, unchanged.
    pub(super) arguments: Arc<str>,
    /// The words of `command`.
    pub(super) words: Vec<Word<Untrusted>>,
    pub(super) processes: u64,
    /// Nanoseconds.
    pub(super) own: u64,
    pub(super) cpu: u64,
    pub(super) critical: u64,
    /// The failed processes by their reason.
    pub(super) failures: BTreeMap<Untrusted, u64>,
}

impl Recording {
    /// Begins without spans. With `by`, it also adds up the processes by this property.
    pub fn new(by: Option<By>) -> Self {
        Self { shares: by.map(Shares::new), ..Self::default() }
    }

    /// Adds a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &Span<'_>) {
        let Some(row) = self.rows.insert(span) else { return };
        let call = span.short_call();
        let command = self.intern(joined(&call.arguments));
        self.commands.push(command);
        if let Some(directory) = call.directory.filter(|_| span.is_root() || span.is_run()) {
            self.directories.insert(row, directory);
        }
        if let Some(shares) = &mut self.shares {
            shares.add(row, span);
        }
    }

    fn intern(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.known.get(text.as_str()) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.known.insert(Arc::clone(&text));
        text
    }

    /// Reduces the spans to steps. `None` without any span.
    pub fn reduce(mut self) -> Option<Run> {
        self.rows.complete();
        self.commands.resize(self.rows.rows.len(), "".into());
        let tree = Tree::grow(&self.rows.rows)?;
        let own = tree.own_time(&self.rows.rows);
        if self.rows.rows[tree.root].is_root {
            self.commands[tree.root] = joined(&self.rows.about.arguments).into();
        }
        let mut run = Run {
            trace_id: self.rows.about.trace_id.clone(),
            is_complete: self.rows.about.certificate.is_complete && self.rows.left_out == 0,
            root_is_missing: self.rows.root_is_missing,
            arguments: self.rows.about.arguments.clone(),
            wall: self.rows.rows[tree.root].duration(),
            cpu: 0,
            processes: 0,
            steps: Vec::new(),
            totals: self.shares.as_ref().map(|shares| shares.totals(&self.rows.rows, &tree)),
        };
        let mut known: HashMap<(Option<usize>, Label, Arc<str>), usize> = HashMap::new();
        let mut of_row: Vec<Option<usize>> = vec![None; self.rows.rows.len()];
        let mut open = vec![(tree.root, None, None)];
        while let Some((index, above, directory_above)) = open.pop() {
            // The span above several runs has no directory. The folder of an outer run also counts for the runs inside it.
            let directory = directory_above.or_else(|| self.directories.get(&index));
            let without_folder = |text: &str| normal(text, directory.map_or("", Untrusted::exact));
            let row = &self.rows.rows[index];
            let name = self.rows.text(row.name);
            let is_process = row.kind == Kind::Process;
            // A fork with its parent's name does the parent's work.
            let is_same = above.is_some_and(|above: usize| row.is_fork && run.steps[above].name == *name);
            let is_step = is_process || row.kind == Kind::Runs || run.root_is_missing && index == tree.root;
            let step = if !is_step || is_same {
                above
            } else {
                let command: Arc<str> = without_folder(&self.commands[index]).into();
                Some(*known.entry((above, row.name, Arc::clone(&command))).or_insert_with(|| {
                    let arguments = Arc::clone(&self.commands[index]);
                    let word = |Word { text, role }: &Word<Label>| Word {
                        text: without_folder(self.rows.text(*text).exact()).into(),
                        role: *role,
                    };
                    let words = self.rows.words(index).iter().map(word).collect();
                    run.steps.push(Step::new(above, name.clone(), command, arguments, words));
                    run.steps.len() - 1
                }))
            };
            of_row[index] = step;
            if let Some(step) = step.filter(|_| is_process) {
                let step = &mut run.steps[step];
                step.processes += 1;
                step.own = step.own.saturating_add(own[index]);
                step.cpu = step.cpu.saturating_add(row.cpu);
                if let Some(failure) = row.failure {
                    *step.failures.entry(self.rows.text(failure).clone()).or_default() += 1;
                }
                run.processes = run.processes.saturating_add(1).saturating_add(row.folded.processes);
                run.cpu = run.cpu.saturating_add(row.cpu).saturating_add(row.folded.cpu);
            }
            open.extend(tree.children(index).iter().rev().map(|child| (*child as usize, step, directory)));
        }
        for stretch in tree.critical_path(&self.rows.rows) {
            if let Some(step) = of_row[stretch.row] {
                run.steps[step].critical += stretch.end - stretch.start;
            }
        }
        Some(run)
    }
}

impl Step {
    fn new(
        parent: Option<usize>,
        name: Untrusted,
        command: Arc<str>,
        arguments: Arc<str>,
        words: Vec<Word<Untrusted>>,
    ) -> Self {
        let failures = BTreeMap::new();
        Self { parent, name, command, arguments, words, processes: 0, own: 0, cpu: 0, critical: 0, failures }
    }
}

fn joined(arguments: &[Untrusted]) -> String {
    let mut text = String::new();
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            text.push(SEPARATOR);
        }
        text.push_str(argument.exact());
    }
    text
}

/// The command line without the parts that are different in each run: the folder in which the run began, and the names
/// directly below a folder for temporary files. Endings such as `.s` stay.
fn normal(command: &str, directory: &str) -> String {
    let mut text = if directory.len() > 1 { without(command, directory) } else { command.to_owned() };
    for folder in TEMPORARY_FOLDERS {
        let mut from = 0;
        while let Some(at) = text[from..].find(folder).map(|at| from + at) {
            let name = at + folder.len();
            from = name;
            if ends_within_path(&text[..at]) {
                continue;
            }
            let end = text[name..].find(|c: char| !is_of_path(c) || c == '/').map_or(text.len(), |end| name + end);
            let ending = text[name..end].rfind('.').filter(|dot| *dot > 0).map_or(end, |dot| name + dot);
            if end > name {
                text.replace_range(name..ending, "*");
            }
        }
    }
    text
}

/// Replaces a folder with a dot.
fn without(text: &str, folder: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(folder) {
        let (before, after) = (&rest[..at], &rest[at + folder.len()..]);
        let is_start = !ends_within_path(before);
        let is_whole = after.chars().next().is_none_or(|c| c == '/' || !is_of_path(c));
        kept.push_str(before);
        kept.push_str(if is_start && is_whole { "." } else { folder });
        rest = after;
    }
    kept + rest
}

/// Whether a path goes on after this text. An option such as `-I` can have a path behind it.
fn ends_within_path(text: &str) -> bool {
    let part = text.rsplit(|c| !is_of_path(c)).next().unwrap_or_default();
    !part.is_empty() && (part.contains('/') || !part.starts_with('-'))
}

/// Whether a path in a command line usually goes on with this character.
fn is_of_path(c: char) -> bool {
    c.is_alphanumeric() || "/._-+~@%".contains(c)
}

#[cfg(test)]
pub(super) mod tests {
    use std::iter;

    use tracer_model::{Value, semconv};

    use super::*;
    use crate::{runs::Runs, story::Story};

    /// The steps of a small trace.
    pub(in crate::diff) fn run(story: &Story) -> Run {
        let mut recording = Recording::default();
        for span in &story.spans() {
            recording.add(&span.into());
        }
        recording.reduce().unwrap()
    }

    #[test]
    fn parts_that_are_different_in_each_run_are_left_out() {
        for (text, expected) in [
            ("as\0/tmp/ccAbc1.s\0-o\0a.o", "as\0/tmp/*.s\0-o\0a.o"),
            ("-fresolution=/tmp/ccX.res", "-fresolution=/tmp/*.res"),
            ("-I/tmp/x/include", "-I/tmp/*/include"),
            ("/tmp/build-1/src/a.c", "/tmp/*/src/a.c"),
            ("/var/tmp/x /dev/shm/y", "/var/tmp/* /dev/shm/*"),
            ("/home/tmp/a.c", "/home/tmp/a.c"),
            ("/tmp/", "/tmp/"),
            ("/tmp/.hidden", "/tmp/*"),
        ] {
            assert_eq!(normal(text, ""), expected, "{text:?}");
        }
        assert_eq!(normal("-I/home/a/v1/include\0/home/a/v12\0cd /home/a/v1", "/home/a/v1"), {
            "-I./include\0/home/a/v12\0cd ."
        });
        assert_eq!(normal("/tmp/one/src/a.c", "/tmp/one"), "./src/a.c");
        assert_eq!(normal("/a /", "/"), "/a /");
    }

    #[test]
    fn a_missing_root_is_not_replaced_by_its_child() {
        let whole =
            crate::story::story("sh", 0, 300).starts("sleep", 10, 50, |sleep| sleep).starts("cc", 70, 200, |cc| cc);
        let mut recording = Recording::default();
        for span in whole.spans().iter().filter(|span| span.name != "sh") {
            recording.add(&span.into());
        }
        let run = recording.reduce().unwrap();
        let steps: Vec<_> = run.steps.iter().map(|step| (step.name.exact(), step.parent, step.processes)).collect();
        assert_eq!(steps, [("(the root span is missing)", None, 0), ("sleep", Some(0), 1), ("cc", Some(0), 1)]);
        assert_eq!((run.wall, run.processes, run.is_complete), (260_000_000, 2, false));
    }

    #[test]
    fn the_folder_of_each_of_several_runs_is_left_out() {
        let mut runs = Runs::default();
        let mut recording = Recording::default();
        for (number, folder) in [(1, "/one"), (2, "/two")] {
            let source = format!("{folder}/a.c");
            let story =
                crate::story::story("make", 0, 100).starts("cc", 10, 20, |cc| cc.arguments(&["cc", source.as_str()]));
            for mut span in story.spans() {
                for id in iter::once(&mut span.span_id).chain(&mut span.parent_id) {
                    id.0[0] = number;
                }
                for (key, value) in &mut span.attributes {
                    if key == semconv::PROCESS_WORKING_DIRECTORY {
                        *value = Value::String(folder.to_owned());
                    }
                }
                if let Some(span) = runs.take(span) {
                    recording.add(&(&span).into());
                }
            }
        }
        for span in &runs.finish() {
            recording.add(&span.into());
        }
        let run = recording.reduce().unwrap();
        let steps: Vec<_> = run.steps.iter().map(|step| (step.name.exact(), &*step.command, step.processes)).collect();
        assert_eq!(steps, [("2 runs", "", 0), ("make", "make", 2), ("cc", "cc\0./a.c", 2)]);
    }

    #[test]
    fn processes_with_the_same_command_line_at_the_same_place_are_one_step() {
        let cc = |story: Story, at, file: &str| {
            story.starts("cc", at, 10, |cc| cc.cpu(5).arguments(&["cc", file]).exits(i64::from(file == "b.c")))
        };
        let story = crate::story::story("make", 0, 100).starts("make", 0, 5, Story::forks);
        let run = run(&cc(cc(cc(story, 10, "a.c"), 20, "b.c"), 30, "b.c"));
        let steps: Vec<_> =
            run.steps.iter().map(|step| (step.name.exact(), step.processes, step.own / 1_000_000)).collect();
        assert_eq!(steps, [("make", 2, 70), ("cc", 1, 10), ("cc", 2, 20)], "the fork is no step");
        assert_eq!((run.processes, run.cpu), (5, 15_000_000));
        assert_eq!(run.steps[2].failures.values().sum::<u64>(), 2);
        assert_eq!(run.steps.iter().map(|step| step.critical).sum::<u64>(), run.wall);
    }
}
