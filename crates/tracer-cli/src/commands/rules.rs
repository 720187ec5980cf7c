//! `process-tracer rules`: checks a rules file with the processes of a saved trace or of a command, and prints the built-in
//! rules.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::{Context, Result};
use tracer_model::{
    SpanId,
    expression::Failure,
    judge::{Fate, Judge, Lineage, Rules, Ruling, Subject},
    tags,
};
use tracer_report::{Judged, untrusted::visible};
use tracer_rules::{Book, Met, Names, RulesJudge};

use super::saved;
use crate::{
    child::{inheritance::Inheritance, outcome::Outcome},
    cli::config::Config,
    console::{self, counted},
    rules, run,
    tags::Tagging,
    threads::SingleThread,
};

/// Prints the built-in rules for names.
///
/// # Errors
///
/// stdout cannot be written.
pub(crate) fn builtin(names: Names) -> Result<()> {
    console::print(names.file().as_bytes())
}

/// A rules file without mistakes.
pub(crate) struct RulesFile<'a> {
    path: &'a Path,
    book: Book,
}

impl<'a> RulesFile<'a> {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It cannot be used.
    pub(crate) fn read(path: &'a Path) -> Result<Self> {
        Ok(Self { path, book: rules::read(path)? })
    }

    /// Prints that the file has no mistakes. Warns if this machine cannot run the command that prints tags.
    ///
    /// # Errors
    ///
    /// stdout cannot be written.
    pub(crate) fn say_size(mut self) -> Result<()> {
        if let Err(error) = self.take_tagging() {
            console::warn(format_args!("{error:#}"));
        }
        let mut rules = counted(self.book.len() as u64, "rule");
        if self.book.connection_rules() > 0 {
            rules += " for processes, ";
            rules += &counted(self.book.connection_rules() as u64, "rule");
            rules += " for connections";
        }
        console::print(visible(&format!("{}: {rules}, no mistakes", self.path.display())).into_owned() + "\n")
    }

    fn take_tagging(&mut self) -> Result<Option<Tagging>> {
        self.book.take_tags().map(Tagging::new).transpose().with_context(|| self.path.display().to_string())
    }

    /// Prints the rules that match each process of a saved trace.
    ///
    /// # Errors
    ///
    /// The trace cannot be read, or stdout cannot be written.
    pub(crate) fn check_trace(self, trace: &Path) -> Result<()> {
        if self.book.needs_environment() {
            console::warn("a saved trace has no environments, so rules with 'env' match no process");
        }
        let mut processes = Vec::new();
        saved::read(trace, None, |span| {
            processes.extend(Judged::of(span));
            Ok(())
        })?;
        processes.sort_by_key(|process| (process.start, process.pid));
        let mut judge = RulesJudge::new(self.book, Names::Plain);
        let mut lineages: BTreeMap<SpanId, Lineage> = BTreeMap::new();
        let mut text = String::new();
        // A process begins after the process above it.
        for process in processes {
            let is_tag = |(key, _): &(String, _)| key.starts_with(tags::PREFIX);
            let (tags, attributes): (Vec<_>, Vec<_>) = process.attributes.into_iter().partition(is_tag);
            let lineage = process.parent.and_then(|parent| lineages.get(&parent)).cloned().unwrap_or_default();
            lineages.insert(process.id, judge.extend(&lineage, process.image.name()));
            let subject = Subject {
                pid: process.pid,
                parent_pid: process.parent_pid,
                start: process.start,
                at: process.start,
                image: &process.image,
                environment: None,
                attributes: &attributes,
                tags: Some(&tags),
                lineage: &lineage,
            };
            let mut met = Vec::new();
            let ruling = judge.judge_and_tell(&subject, |rule| met.push(rule));
            write_line(&mut text, &subject, process.is_root, &met, &ruling);
        }
        for failure in judge.failures() {
            console::warn(failure);
        }
        console::print(text)
    }

    /// Runs the command, and prints the rules that match each process.
    ///
    /// # Errors
    ///
    /// The command cannot be started, or stdout cannot be written.
    pub(crate) fn check_run(mut self, config: Config, inheritance: Inheritance, single: SingleThread) -> Result<()> {
        let tagging = self.take_tagging()?;
        let lines: Lines = Arc::default();
        let judge = RulesJudge::new(self.book, Names::Plain);
        let judge = Box::new(Told { judge, root: None, lines: Arc::clone(&lines) });
        let rules = Rules { judge: Some(judge), above: rules::names_above(), ..Rules::default() };
        let outcome = run::run(config.restrict_to(rules, tagging), inheritance, single)?;
        if outcome != Outcome::Exited(0) {
            console::warn(format_args!("the command ended with status {}", outcome.status()));
        }
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        console::print(lines.values().map(String::as_str).collect::<String>())
    }
}

/// A process: the time of its start, and its pid.
type Key = (SystemTime, u32);

/// The lines of processes, in the order of their starts.
type Lines = Arc<Mutex<BTreeMap<Key, String>>>;

/// Applies the rules, and keeps a line about each process.
#[derive(Debug)]
struct Told {
    judge: RulesJudge,
    /// The first process to which the rules are applied.
    root: Option<Key>,
    lines: Lines,
}

impl Judge for Told {
    fn judge(&mut self, subject: &Subject<'_>) -> Ruling {
        let mut met = Vec::new();
        let ruling = self.judge.judge_and_tell(subject, |rule| met.push(rule));
        let mut text = String::new();
        let key = (subject.start, subject.pid);
        let is_root = *self.root.get_or_insert(key) == key;
        write_line(&mut text, subject, is_root, &met, &ruling);
        // The rules are applied again after each exec, and at the end if tags matter. The last result counts.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(key, text);
        ruling
    }

    fn judges_forks(&self) -> bool {
        // Each process gets a line.
        true
    }

    fn judges_tags(&self) -> bool {
        self.judge.judges_tags()
    }

    fn may_drop(&self) -> bool {
        self.judge.may_drop()
    }

    fn needs_environment(&self) -> bool {
        self.judge.needs_environment()
    }

    fn lineage_of(&self, names: &[String]) -> Lineage {
        self.judge.lineage_of(names)
    }

    fn extend(&self, above: &Lineage, name: &str) -> Lineage {
        self.judge.extend(above, name)
    }

    fn failures(&self) -> Vec<Failure<'_>> {
        self.judge.failures()
    }
}

/// Writes one line: the process, its rules, and their effects.
fn write_line(text: &mut String, subject: &Subject<'_>, is_root: bool, met: &[Met], ruling: &Ruling) {
    let mut line = format!("{} {}: ", subject.pid, subject.image.name());
    let rules: Vec<_> = met.iter().map(describe).collect();
    line += if rules.is_empty() { "no rule" } else { "" };
    line += &rules.join(", ");
    if let Some(name) = &ruling.name {
        let _ = write!(line, "; name '{name}'");
    }
    if let Some(group) = &ruling.group {
        let _ = write!(line, "; group '{}'", group.name);
    }
    for (key, _) in &ruling.attributes {
        let _ = write!(line, "; attribute {key}");
    }
    match ruling.fate {
        Fate::Keep => {}
        Fate::Drop { .. } if is_root => line += "; kept, because it is the root",
        Fate::Drop { always, shorter_than } => {
            line += if always { "; always left out" } else { "; left out" };
            if let Some(limit) = shorter_than {
                let _ = write!(line, " if it lives shorter than {limit:?}");
            }
            line += if always { "" } else { ", unless it fails" };
        }
    }
    text.push_str(&visible(&line));
    text.push('\n');
}

fn describe(met: &Met) -> String {
    let number = met.rule + 1;
    met.place.map_or_else(|| format!("rule {number}"), |place| format!("rule {number} (line {})", place.line))
}
