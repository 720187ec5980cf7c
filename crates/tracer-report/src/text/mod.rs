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
    by::{By, Shares},
    causes::Causes,
    formats::Text,
    row::Rows,
    span::Span,
};

pub use self::style::Style;
pub(crate) use self::{
    by::compare_totals,
    markdown::{cell, code},
};

/// Collects spans for a text.
#[derive(Debug)]
pub struct TextReport {
    text: Text,
    rows: Rows,
    /// For the table at the end.
    shares: Option<Shares>,
}

impl TextReport {
    /// Begins a text. It keeps the first `limit` spans, and after those only processes, up to twice `limit` spans in all. The
    /// root is always kept.
    pub fn new(text: Text, limit: usize) -> Self {
        let rows = Rows::with_limit(limit);
        let rows = if text == Text::Tree { rows } else { rows.with_files() };
        Self { text, rows, shares: None }
    }

    /// Adds a table of totals by a property of the processes.
    #[must_use]
    pub fn by(self, by: Option<By>) -> Self {
        Self { shares: by.map(Shares::new), ..self }
    }

    /// Adds a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &Span<'_>) {
        if let (Some(row), Some(shares)) = (self.rows.insert(span), &mut self.shares) {
            shares.add(row, span);
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
        if let (Some(shares), Some(tree)) = (&self.shares, Tree::grow(&self.rows.rows)) {
            let totals = shares.totals(&self.rows.rows, &tree);
            if self.text == Text::Markdown {
                let _ = write!(text, "\n```\n{}```\n", by::totals(&totals, &style::PLAIN));
            } else {
                text.push_str(&by::totals(&totals, style));
            }
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
            None => "not known whether the trace is complete".to_owned(),
        };
        format!("{id}{}, {verdict}\n", style::counted(spans, "span", "spans"))
    }
}
