//! Why an expression is refused, and where.

use std::fmt;

/// Which rule an expression broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is not an expression.
    Syntax,
    /// A name is unknown, or a type does not fit. The checker reports it before the first evaluation.
    Type,
    /// The evaluation failed, for example at an index out of range.
    Evaluation,
    /// The expression is too deep, too long, or needs too many steps or too much memory.
    Budget,
}

/// A place in the source, counted in characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// Which rule it broke.
    pub kind: ErrorKind,
    /// The reason, in one line.
    pub message: String,
    /// Where. `None` if no place is known.
    pub position: Option<Position>,
    /// The unknown name and the known name that resembles it most.
    pub unknown_name: Option<Box<(String, Option<String>)>>,
    /// The line of the source with the error.
    line_text: String,
}

/// A number of arguments, for a message.
pub(crate) fn arguments(count: usize) -> String {
    format!("{count} {}", if count == 1 { "argument" } else { "arguments" })
}

impl Error {
    pub(crate) fn bind(fault: Fault, source: &str) -> Self {
        let mut error = Self {
            kind: fault.kind,
            message: fault.message,
            position: None,
            unknown_name: fault.unknown_name.map(Box::new),
            line_text: String::new(),
        };
        if let Some(offset) = fault.offset {
            let before: Vec<char> = source.chars().take(offset).collect();
            let line = before.iter().filter(|character| **character == '\n').count();
            let column = before.iter().rev().take_while(|character| **character != '\n').count();
            error.position = Some(Position { line: line + 1, column: column + 1 });
            error.line_text = source.split('\n').nth(line).unwrap_or_default().replace(['\t', '\r'], " ");
        }
        error
    }

    /// The line of the source with a caret below the place, as two lines. Empty if no place is known.
    #[must_use]
    pub fn snippet(&self) -> String {
        match self.position {
            Some(position) if !self.line_text.trim().is_empty() => {
                format!(" | {}\n | {}^", self.line_text, " ".repeat(position.column - 1))
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some((_, Some(known))) = self.unknown_name.as_deref() {
            write!(f, ", did you mean `{known}`?")?;
        }
        Ok(())
    }
}

/// An error before its place in the source is looked up.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// In characters from the start of the source.
    pub(crate) offset: Option<usize>,
    pub(crate) unknown_name: Option<(String, Option<String>)>,
}

impl Fault {
    fn new(kind: ErrorKind, offset: Option<usize>, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), offset, unknown_name: None }
    }

    pub(crate) fn syntax(offset: usize, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Syntax, Some(offset), message)
    }

    pub(crate) fn types(offset: usize, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Type, Some(offset), message)
    }

    pub(crate) fn evaluation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Evaluation, None, message)
    }

    pub(crate) fn budget(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Budget, None, message)
    }

    pub(crate) fn at(mut self, offset: usize) -> Self {
        self.offset.get_or_insert(offset);
        self
    }
}
