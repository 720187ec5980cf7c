//! Messages on stderr. They never contain control characters for the terminal.

use std::{
    env,
    fmt::Display,
    io::{IsTerminal, Write, stderr},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use tracer_report::{text::Style, untrusted::visible};

use crate::cli::variables::variable;

/// Prints one line.
pub(crate) fn say(message: impl Display) {
    write(&format!("process-tracer: {}\n", visible(&message.to_string())));
}

/// Prints a warning of one line.
pub(crate) fn warn(message: impl Display) {
    say(format_args!("warning: {message}"));
}

/// Prints the lines that explain a message.
pub(crate) fn lines(text: &str) {
    for line in text.lines() {
        write(&format!("{}\n", visible(line)));
    }
}

/// Writes text that is already safe for a terminal. A closed stderr is not an error.
pub(crate) fn write(text: &str) {
    let _ = stderr().lock().write_all(text.as_bytes());
}

/// A duration as people read it.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// A line that shows the progress of long work. It is only shown on a terminal.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    shown: Option<Instant>,
}

impl Progress {
    /// Shows the progress, at most ten times per second.
    pub(crate) fn show(&mut self, message: impl Display) {
        let is_due = self.shown.is_none_or(|shown| shown.elapsed() > Duration::from_millis(100));
        if is_due && stderr().is_terminal() {
            self.shown = Some(Instant::now());
            write(&format!("\r\x1b[Kprocess-tracer: {}", visible(&message.to_string())));
        }
    }

    /// Removes the line.
    pub(crate) fn end(self) {
        if self.shown.is_some() {
            write("\r\x1b[K");
        }
    }
}

/// The style of text for this stream.
pub(crate) fn style(stream: &(impl IsTerminal + AsFd)) -> Style {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    Style::of(stream, &locale, is_coloured(stream))
}

/// Whether text for this stream may be coloured: <https://no-color.org>.
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
