//! Reports that are text, for a terminal or for the page of a CI job.

mod network;
pub(crate) mod runs;
pub(crate) mod style;
mod summary;
mod tree;

use crate::{analysis::Tree, formats::Text, row::Rows, span::Span};

pub use self::style::Style;
pub(crate) use self::summary::{cell, code};

/// Collects spans for a text.
#[derive(Debug)]
pub struct TextReport {
    text: Text,
    rows: Rows,
}

impl TextReport {
    /// Begins a text. It keeps at most `limit` spans that are not processes, twice as many processes, and the root.
    pub fn new(text: Text, limit: usize) -> Self {
        let rows = Rows::with_limit(limit);
        Self { text, rows: if text == Text::Tree { rows } else { rows.with_words() } }
    }

    /// Adds a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &Span<'_>) {
        self.rows.add(span);
    }

    /// The text, empty without any span. Markdown has its own style.
    pub fn render(&self, style: &Style) -> String {
        let mut text = String::new();
        match self.text {
            Text::Summary => summary::render(&self.rows, style, &mut text),
            Text::Markdown => summary::markdown(&self.rows, &mut text),
            Text::Tree => {
                if let Some(tree) = Tree::grow(&self.rows.rows) {
                    tree::render(&self.rows, &tree, tree::LINES, style, &mut text);
                    summary::left_out(&self.rows, &mut text);
                }
            }
        }
        text
    }
}
