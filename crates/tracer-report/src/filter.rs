//! Which spans the tree and the page of a saved trace show.
//!
//! Only the whole trace shows which spans to select, but a report is made while the spans arrive. So the caller reads
//! the trace twice: first into [`Rows`], and then through [`Selection::select`].

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tracer_model::{SpanId, Value};

use crate::{
    analysis::Tree,
    row::{Kind, Row, Rows},
    span::{FOLDED_CPU_TIME, FOLDED_PROCESSES, Folded, Span},
};

/// What a user wants to see. The default shows everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Hides spans that succeeded and were shorter than this, and have nothing below them that is shown.
    pub min_duration: Option<Duration>,
    /// Shows only spans that failed, and the spans above them.
    pub only_failed: bool,
    /// How many levels below the command are shown.
    pub depth: Option<u32>,
}

impl Filter {
    /// Whether it shows everything.
    pub fn shows_all(&self) -> bool {
        *self == Self::default()
    }

    fn wants(&self, row: &Row) -> bool {
        let shortest = self.min_duration.map_or(0, |shortest| u64::try_from(shortest.as_nanos()).unwrap_or(u64::MAX));
        row.failure.is_some() || !self.only_failed && row.duration() >= shortest
    }
}

/// The spans of a trace that are shown. Each counts the hidden processes below it.
#[derive(Debug, Default)]
pub struct Selection {
    hidden: HashSet<SpanId>,
    folded: HashMap<SpanId, Folded>,
}

impl Selection {
    /// Applies a filter to all spans of a trace.
    pub fn new(rows: &Rows, filter: &Filter) -> Self {
        let rows = &rows.rows;
        let Some(tree) = Tree::grow(rows) else { return Self::default() };
        // For each row, its level and its parent.
        let mut places = vec![(0_u32, tree.root); rows.len()];
        for row in tree.top_down() {
            for child in tree.children(row) {
                places[*child as usize] = (places[row].0 + 1, row);
            }
        }
        let mut wanted: Vec<bool> = rows.iter().map(|row| filter.wants(row)).collect();
        wanted[tree.root] = true;
        for row in tree.top_down().rev().filter(|row| *row != tree.root) {
            if wanted[row] {
                wanted[places[row].1] = true;
            }
        }
        let mut selection = Self::default();
        // For each row, the nearest shown row: itself, or one above it.
        let mut shown_as: Vec<usize> = (0..rows.len()).collect();
        for row in tree.top_down().filter(|row| *row != tree.root) {
            let (level, parent) = places[row];
            let is_shown = wanted[row] && filter.depth.is_none_or(|depth| level <= depth);
            if is_shown {
                continue;
            }
            shown_as[row] = shown_as[parent];
            selection.hidden.insert(rows[row].id);
            if rows[row].kind == Kind::Process {
                let folded = selection.folded.entry(rows[shown_as[row]].id).or_default();
                folded.processes = folded.processes.saturating_add(1).saturating_add(rows[row].folded.processes);
                folded.cpu = folded.cpu.saturating_add(rows[row].cpu).saturating_add(rows[row].folded.cpu);
            }
        }
        selection
    }

    /// Whether the span is shown. Adds the number of hidden processes below it to the span.
    pub fn select(&self, span: &mut Span<'_>) -> bool {
        if let Some(below) = self.folded.get(&span.id) {
            let own = span.process().map_or(Folded::default(), |process| process.folded);
            let folded = Folded {
                processes: own.processes.saturating_add(below.processes),
                cpu: own.cpu.saturating_add(below.cpu),
            };
            if let Some(process) = span.process_mut() {
                process.folded = folded;
            }
            span.add_attribute(FOLDED_PROCESSES, Value::Int(i64::try_from(folded.processes).unwrap_or(i64::MAX)));
            span.add_attribute(FOLDED_CPU_TIME, Value::Float(folded.cpu as f64 / 1e9));
        }
        !self.hidden.contains(&span.id)
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::Resource;

    use super::*;
    use crate::{
        columns::Columns,
        formats::Text,
        page::about,
        story::{Story, story},
        text::{Style, TextReport},
    };

    fn build() -> Story {
        story("make", 0, 5000)
            .starts("cc", 10, 900, |cc| cc.cpu(700).starts("cc1", 20, 800, |cc1| cc1.cpu(600)))
            .starts("sh", 1000, 50, |sh| sh.starts("true", 1010, 2, |it| it).starts("false", 1020, 3, |it| it.exits(1)))
            .starts("ld", 2000, 90, |ld| ld.starts("lto", 2010, 70, |lto| lto.cpu(60)))
    }

    /// Passes the spans that this filter shows.
    fn select(filter: &Filter, mut take: impl FnMut(&Span<'_>)) {
        let spans = build().spans();
        let mut rows = Rows::default();
        spans.iter().for_each(|span| rows.add(&span.into()));
        let selection = Selection::new(&rows, filter);
        for span in &spans {
            let mut span = span.into();
            if selection.select(&mut span) {
                take(&span);
            }
        }
    }

    /// The tree with this filter.
    fn tree(filter: &Filter) -> String {
        let mut report = TextReport::new(Text::Tree, usize::MAX);
        select(filter, |span| report.add(span));
        report.render(&Style { width: 80, height: 50, is_coloured: false, is_unicode: true })
    }

    #[test]
    fn short_spans_that_succeeded_are_hidden_and_counted() {
        let expected = "
   5.00 s  make  (2 processes hidden)
   900 ms  ├─ cc
   800 ms  │  └─ cc1
  50.0 ms  └─ sh  (1 process hidden)
  3.00 ms     └─ false  exit 1
";
        let filter = Filter { min_duration: Some(Duration::from_millis(100)), ..Filter::default() };
        assert_eq!(format!("\n{}", tree(&filter)), expected);
    }

    #[test]
    fn failed_spans_are_shown_with_the_spans_above_them() {
        let expected = "
   5.00 s  make  (4 processes hidden)
  50.0 ms  └─ sh  (1 process hidden)
  3.00 ms     └─ false  exit 1
";
        assert_eq!(format!("\n{}", tree(&Filter { only_failed: true, ..Filter::default() })), expected);
    }

    #[test]
    fn the_depth_counts_levels_below_the_command() {
        let expected = "
   5.00 s  make
   900 ms  ├─ cc  (1 process hidden)
  50.0 ms  ├─ sh  (2 processes hidden)
  90.0 ms  └─ ld  (1 process hidden)
";
        assert_eq!(format!("\n{}", tree(&Filter { depth: Some(1), ..Filter::default() })), expected);
        assert_eq!(tree(&Filter { depth: Some(0), ..Filter::default() }), "   5.00 s  make  (7 processes hidden)\n");
        let failed = Filter { depth: Some(1), only_failed: true, ..Filter::default() };
        assert!(tree(&failed).contains("└─ sh  (2 processes hidden)\n"), "{}", tree(&failed));
    }

    #[test]
    fn the_page_counts_hidden_processes() {
        let (mut rows, mut columns) = (Rows::default(), Columns::default());
        let filter = Filter { min_duration: Some(Duration::from_millis(100)), ..Filter::default() };
        select(&filter, |span| {
            rows.add(span);
            columns.add(span, &rows.read(span), None);
        });
        let about = about(&rows, &columns, &Resource::default());
        assert_eq!((&about["hidden"], &about["processes"]), (&3.into(), &8.into()));
        let batch = columns.take();
        let counts = batch["columns"].as_array().unwrap().iter().find(|column| column["key"] == FOLDED_PROCESSES);
        assert_eq!(counts.unwrap()["values"], serde_json::json!([1, 2]), "sh comes before make");
    }

    #[test]
    fn the_summary_counts_processes_without_a_span() {
        let mut spans = build().spans();
        spans.retain(|span| span.name != "cc1");
        for span in spans.iter_mut().filter(|span| span.name == "cc") {
            span.attributes.push((FOLDED_PROCESSES.to_owned(), Value::Int(1)));
            span.attributes.push((FOLDED_CPU_TIME.to_owned(), Value::Float(0.6)));
        }
        let mut report = TextReport::new(Text::Summary, usize::MAX);
        spans.iter().for_each(|span| report.add(&span.into()));
        let text = report.render(&Style { width: 80, height: 50, is_coloured: false, is_unicode: true });
        assert!(text.contains("5.00 s: 8 processes (1 failed)"), "{text}");
        assert!(text.contains("cc  (1 process hidden)"), "{text}");
    }
}
