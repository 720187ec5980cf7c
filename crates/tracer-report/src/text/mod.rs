//! Reports that are text, for a terminal or for the page of a CI job.

mod critical;
mod diff;
mod failures;
mod markdown;
mod names;
mod slowest;
mod style;
mod summary;
mod tree;

use self::names::Names;
use crate::{analysis::Tree, formats::Text, row::Rows, span::Span};

pub use self::{
    diff::{Side, compare},
    style::Style,
};

/// Collects spans for a text.
#[derive(Debug)]
pub struct TextReport {
    text: Text,
    rows: Rows,
}

impl TextReport {
    /// Begins a text. It keeps at most `limit` spans that are not processes, twice as many processes, and the root.
    pub fn new(text: Text, limit: usize) -> Self {
        Self { text, rows: Rows::with_limit(limit) }
    }

    /// Adds a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &Span<'_>) {
        self.rows.add(span);
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
                    tree::render(&Names::new(&self.rows), &tree, tree::LINES, style, &mut text);
                    summary::left_out(&self.rows, &mut text);
                }
            }
        }
        text
    }

    /// The certificate of the trace, as one line: whether it is complete, or what is missing. Call it after [`Self::render`].
    pub fn certificate(&self, style: &Style) -> String {
        let Self { rows, .. } = self;
        let id = &rows.about.trace_id;
        let id = if id.is_empty() { String::new() } else { format!("trace {id}, ") };
        let spans = rows.rows.len() - usize::from(rows.root_is_missing);
        let verdict = match failures::incomplete(rows, style) {
            Some(incomplete) => incomplete,
            None if rows.about.certificate.is_complete => "complete".to_owned(),
            None => "without a statement whether it is complete".to_owned(),
        };
        format!("{id}{}, {verdict}\n", summary::counted(spans, "span", "spans"))
    }
}
