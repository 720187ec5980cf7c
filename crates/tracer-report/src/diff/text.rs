//! The comparison for a terminal.

use std::{collections::HashMap, fmt::Write};

use unicode_width::UnicodeWidthStr;

use super::{
    compare::{ComparedStep, Comparison, Presence, Regression},
    sample::{Change, Sample},
    steps::Run,
};
use crate::text::{
    compare_totals,
    style::{Style, align, duration, pad},
};

/// The most lines of a table.
const LINES: usize = 12;

impl Comparison {
    /// The comparison as text: the totals, what changed on the critical path, statuses, steps and names.
    pub fn text(&self, style: &Style) -> String {
        let mut text = String::new();
        self.totals(style, &mut text);
        let changed = self.changed(|step| &step.critical);
        steps("critical path", changed, |step| &step.critical, style, &mut text);
        self.outcomes(style, &mut text);
        self.branches("new steps", Presence::OnlyAfter, style, &mut text);
        self.branches("gone steps", Presence::OnlyBefore, style, &mut text);
        self.commands(style, &mut text);
        self.by_name(style, &mut text);
        steps("by step, own time", self.changed(|step| &step.own), |step| &step.own, style, &mut text);
        if let [Run { totals: Some(before), .. }, Run { totals: Some(after), .. }] = &self.runs[..] {
            text.push_str(&compare_totals(before, after, style));
        }
        self.verdict(style, &mut text);
        text
    }

    fn totals(&self, style: &Style, text: &mut String) {
        let has_noise = self.runs.len() > 2;
        let heading = format!("{} {:>9} {:>9}  change", pad("", 12), "before", "after");
        let _ = writeln!(text, "{}", style.dim(&heading));
        for (name, amount) in [("took", &self.wall), ("CPU time", &self.cpu)] {
            let sides = [&amount.before, &amount.after].map(|side| align(&duration(side.median(), style), 9));
            let _ = writeln!(text, "{} {}  {}", pad(name, 12), sides.join(" "), change(amount, style));
        }
        let difference = count_change(&self.processes, style);
        let count = |side: &Sample| side.median().to_string();
        let [before, after] = [&self.processes.before, &self.processes.after].map(count);
        let _ = writeln!(text, "{} {before:>9} {after:>9}  {difference}", pad("processes", 12));
        if has_noise {
            let (before, after) = (self.runs_before, self.runs.len() - self.runs_before);
            let note = format!(
                "medians of {before} and {after} runs; {}: the noise (largest distances from the medians, added up)",
                style.plus_minus()
            );
            let _ = writeln!(text, "{}", style.dim(&style.cut_end(&note, style.width)));
        }
        for note in self.notes() {
            let _ = writeln!(text, "{}", style.red(&note));
        }
    }

    fn outcomes(&self, style: &Style, text: &mut String) {
        let steps = self.with_other_outcome();
        let lines = steps.iter().map(|step| {
            let change = format!("{} {} {}", step.outcome(0, style), arrow(style), step.outcome(1, style));
            (step.chain(style), change)
        });
        list("exit statuses", lines.collect(), style, text);
    }

    fn branches(&self, title: &str, side: Presence, style: &Style, text: &mut String) {
        let number = usize::from(side == Presence::OnlyAfter);
        let lines = self.only_on(side).into_iter().map(|branch| {
            let processes = if branch.processes == 1 { "process" } else { "processes" };
            let mut facts = format!("{}, {} {processes}", duration(branch.own, style), branch.processes);
            let outcome = branch.top.outcome(number, style);
            if outcome != "ok" {
                facts = format!("{facts}, {outcome}");
            }
            (branch.top.chain(style), facts)
        });
        list(title, lines.collect(), style, text);
    }

    fn commands(&self, style: &Style, text: &mut String) {
        let lines = self.command_changes(style).into_iter().map(|change| {
            let [before, after] = &change.words;
            (change.steps, format!("{before} {} {after}", arrow(style)))
        });
        list("changed command lines", lines.collect(), style, text);
    }

    /// The changes of command lines. Steps with the same change are one entry.
    pub(super) fn command_changes(&self, style: &Style) -> Vec<CommandChange> {
        let mut changes: Vec<([String; 2], &ComparedStep, usize)> = Vec::new();
        let mut known: HashMap<[String; 2], usize> = HashMap::new();
        for step in self.with_other_command() {
            let words = [0, 1].map(|side| step.words_of(side, style));
            let place = *known.entry(words.clone()).or_insert(changes.len());
            match changes.get_mut(place) {
                Some((.., others)) => *others += 1,
                None => changes.push((words, step, 0)),
            }
        }
        let change = |(words, step, others): ([String; 2], &ComparedStep, usize)| CommandChange {
            steps: if others == 0 { step.chain(style) } else { format!("{} and {others} more", step.chain(style)) },
            words,
        };
        changes.into_iter().map(change).collect()
    }

    fn by_name(&self, style: &Style, text: &mut String) {
        let all = self.names.iter().filter(|name| name.own.size() > 0 || name.processes.size() > 0);
        let (changed, noise): (Vec<_>, Vec<_>) =
            all.partition(|name| name.own.is_beyond_noise() || name.processes.is_beyond_noise());
        let rows = changed.iter().map(|name| (style.show(&name.name), &name.processes, &name.own));
        table("by name, own time", rows.collect(), noise.len(), style, text);
    }

    fn verdict(&self, style: &Style, text: &mut String) {
        let Some(threshold) = self.threshold else { return };
        let regressions = self.regressions();
        let percent = threshold * 100.0;
        if regressions.is_empty() {
            let _ = writeln!(text, "\nnothing is slower by {}", self.limits(style));
            return;
        }
        let lines = regressions.iter().map(|regression| match regression {
            Regression::Whole => ("the whole".to_owned(), change(&self.wall, style)),
            Regression::Step(step) => (self.steps[*step].chain(style), change(&self.steps[*step].own, style)),
        });
        list(&format!("slower by more than {percent} %"), lines.collect(), style, text);
    }
}

/// The words that only one side's command line has, for people.
pub(super) struct CommandChange {
    pub(super) steps: String,
    pub(super) words: [String; 2],
}

impl ComparedStep {
    /// The names from the root to the step, and the argument that distinguishes it.
    pub(super) fn chain(&self, style: &Style) -> String {
        let names: Vec<_> = self.label.place.iter().map(|name| style.show(name)).collect();
        let argument =
            self.label.argument.as_ref().map(|argument| format!(" {}", self.short(&style.show(argument), style)));
        names.join(style.step()) + &argument.unwrap_or_default()
    }

    /// Shortens a long argument. A path loses its beginning, because its end says more. Any other argument loses its
    /// end.
    fn short(&self, argument: &str, style: &Style) -> String {
        const ARGUMENT: usize = 30;
        let is_path = argument.contains('/') && !argument.contains(' ');
        if is_path { style.cut_start(argument, ARGUMENT) } else { style.cut_end(argument, ARGUMENT) }
    }

    /// The words that only this side's command line has.
    fn words_of(&self, side: usize, style: &Style) -> String {
        match self.words[side].as_slice() {
            [] => "(nothing)".to_owned(),
            words => words.iter().map(|word| style.show(word)).collect::<Vec<_>>().join(" "),
        }
    }
}

fn arrow(style: &Style) -> &'static str {
    if style.is_unicode { "→" } else { "->" }
}

/// A heading, and a line for each step with a fact about this step.
fn list(title: &str, lines: Vec<(String, String)>, style: &Style, text: &mut String) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", style.dim(title));
    for (chain, fact) in lines.iter().take(LINES) {
        // The end of the chain and the beginning of the fact are the important parts.
        let room = style.width.saturating_sub(fact.width() + 2).max(style.width / 2);
        let chain = style.cut_start(chain, room);
        let rest = style.width.saturating_sub(chain.width() + 2).max(16);
        let _ = writeln!(text, "{chain}  {}", style.cut_end(fact, rest));
    }
    more(lines.len(), style, text);
}

fn more(count: usize, style: &Style, text: &mut String) {
    if count > LINES {
        let _ = writeln!(text, "{} {} more", style.dots(), count - LINES);
    }
}

fn steps(
    title: &str,
    (changed, noise): (Vec<&ComparedStep>, usize),
    amount: fn(&ComparedStep) -> &Change,
    style: &Style,
    text: &mut String,
) {
    let rows = changed.iter().map(|step| (step.chain(style), &step.processes, amount(step)));
    table(title, rows.collect(), noise, style, text);
}

/// A table of names with their number of processes and an amount. `noise` counts the changes within the noise.
fn table(title: &str, rows: Vec<(String, &Change, &Change)>, noise: usize, style: &Style, text: &mut String) {
    let has_noise = rows.iter().any(|(.., amount)| amount.noise().is_some());
    let room = style.width.saturating_sub(if has_noise { 66 } else { 55 }).clamp(16, 90);
    let heading = format!("{} {:>13} {:>9} {:>9}  change", pad(title, room), "count", "before", "after");
    let _ = writeln!(text, "\n{}", style.dim(&heading));
    if rows.is_empty() {
        text.push_str(if noise == 0 { "no difference\n" } else { "no difference beyond the noise\n" });
    }
    for (name, processes, amount) in rows.iter().take(LINES) {
        let count = match (processes.before.median(), processes.after.median()) {
            (one, other) if one == other => one.to_string(),
            (one, other) => format!("{one} {} {other}", arrow(style)),
        };
        let sides = [&amount.before, &amount.after].map(|side| align(&duration(side.median(), style), 9));
        let name = pad(&style.cut_start(name, room), room);
        let _ = writeln!(text, "{name} {} {}  {}", align(&count, 13), sides.join(" "), change(amount, style));
    }
    more(rows.len(), style, text);
    if !rows.is_empty() && noise > 0 {
        let changes = if noise == 1 { "change" } else { "changes" };
        let _ = writeln!(text, "{} {noise} {changes} within the noise", style.dots());
    }
}

/// The difference of a number.
pub(super) fn count_change(change: &Change, style: &Style) -> String {
    match change.difference() {
        0 => format!("{}0", style.plus_minus()),
        difference => format!("{difference:+}"),
    }
}

/// Nanoseconds. A shorter duration is shown as zero.
const SHOWN: u64 = 500;

/// The difference, absolute and in per cent, and the noise if it is known.
pub(super) fn change(change: &Change, style: &Style) -> String {
    let zero = || format!("{}0", style.plus_minus());
    let sign = if change.difference() > 0 { "+" } else { "-" };
    let mut text = if change.size() < SHOWN { zero() } else { format!("{sign}{}", duration(change.size(), style)) };
    if let Some(ratio) = change.ratio() {
        let share = (ratio * 100.0).round();
        let share = if share == 0.0 { zero() } else { format!("{share:+}") };
        text = format!("{text} ({share} %)");
    }
    if let Some(noise) = change.noise() {
        text = format!("{text} {}{}", style.plus_minus(), duration(noise, style));
    }
    // More than a tenth slower is red.
    let is_slower = change.difference() > i128::from(change.before.median() / 10) && change.is_beyond_noise();
    if is_slower { style.red(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::{
        super::compare::tests::{build, compared},
        *,
    };
    use crate::{story::story, text::style::PLAIN};

    #[test]
    fn the_change_of_the_critical_path_comes_first() {
        let before = build(500, "-O2", 0).starts("rm", 950, 5, |rm| rm);
        let after = build(800, "-O0", 2).starts("ld", 1250, 50, |ld| ld);
        let expected = "                before     after  change
took            1.50 s    1.80 s  +300 ms (+20 %)
CPU time        810 ms    1.11 s  +300 ms (+37 %)
processes            4         4  ±0

critical path                     count    before     after  change
make › cc b.c                         1    500 ms    800 ms  +300 ms (+60 %)
make › ld                         0 → 1      0 µs   50.0 ms  +50.0 ms
make                                  1    695 ms    650 ms  -45.0 ms (-6 %)
make › rm                         1 → 0   5.00 ms      0 µs  -5.00 ms

exit statuses
make › cc b.c  ok → exit 2
make  ok → exit 2

new steps
make › ld  50.0 ms, 1 process

gone steps
make › rm  5.00 ms, 1 process

changed command lines
make › cc b.c  -O2 → -O0

by name, own time                 count    before     after  change
cc                                    2    800 ms    1.10 s  +300 ms (+38 %)
ld                                0 → 1      0 µs   50.0 ms  +50.0 ms
make                                  1    695 ms    650 ms  -45.0 ms (-6 %)
rm                                1 → 0   5.00 ms      0 µs  -5.00 ms

by step, own time                 count    before     after  change
make › cc b.c                         1    500 ms    800 ms  +300 ms (+60 %)
make › ld                         0 → 1      0 µs   50.0 ms  +50.0 ms
make                                  1    695 ms    650 ms  -45.0 ms (-6 %)
make › rm                         1 → 0   5.00 ms      0 µs  -5.00 ms

slower by more than 10 %
the whole  +300 ms (+20 %)
make › cc b.c  +300 ms (+60 %)
";
        assert_eq!(compared(&[before], &[after], Some(0.1)).text(&PLAIN), expected);
    }

    #[test]
    fn several_runs_show_medians_and_hide_changes_within_the_noise() {
        let runs = |slow: [u64; 3]| slow.map(|slow| build(slow, "-O2", 0));
        let text = compared(&runs([490, 500, 510]), &runs([610, 700, 705]), None).text(&PLAIN);
        assert!(text.contains("took            1.50 s    1.70 s  +200 ms (+13 %) ±100 ms\n"), "{text}");
        assert!(text.contains("medians of 3 and 3 runs; ±: the noise"), "{text}");
        assert!(text.contains("make › cc b.c                1    500 ms    700 ms  +200 ms (+40 %) ±100 ms\n"));
        let text = compared(&runs([490, 500, 510]), &runs([495, 505, 520]), Some(0.0)).text(&PLAIN);
        assert!(text.contains("no difference beyond the noise\n"), "{text}");
        assert!(text.ends_with("\nnothing is slower by more than 0 % and by more than the noise\n"), "{text}");
        let runs = |slow: [u64; 3]| slow.map(|slow| build(slow, "-O2", 0));
        let noisy = compared(&runs([500, 500, 2000]), &runs([2000, 2000, 500]), Some(0.1)).text(&PLAIN);
        assert!(noisy.contains("took            1.50 s    3.00 s  +1.50 s (+100 %) ±3.00 s\n"), "{noisy}");
        assert!(noisy.ends_with("\nnothing is slower by more than 10 % and by more than the noise\n"), "{noisy}");
        let with = |length| build(5000, "-O2", 0).starts("sed", 5500, length, |sed| sed);
        let small = compared(&[with(20)], &[with(60)], Some(0.1)).text(&PLAIN);
        assert!(small.ends_with("\nnothing is slower by more than 10 % and by at least 60.0 ms\n"), "{small}");
    }

    #[test]
    fn outcomes_of_several_runs_are_all_shown() {
        let (fine, failing) = (|| build(5, "-O2", 0), || build(5, "-O2", 1));
        let text = compared(&[fine()], &[fine(), failing()], None).text(&PLAIN);
        assert!(text.contains("make › cc b.c  ok → ok or exit 1\n"), "{text}");
        assert!(!compared(&[failing()], &[failing()], None).text(&PLAIN).contains("exit statuses"));
    }

    #[test]
    fn the_same_change_of_many_command_lines_is_one_line() {
        let with = |option: &str| {
            let cc = |story: crate::story::Story, file: &str| {
                story.starts("cc", 950, 10, |cc| cc.arguments(&["cc", option, "-c", file]))
            };
            cc(cc(build(500, option, 0), "c.c"), "d.c")
        };
        let text = compared(&[with("-O2")], &[with("-O3")], None).text(&PLAIN);
        assert!(text.contains("\nchanged command lines\nmake › cc b.c and 2 more  -O2 → -O3\n\n"), "{text}");
    }

    #[test]
    fn zero_has_no_sign() {
        let shown = |before, after, style| change(&Change::new([before, after].into_iter(), 1), style);
        assert_eq!(shown(1000, 1000, &PLAIN), "±0 (±0 %)");
        assert_eq!(shown(1_000_000, 1_000_400, &PLAIN), "±0 (±0 %)");
        assert_eq!(shown(1_000_000_000, 999_000_000, &PLAIN), "-1.00 ms (±0 %)");
        assert_eq!(shown(0, 0, &Style { is_unicode: false, ..PLAIN }), "+-0");
        let markdown = compared(&[story("sh", 0, 50)], &[story("sh", 0, 50)], None).markdown();
        assert!(markdown.contains("| processes | 1 | 1 | ±0 |\n"), "{markdown}");
        let text = compared(&[story("sh", 0, 50)], &[story("sh", 0, 50)], None).text(&PLAIN);
        assert!(text.contains("processes            1         1  ±0\n") && text.contains("no difference\n"), "{text}");
    }

    #[test]
    fn a_step_of_only_one_trace_is_compared_with_zero() {
        let with = story("sh", 0, 100).starts("sleep", 0, 50, |sleep| sleep);
        let text = compared(&[story("sh", 0, 50)], &[with], None).text(&PLAIN);
        assert!(text.contains("0 → 1") && text.contains("+50.0 ms\n"), "{text}");
    }

    #[test]
    fn lines_keep_to_the_width_and_ascii_is_ascii() {
        let long = |name: &str| {
            let directory = "a-long-folder/".repeat(12);
            let file = format!("{directory}{name}.c");
            build(500, "-O2", 0).starts("cc", 950, 50, |cc| cc.arguments(&["cc", &file]).exits(1))
        };
        let style = Style { is_unicode: false, ..PLAIN };
        let text = compared(&[long("one")], &[long("other"), long("two")], Some(0.1)).text(&style);
        assert!(text.is_ascii(), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
