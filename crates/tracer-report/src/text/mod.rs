//! Reports that are text, for a terminal or for the page of a CI job.

mod by;
mod critical;
mod failures;
mod markdown;
mod names;
mod network;
pub(crate) mod runs;
mod slowest;
pub(crate) mod style;
mod summary;
mod tree;

use std::fmt::Write;

use self::names::Names;
use crate::{
    analysis::Tree,
    by::{By, Totals},
    causes::Causes,
    formats::Text,
    row::Rows,
    span::Span,
};

pub(crate) use self::markdown::{cell, code};
pub use self::{
    by::{compare_totals, totals},
    style::Style,
};

/// Collects spans for a text.
#[derive(Debug)]
pub struct TextReport {
    text: Text,
    rows: Rows,
    /// The table at the end.
    totals: Option<Totals>,
}

impl TextReport {
    /// Begins a text. It keeps at most `limit` spans that are not processes, twice as many processes, and the root.
    pub fn new(text: Text, limit: usize) -> Self {
        let rows = Rows::with_limit(limit);
        let rows = if text == Text::Tree { rows } else { rows.with_files() };
        Self { text, rows, totals: None }
    }

    /// Adds a table of totals by a property of the processes. It keeps at most `limit` spans for that.
    #[must_use]
    pub fn by(self, by: Option<By>, limit: usize) -> Self {
        Self { totals: by.map(|by| Totals::new(by, limit)), ..self }
    }

    /// Adds a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &Span<'_>) {
        self.rows.add(span);
        if let Some(totals) = &mut self.totals {
            totals.add(span);
        }
    }

    /// The text, empty without any span. Markdown has its own style.
    pub fn render(&mut self, style: &Style) -> String {
        self.rows.complete();
        let mut text = String::new();
        match self.text {
            Text::Summary => summary::render(&self.rows, style, &mut text),
            Text::Markdown => markdown::markdown(&self.rows, &mut text),
            Text::Tree => {
                if let Some(tree) = Tree::grow(&self.rows.rows) {
                    let names = Names::new(&self.rows);
                    tree::render(&names, &tree, tree::LINES, style, &mut text);
                    let causes = Causes::new(&self.rows, &tree);
                    text.push_str(&failures::causes(&names, &causes, style, failures::shown_causes(style)));
                    summary::left_out(&self.rows, &mut text);
                }
            }
        }
        match (&self.totals, self.text) {
            (Some(totals), Text::Markdown) => {
                let table = by::totals(totals, &style::PLAIN);
                let _ = write!(text, "\n```\n{table}```\n");
            }
            (Some(totals), Text::Summary | Text::Tree) => text.push_str(&by::totals(totals, style)),
            (None, _) => {}
        }
        text
    }

    /// The certificate of a trace of that many spans, as one line: whether it is complete, or what is missing. Call it after
    /// [`Self::render`].
    pub fn certificate(&self, spans: usize, style: &Style) -> String {
        let Self { rows, .. } = self;
        let id = &rows.about.trace_id;
        let id = if id.is_empty() { String::new() } else { format!("trace {id}, ") };
        let verdict = match failures::incomplete(rows, style) {
            Some(incomplete) => incomplete,
            None if rows.about.certificate.is_complete => "complete".to_owned(),
            None => "without a statement whether it is complete".to_owned(),
        };
        format!("{id}{}, {verdict}\n", style::counted(spans, "span", "spans"))
    }
}
