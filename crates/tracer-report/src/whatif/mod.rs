//! Estimates how long a run would take with other numbers of processors.
//!
//! [`recorded`] makes a graph of dependencies from the trace, and [`replay`] runs it. Two graphs are replayed, a careful one and a
//! bold one. There is no estimate in these cases: the two disagree too much, the trace is incomplete, the run was too
//! short, or the replay does not reproduce the recorded time.

mod recorded;
mod replay;
pub(crate) mod words;

use unicode_width::UnicodeWidthStr;

use self::recorded::{Caution, Recorded};
use crate::{
    analysis::Tree,
    row::{Kind, Rows},
    text::style::{Style, duration},
};

/// In seconds. A shorter run gets no estimate.
const SHORTEST: f64 = 1.0;

/// The largest difference between the replay and the record, as a part of the record.
const TOLERANCE: f64 = 0.15;

/// A larger shortage of CPU time, as a part of the run, makes the record unclear.
const SHORTAGE: f64 = 0.05;

/// Two estimates are shown as one if they differ by at most this part, because the text has only two digits.
const SAME: f64 = 0.1;

/// Two estimates say nothing if one is this many times the other.
const FAR: f64 = 2.0;

/// More processors do not help if they save less than this part of the time.
const HELP: f64 = 0.1;

/// A run mostly waits if its processes use a processor for less than this part of the time.
const BUSY: f64 = 0.5;

/// If the processes together take less than 1.2 times as long as the run, they run one after the other.
const ONE_BY_ONE: f64 = 1.2;

/// What would happen with other numbers of processors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WhatIf {
    /// More processors would not help.
    NoHelp {
        /// Seconds of the run without other work on the machine, if that slowed it down.
        undisturbed: Option<f64>,
        reason: Reason,
    },
    /// More processors would help.
    Help {
        /// As above.
        undisturbed: Option<f64>,
        unlimited: Option<Estimate>,
        /// With this many processors.
        with: Option<(usize, Estimate)>,
        /// There is a build tool. It must start as many jobs as there are processors.
        needs_jobs: bool,
    },
}

/// Why more processors would not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its processes used a processor for less than half of the time.
    Waiting,
    /// At almost any moment, one process works.
    OneByOne,
    /// A chain of processes takes as long as the run.
    Chain,
}

/// Seconds, at least and at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    low: f64,
    high: f64,
}

impl WhatIf {
    /// `None`: the record allows no statement.
    pub(crate) fn of(rows: &Rows, tree: &Tree) -> Option<Self> {
        let (root, about) = (&rows.rows[tree.root], &rows.about);
        let (certificate, words) = (&about.certificate, rows.files()?);
        let cpus = usize::try_from(certificate.cpus).ok().filter(|cpus| *cpus > 0)?;
        let wall = seconds(root.duration());
        let is_whole = root.is_root && root.kind == Kind::Process && certificate.is_complete && rows.left_out == 0;
        // A limit of CPU time or the hypervisor made the processes wait.
        let shortage = &certificate.shortage;
        let taken = seconds(shortage.throttled.saturating_add(shortage.steal));
        if !is_whole || wall < SHORTEST || taken > wall * SHORTAGE || rows.rows.len() > words::PROCESSES {
            return None;
        }
        let recorded = Recorded::new(rows, tree);
        if !is_clear(&recorded, wall, cpus) {
            return None;
        }
        let graphs = [Caution::Low, Caution::High].map(|caution| recorded.graph(words, caution));
        let estimate = |processors: Option<usize>, jobs: Option<usize>| {
            let [low, high] = [graphs[0].replay(processors, jobs)?, graphs[1].replay(processors, jobs)?];
            Some(Estimate { low: low.min(high), high: low.max(high) })
        };
        let jobs = recorded.jobs_at_once;
        // The replay must give the recorded time, without the time in which other work had the processors.
        let again = estimate(Some(cpus), Some(jobs.max(1)))?;
        let expected = wall - seconds(delay_on_the_path(&recorded, rows, tree, cpus, jobs));
        if again.high < expected * (1.0 - TOLERANCE) || again.low > expected.max(wall) * (1.0 + TOLERANCE) {
            return None;
        }
        let undisturbed = Some(again.high).filter(|again| *again < wall * (1.0 - TOLERANCE));
        let base = undisturbed.unwrap_or(wall);
        let unlimited = estimate(None, None)?;
        if unlimited.low > base * (1.0 - HELP) {
            return Some(Self::NoHelp { undisturbed, reason: Reason::of(&recorded, base) });
        }
        // A build with fewer jobs than processors gets an estimate for one job on each processor. Others get one for twice
        // as many processors.
        let more = if jobs > 0 && jobs < cpus { cpus } else { cpus.saturating_mul(2) };
        let is_help = |estimate: &Estimate| estimate.is_close() && estimate.high < base * (1.0 - HELP);
        let with = estimate(Some(more), Some(more)).filter(is_help);
        let unlimited = Some(unlimited).filter(is_help);
        if with.is_none() && unlimited.is_none() {
            return None;
        }
        Some(Self::Help { undisturbed, unlimited, with: with.map(|with| (more, with)), needs_jobs: jobs > 0 })
    }

    /// The statement.
    pub(crate) fn text(&self, style: &Style) -> String {
        self.parts(style).join("; ")
    }

    /// The statement as lines of at most this width, if its parts are not longer.
    pub(crate) fn lines(&self, width: usize, style: &Style) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for part in self.parts(style) {
            match lines.last_mut() {
                Some(line) if line.width() + 2 + part.width() <= width => *line = format!("{line}; {part}"),
                _ => lines.push(part),
            }
        }
        lines
    }

    fn parts(&self, style: &Style) -> Vec<String> {
        let mut parts = Vec::new();
        let (Self::NoHelp { undisturbed, .. } | Self::Help { undisturbed, .. }) = self;
        if let Some(undisturbed) = undisturbed {
            parts.push(format!("without other work on the machine: about {}", rounded(*undisturbed, style)));
        }
        let (unlimited, with, needs_jobs) = match self {
            Self::NoHelp { reason, .. } => {
                parts.push(format!("more processors would not help: {}", reason.text()));
                return parts;
            }
            Self::Help { unlimited, with, needs_jobs, .. } => (unlimited, with, *needs_jobs),
        };
        if let Some(unlimited) = unlimited {
            let jobs = if needs_jobs { " and -j" } else { "" };
            parts.push(format!("with unlimited processors{jobs}: about {} (the critical path)", unlimited.text(style)));
        }
        if let Some((count, estimate)) = with {
            let processors = if unlimited.is_some() { "" } else { " processors" };
            let jobs = if needs_jobs { format!(" and -j{count}") } else { String::new() };
            parts.push(format!("with {count}{processors}{jobs}: about {}", estimate.text(style)));
        }
        parts
    }
}

impl Reason {
    fn of(recorded: &Recorded<'_>, base: f64) -> Self {
        let cpu: f64 = recorded.processes().map(|(row, _)| seconds(row.cpu)).sum();
        let own: f64 = recorded.processes().map(|(row, own)| seconds(own.saturating_sub(row.run_delay))).sum();
        match () {
            () if cpu < base * BUSY => Self::Waiting,
            () if own < base * ONE_BY_ONE => Self::OneByOne,
            () => Self::Chain,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Waiting => "it mostly waits",
            Self::OneByOne => "its steps run one after the other",
            Self::Chain => "the critical path takes as long",
        }
    }
}

impl Estimate {
    fn is_close(&self) -> bool {
        self.high <= self.low * FAR
    }

    fn text(&self, style: &Style) -> String {
        let Self { low, high } = *self;
        if high <= low * (1.0 + SAME) {
            return rounded(f64::midpoint(low, high), style);
        }
        format!("{} to {}", rounded(low, style), rounded(high, style))
    }
}

/// A duration with two digits.
fn rounded(seconds: f64, style: &Style) -> String {
    match seconds {
        9.95..99.5 => format!("{seconds:.0} s"),
        0.95..9.95 => format!("{seconds:.1} s"),
        _ => {
            let unit = 10_f64.powf(seconds.max(1e-9).log10().floor() - 1.0);
            duration(((seconds / unit).round() * unit * 1e9) as u64, style)
        }
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// Whether the record shows what the processes needed.
fn is_clear(recorded: &Recorded<'_>, wall: f64, cpus: usize) -> bool {
    let (mut cpu, mut threaded, mut delay, mut folded) = (0.0, 0.0, 0.0, 0.0);
    for (row, own) in recorded.processes() {
        if row.is_unfinished || row.is_repaired {
            return false;
        }
        cpu += seconds(row.cpu);
        delay += seconds(row.run_delay);
        // Processes without a span are not in the graph.
        folded += seconds(row.folded.cpu);
        // CPU time above the own time has two possible reasons. The process has several threads, which would run
        // differently with another number of processors. Or the process also works while its children run.
        if row.cpu > own.saturating_add(own / 10).saturating_add(20_000_000) {
            threaded += seconds(row.cpu);
        }
    }
    // On a busy machine, processes also wait for a processor. If the kernel does not report this time, nobody knows why a
    // process waited.
    let is_understood = delay > 0.0 || cpu < wall * cpus as f64 * 0.8;
    cpu > 0.0 && threaded + folded < cpu * 0.1 && is_understood && recorded.unknown_order() < 0.2
}

/// The time on the critical path in which processes waited for a processor although the command itself left one free.
fn delay_on_the_path(recorded: &Recorded<'_>, rows: &Rows, tree: &Tree, cpus: usize, jobs: usize) -> u64 {
    if jobs > cpus {
        return 0;
    }
    let delay = |(row, length): (usize, u64)| {
        let (it, own) = recorded.process(row)?;
        Some((it.run_delay.min(own) as f64 * (length as f64 / own.max(1) as f64)) as u64)
    };
    let path = tree.critical_path(&rows.rows).map(|stretch| (stretch.row, stretch.end - stretch.start));
    path.filter_map(delay).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        formats::Text,
        story::{Story, story},
        text::{TextReport, style::PLAIN},
    };

    fn line(story: &Story) -> Option<String> {
        let mut rows = Rows::default().with_files();
        for span in &story.spans() {
            rows.add(&span.into());
        }
        what_if(&rows)
    }

    fn what_if(rows: &Rows) -> Option<String> {
        let tree = Tree::grow(&rows.rows).unwrap();
        Some(WhatIf::of(rows, &tree)?.text(&PLAIN))
    }

    /// `make -j1` with this many compiles of a second each, and a link of two seconds.
    fn make(compiles: u64) -> Story {
        let mut make = story("make", 0, 1000 * compiles + 2100).cpu(100).arguments(&["make"]);
        for number in 0..compiles {
            let (source, object) = (format!("f{number}.c"), format!("f{number}.o"));
            let arguments = ["cc", "-O2", "-c", &source, "-o", &object];
            make = make.starts("cc", 100 + 1000 * number, 1000, |cc| cc.cpu(1000).arguments(&arguments));
        }
        let objects: Vec<_> = (0..compiles).map(|number| format!("f{number}.o")).collect();
        let arguments: Vec<_> = ["cc", "-o", "prog"].into_iter().chain(objects.iter().map(String::as_str)).collect();
        make.starts("cc", 100 + 1000 * compiles, 2000, |ld| ld.cpu(2000).arguments(&arguments))
    }

    #[test]
    fn jobs_of_make_can_run_at_the_same_time() {
        // 12 s of compiles on 2 processors, then 2 s of the link, which needs all object files.
        let expected = "with unlimited processors and -j: about 3.1 s (the critical path); with 2 and -j2: about 8.1 s";
        assert_eq!(line(&make(12)).unwrap(), expected);
    }

    #[test]
    fn the_summary_has_the_statement_within_its_width() {
        for (text, expected) in [
            (
                Text::Summary,
                "\n  with unlimited processors and -j: about 3.1 s (the critical path)\n  with 2 and -j2: about 8.1 s\n\n",
            ),
            (
                Text::Markdown,
                "\n\nWhat if: with unlimited processors and -j: about 3.1 s (the critical path); with 2 and",
            ),
        ] {
            let mut report = TextReport::new(text, usize::MAX);
            for span in &make(12).spans() {
                report.add(&span.into());
            }
            let shown = report.render(&PLAIN);
            assert!(shown.contains(expected), "{shown}");
        }
    }

    #[test]
    fn steps_of_a_shell_stay_one_after_the_other() {
        let steps = |cpu| {
            (0..5).fold(story("sh", 0, 5000).arguments(&["/bin/sh", "build.sh"]), |sh, step| {
                sh.starts("cc", 1000 * step, 1000, |cc| cc.cpu(cpu))
            })
        };
        assert_eq!(line(&steps(1000)).unwrap(), "more processors would not help: its steps run one after the other");
        assert_eq!(line(&steps(10)).unwrap(), "more processors would not help: it mostly waits");
        let beside = steps(1000).starts("lint", 0, 2000, |it| it.cpu(2000));
        assert_eq!(line(&beside).unwrap(), "more processors would not help: the critical path takes as long");
        // Other work had the processors for half of the time.
        let disturbed = (0..5)
            .fold(story("sh", 0, 5000), |sh, step| sh.starts("cc", 1000 * step, 1000, |cc| cc.cpu(500).run_delay(500)));
        let expected = "without other work on the machine: about 2.5 s; \
                        more processors would not help: its steps run one after the other";
        assert_eq!(line(&disturbed).unwrap(), expected);
    }

    #[test]
    fn with_more_processors_waiting_processes_run_at_the_same_time() {
        // A shell starts 4 processes in the background. Each needs a second, and 2 processors have room for 2.
        let mut sh = story("sh", 0, 2000);
        for _ in 0..4 {
            sh = sh.starts("work", 0, 2000, |work| work.cpu(1000).run_delay(1000));
        }
        let expected = "with unlimited processors: about 1.0 s (the critical path); with 4: about 1.0 s";
        assert_eq!(line(&sh).unwrap(), expected);
    }

    #[test]
    fn other_work_on_the_machine_is_named() {
        // Each second of compiling took two, because other work had the processors.
        let mut make = story("make", 0, 12_000).cpu(10).arguments(&["make"]);
        for number in 0..6 {
            let source = format!("f{number}.c");
            let arguments = ["cc", "-c", &source];
            make = make.starts("cc", 2000 * number, 2000, |cc| cc.cpu(1000).run_delay(1000).arguments(&arguments));
        }
        let expected = "without other work on the machine: about 6.0 s; \
                        with unlimited processors and -j: about 1.0 s (the critical path); with 2 and -j2: about 3.0 s";
        assert_eq!(line(&make).unwrap(), expected);
    }

    #[test]
    fn there_is_no_estimate_if_jobs_of_different_kinds_may_depend_on_each_other() {
        // After each compile comes a tool that names no common file. The tool may depend on the compile or not.
        let mut make = story("make", 0, 8000).arguments(&["make"]);
        for number in 0..4 {
            make = make.starts("cc", 2000 * number, 1000, |cc| cc.cpu(1000).arguments(&["cc", &format!("{number}.c")]));
            make = make.starts("gen", 2000 * number + 1000, 1000, |it| it.cpu(1000).arguments(&["gen"]));
        }
        assert_eq!(line(&make), None, "1 s to 8 s");
    }

    #[test]
    fn a_record_that_shows_too_little_gives_no_statement() {
        assert_eq!(line(&story("sh", 0, 900).cpu(900)), None, "too short");
        assert_eq!(line(&story("sh", 0, 5000).starts("sleep", 0, 5000, |it| it)), None, "no CPU times");
        let threads = story("sh", 0, 5000).starts("ld", 0, 5000, |it| it.cpu(9000));
        assert_eq!(line(&threads), None, "threads");
        let mut pool = story("pytest", 0, 4000).cpu(10);
        for start in [0, 0, 2000, 2000] {
            pool = pool.starts("test", start, 2000, |it| it.cpu(1900));
        }
        assert_eq!(line(&pool), None, "unknown order");
        let mut rows = Rows::default().with_files();
        for span in &make(12).spans() {
            rows.add(&span.into());
        }
        assert!(what_if(&rows).is_some());
        rows.about.certificate.is_complete = false;
        assert_eq!(what_if(&rows), None, "incomplete");
        assert_eq!(what_if(&make(12).rows()), None, "the files of command lines are not kept");
    }

    #[test]
    fn estimates_have_two_digits() {
        let shown = [0.0123, 0.96, 4.04, 41.4, 102.0, 754.0].map(|seconds| rounded(seconds, &PLAIN));
        assert_eq!(shown, ["12.0 ms", "1.0 s", "4.0 s", "41 s", "1m 40s", "12m 30s"]);
        let text = |low, high| Estimate { low, high }.text(&PLAIN);
        assert_eq!((text(10.0, 10.8).as_str(), text(10.0, 14.0).as_str()), ("10 s", "10 s to 14 s"));
    }
}
