//! Names of processes, each with the argument that says which one it is.

use crate::{
    argument::Arguments,
    row::{Label, Rows},
    words::DOTS,
};

use super::style::Style;

pub(super) struct Names<'a> {
    pub(super) rows: &'a Rows,
    arguments: Arguments,
}

impl<'a> Names<'a> {
    pub(super) fn new(rows: &'a Rows) -> Self {
        Self { rows, arguments: Arguments::new(rows) }
    }

    /// The argument of a process, in at most `room` columns. In paths, the end matters more.
    pub(super) fn argument(&self, row: usize, style: &Style, room: usize) -> Option<String> {
        let argument = self.arguments.of(row)?;
        let cut = if argument.exact().contains(' ') { Style::cut_end } else { Style::cut_start };
        // A terminal without Unicode would show the dots as an escape.
        let shown = match argument.exact().strip_suffix(DOTS) {
            Some(start) => style.show(&start.into()) + style.dots(),
            None => style.show(argument),
        };
        Some(cut(style, &shown, room))
    }

    /// The name and the argument: `cc1 t_hash.c`.
    pub(super) fn whole(&self, row: usize, style: &Style, room: usize) -> String {
        let name = style.cut_end(&style.show(self.rows.text(self.rows.rows[row].name)), room);
        let left = room.saturating_sub(unicode_width::UnicodeWidthStr::width(name.as_str()) + 1);
        match self.argument(row, style, left).filter(|_| left > 3) {
            Some(argument) => format!("{name} {argument}"),
            None => name,
        }
    }

    pub(super) fn chain(&self, names: &[Label], style: &Style) -> String {
        let names: Vec<_> = names.iter().map(|name| style.show(self.rows.text(*name))).collect();
        names.join(style.step())
    }
}
