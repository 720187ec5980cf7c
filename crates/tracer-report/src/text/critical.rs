//! The critical path as a table. A line is a chain of names, or a name if there are too many chains.

use std::{cmp::Reverse, collections::HashMap, fmt::Write};

use unicode_width::UnicodeWidthStr;

use super::{
    names::Names,
    style::{Style, align, duration, fitting, pad, share},
};
use crate::{
    analysis::{Places, Tree},
    row::Label,
};

/// The critical path, added up.
pub(super) struct Critical {
    /// By the chain of names.
    by_place: Vec<Step>,
    /// By the last name of the chain.
    by_name: Vec<Step>,
    /// The time of the whole path.
    whole: u64,
}

/// The most names of a chain to keep. No line has room for more.
const CHAIN: usize = 64;

/// Processes on the path, added up.
#[derive(Clone, Debug)]
struct Step {
    names: Vec<Label>,
    time: u64,
    processes: usize,
    /// The process with the longest part of the time, and this part.
    longest: (usize, u64),
}

impl Step {
    fn add(&mut self, row: usize, time: u64) {
        self.time += time;
        self.processes += 1;
        if time > self.longest.1 {
            self.longest = (row, time);
        }
    }
}

impl Critical {
    pub(super) fn new(names: &Names<'_>, tree: &Tree, places: &Places) -> Self {
        let rows = &names.rows.rows;
        let mut times: HashMap<usize, u64> = HashMap::new();
        for stretch in tree.critical_path(rows) {
            *times.entry(stretch.row).or_default() += stretch.end - stretch.start;
        }
        let mut by_place: HashMap<u32, Step> = HashMap::new();
        let mut by_name: HashMap<Label, Step> = HashMap::new();
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_by_key(|(row, time)| (Reverse(*time), *row));
        for (row, time) in &times {
            let (place, name) = (places.of_row[*row], rows[*row].name);
            let step = |names| Step { names, time: 0, processes: 0, longest: (*row, 0) };
            by_place.entry(place).or_insert_with(|| step(places.last_names(place, CHAIN))).add(*row, *time);
            let named = by_name.entry(name).or_insert_with(|| step(places.last_names(place, CHAIN)));
            if named.processes > 0 && places.of_row[named.longest.0] != place {
                named.names = vec![name];
            }
            named.add(*row, *time);
        }
        let sorted = |steps: Vec<Step>| {
            let mut steps = steps;
            steps.sort_by_key(|step| (Reverse(step.time), step.longest.0));
            steps
        };
        Self {
            by_place: sorted(by_place.into_values().collect()),
            by_name: sorted(by_name.into_values().collect()),
            whole: times.iter().map(|(_, time)| time).sum(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_place.len()
    }

    /// The lines for this much room. They are chains, if the chains that fit have most of the time. Otherwise they are
    /// names.
    fn steps(&self, limit: usize) -> &[Step] {
        let shown: u64 = self.by_place[..fitting(self.by_place.len(), limit)].iter().map(|step| step.time).sum();
        if shown.saturating_mul(10) >= self.whole.saturating_mul(9) { &self.by_place } else { &self.by_name }
    }

    pub(super) fn render(&self, names: &Names<'_>, style: &Style, limit: usize, text: &mut String) {
        // Numbers that are far from their names are hard to read.
        let room = style.width.saturating_sub(23).min(100);
        let title = pad("critical path: sets the total time", room + 2);
        let _ = writeln!(text, "\n{}", style.dim(&format!("{title} {:>9} {:>8}", "time", "share")));
        let mut line = |what: &str, time: u64| {
            let (time, share) = (align(&duration(time, style), 9), share(time, self.whole));
            let _ = writeln!(text, "  {} {time} {share:>8}", pad(what, room));
        };
        let steps = self.steps(limit);
        let shown = fitting(steps.len(), limit);
        for step in &steps[..shown] {
            line(&describe(step, names, style, room), step.time);
        }
        if shown < steps.len() {
            let time = steps[shown..].iter().map(|step| step.time).sum();
            line(&format!("{} {} more", style.dots(), steps.len() - shown), time);
        }
    }

    /// The lines for Markdown: each step with its time and share.
    pub(super) fn lines(&self, names: &Names<'_>, style: &Style, limit: usize) -> Vec<[String; 3]> {
        let line =
            |step: &Step| [describe(step, names, style, 120), duration(step.time, style), share(step.time, self.whole)];
        self.steps(limit).iter().take(limit).map(line).collect()
    }
}

/// The chain, and which process it is, or which of several took longest.
fn describe(step: &Step, names: &Names<'_>, style: &Style, room: usize) -> String {
    let (row, time) = step.longest;
    let argument = names.argument(row, style, room / 3);
    let which = match (step.processes, argument) {
        (1, None) => String::new(),
        (1, Some(argument)) => format!(" {argument}"),
        (count, None) => format!(" {}{count}", style.times()),
        (count, Some(argument)) => {
            format!(" {}{count} (longest: {argument}, {})", style.times(), duration(time, style))
        }
    };
    let chain = names.chain(&step.names, style);
    style.cut_start(&chain, room.saturating_sub(which.width())) + &which
}

#[cfg(test)]
mod tests {
    use super::{super::style::PLAIN, *};
    use crate::story::{Story, story};

    fn rendered(story: &Story, limit: usize) -> Vec<String> {
        let rows = story.rows();
        let tree = Tree::grow(&rows.rows).unwrap();
        let names = Names::new(&rows);
        let mut text = String::new();
        Critical::new(&names, &tree, &tree.places(&rows.rows)).render(&names, &PLAIN, limit, &mut text);
        text.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    fn build(places: u64) -> Story {
        (0..places).fold(story("make", 0, 10_000), |make, place| {
            let compile = |sh: Story, name: String, start, length| {
                sh.starts("cc", start, length, |cc| cc.arguments(&["cc", "-c", &name]))
            };
            let start = place * 1000;
            make.starts(&format!("dir{place}"), start, 900, |sh| {
                compile(compile(sh, format!("a{place}.c"), start, 300 + place), format!("b{place}.c"), start + 400, 500)
            })
        })
    }

    #[test]
    fn a_line_says_which_process_took_longest() {
        let lines = rendered(&build(1), 5);
        assert_eq!(lines[1], "make › dir0 › cc ×2 (longest: b0.c, 500 ms) 800 ms 8 %");
        let single = story("make", 0, 100).starts("cc", 0, 90, |cc| cc.arguments(&["cc", "a.c"]));
        assert_eq!(rendered(&single, 5)[0], "make › cc a.c 90.0 ms 90 %");
    }

    #[test]
    fn many_chains_are_added_up_by_name() {
        let lines = rendered(&build(9), 3);
        assert_eq!(lines[0], "cc ×18 (longest: b0.c, 500 ms) 7.24 s 72 %");
        assert_eq!(lines[1], "make 1.90 s 19 %");
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[3].starts_with("… 8 more"), "{lines:?}");
    }
}
