//! The comparison as Markdown, for the page of a CI job or for a comment. All text of the traces is in code spans.

use std::fmt::Write;

use super::{
    compare::{ComparedStep, Comparison, Presence, Regression},
    sample::Change,
    text::{change, count_change},
};
use crate::text::{
    cell, code,
    style::{Style, duration},
};

const STYLE: Style = Style { width: 160, height: 50, is_coloured: false, is_unicode: true };

/// The most rows of a table.
const ROWS: usize = 12;

/// The longest chain of names in a table, in columns.
const CHAIN: usize = 100;

impl Comparison {
    /// The comparison as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("### Comparison of two traces\n\n");
        self.markdown_verdict(&mut text);
        let _ = writeln!(text, "| | before | after | change |\n| --- | ---: | ---: | ---: |");
        for (name, amount) in [("took", &self.wall), ("CPU time", &self.cpu)] {
            let _ = writeln!(text, "| {name} | {} |", amounts(amount));
        }
        let (before, after) = (self.processes.before.median(), self.processes.after.median());
        let difference = count_change(&self.processes, &STYLE);
        let _ = writeln!(text, "| processes | {before} | {after} | {difference} |\n");
        for note in self.notes() {
            let _ = writeln!(text, "⚠ {note}\n");
        }
        let (critical, noise) = self.changed(|step| &step.critical);
        markdown_steps("critical path", &critical, noise, |step| &step.critical, &mut text);
        let outcome = |step: &ComparedStep, side| code(&step.outcome(side, &STYLE));
        let outcomes = self.with_other_outcome();
        let rows = outcomes.iter().map(|step| [chain(step), cells(&outcome(step, 0)), cells(&outcome(step, 1))]);
        markdown_table(["exit status", "before", "after"], rows.collect(), &mut text);
        for (title, side) in [("new step", Presence::OnlyAfter), ("gone step", Presence::OnlyBefore)] {
            let branches = self.only_on(side);
            let rows = branches
                .iter()
                .map(|branch| [chain(branch.top), branch.processes.to_string(), duration(branch.own, &STYLE)]);
            markdown_table([title, "processes", "own time"], rows.collect(), &mut text);
        }
        let rows = self.command_changes(&STYLE).into_iter().map(|change| {
            let [before, after] = change.words.map(|words| cell(&STYLE.cut_end(&words, CHAIN)));
            [cell(&STYLE.cut_start(&change.steps, CHAIN)), before, after]
        });
        markdown_table(["changed command line", "before", "after"], rows.collect(), &mut text);
        let (own, noise) = self.changed(|step| &step.own);
        markdown_steps("step, by own time", &own, noise, |step| &step.own, &mut text);
        text
    }

    fn markdown_verdict(&self, text: &mut String) {
        let Some(threshold) = self.threshold else { return };
        let (regressions, percent) = (self.regressions(), threshold * 100.0);
        if regressions.is_empty() {
            let _ = writeln!(text, "✅ Nothing is slower by {}.\n", self.limits(&STYLE));
            return;
        }
        let _ = writeln!(text, "❌ Slower by more than {percent} %:\n");
        for regression in regressions.iter().take(ROWS) {
            let _ = match regression {
                Regression::Whole => writeln!(text, "- the whole: {}", change(&self.wall, &STYLE)),
                Regression::Step(step) => {
                    let step = &self.steps[*step];
                    let chain = code(&STYLE.cut_start(&step.chain(&STYLE), CHAIN));
                    writeln!(text, "- {chain}: {}", change(&step.own, &STYLE))
                }
            };
        }
        if regressions.len() > ROWS {
            let _ = writeln!(text, "- … {} more", regressions.len() - ROWS);
        }
        text.push('\n');
    }
}

fn amounts(amount: &Change) -> String {
    let [before, after] = [&amount.before, &amount.after].map(|side| duration(side.median(), &STYLE));
    format!("{before} | {after} | {}", change(amount, &STYLE))
}

fn chain(step: &ComparedStep) -> String {
    cell(&STYLE.cut_start(&step.chain(&STYLE), CHAIN))
}

/// A code span within a table.
fn cells(code: &str) -> String {
    code.replace('|', "\\|")
}

fn markdown_table(heading: [&str; 3], rows: Vec<[String; 3]>, text: &mut String) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "| {} |\n| --- | ---: | ---: |", heading.join(" | "));
    for row in rows.iter().take(ROWS) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    note_more(rows.len(), 0, text);
}

fn markdown_steps(
    title: &str,
    steps: &[&ComparedStep],
    noise: usize,
    amount: fn(&ComparedStep) -> &Change,
    text: &mut String,
) {
    if steps.is_empty() {
        let beyond = if noise > 0 { " beyond the noise" } else { "" };
        let _ = writeln!(text, "{title}: no difference{beyond}\n");
        return;
    }
    let _ = writeln!(text, "| {title} | count | before | after | change |\n| --- | ---: | ---: | ---: | ---: |");
    for step in steps.iter().take(ROWS) {
        let count = match (step.processes.before.median(), step.processes.after.median()) {
            (one, other) if one == other => one.to_string(),
            (one, other) => format!("{one} → {other}"),
        };
        let _ = writeln!(text, "| {} | {count} | {} |", chain(step), amounts(amount(step)));
    }
    note_more(steps.len(), noise, text);
}

fn note_more(count: usize, noise: usize, text: &mut String) {
    text.push('\n');
    if count > ROWS {
        let _ = writeln!(text, "… {} more\n", count - ROWS);
    }
    if noise > 0 {
        let _ = writeln!(text, "… {noise} within the noise\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::{build, compared};

    #[test]
    fn markdown_begins_with_the_verdict() {
        let text = compared(&[build(500, "-O2", 0)], &[build(800, "-O0", 2)], Some(0.1)).markdown();
        let start = "\
### Comparison of two traces

❌ Slower by more than 10 %:

- the whole: +300 ms (+20 %)
- `make › cc b.c`: +300 ms (+60 %)

| | before | after | change |
| --- | ---: | ---: | ---: |
| took | 1.50 s | 1.80 s | +300 ms (+20 %) |
| CPU time | 810 ms | 1.11 s | +300 ms (+37 %) |
| processes | 3 | 3 | ±0 |

| critical path | count | before | after | change |
| --- | ---: | ---: | ---: | ---: |
| `make › cc b.c` | 1 | 500 ms | 800 ms | +300 ms (+60 %) |

| exit status | before | after |
| --- | ---: | ---: |
| `make › cc b.c` | `ok` | `exit 2` |
| `make` | `ok` | `exit 2` |

| changed command line | before | after |
| --- | ---: | ---: |
| `make › cc b.c` | `-O2` | `-O0` |
";
        assert!(text.starts_with(start), "{text}");
        let text = compared(&[build(500, "-O2", 0)], &[build(500, "-O2", 0)], Some(0.1)).markdown();
        assert!(text.contains("✅ Nothing is slower by more than 10 %.\n"), "{text}");
        assert!(text.contains("critical path: no difference\n"), "{text}");
    }

    #[test]
    fn text_of_a_trace_is_never_markup() {
        let evil = "evil|<b>@evil [evil](http://evil) `evil``evil\n# evil";
        let story = |slow| build(slow, evil, 1).starts(evil, 1, slow, |it| it.dies_by(evil).arguments(&[evil, evil]));
        let text = compared(&[story(500)], &[story(900).starts(evil, 5, 600, |it| it)], Some(0.1)).markdown();
        assert!(text.contains("evil"), "{text}");
        for event in pulldown_cmark::Parser::new_ext(&text, pulldown_cmark::Options::ENABLE_TABLES) {
            if let pulldown_cmark::Event::Text(text) | pulldown_cmark::Event::Html(text) = event {
                assert!(!text.contains("evil"), "{text}");
            }
        }
    }
}
