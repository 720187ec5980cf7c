//! Our messages, on stderr or in the file of `--log`. They never contain control characters for the terminal.

use std::{
    borrow::Cow,
    env,
    fmt::Display,
    fs::File,
    io::{self, ErrorKind, IsTerminal, Write, stderr, stdout},
    os::fd::AsFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tracer_report::{text::Style, untrusted::visible};

use crate::variables::variable;

/// Where our messages go.
enum Destination {
    /// Messages wait here, because an option can name a file for them.
    Undecided(String),
    Stderr,
    Log(File),
}

static DESTINATION: Mutex<Destination> = Mutex::new(Destination::Undecided(String::new()));

fn destination() -> MutexGuard<'static, Destination> {
    DESTINATION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decides where all messages go: into this file, or to stderr. Only the first call counts.
pub(crate) fn begin(log: Option<File>) {
    let mut destination = destination();
    if let Destination::Undecided(waiting) = &mut *destination {
        let waiting = std::mem::take(waiting);
        *destination = log.map_or(Destination::Stderr, Destination::Log);
        drop(destination);
        write(&waiting);
    }
}

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

/// Prints on stdout. A reader that has seen enough, such as `head`, is no error.
///
/// # Errors
///
/// stdout cannot be written.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = stdout().lock();
    let printed = stdout.write_all(text.as_ref()).and_then(|()| stdout.flush());
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot write to stdout"),
    }
}

/// stdout for files that programs read. On a terminal, invisible characters are shown as escapes. A reader that has seen
/// enough, such as `head`, is no error.
#[derive(Debug)]
pub(crate) struct Data {
    is_terminal: bool,
    is_closed: bool,
    /// The start of a line, for a terminal.
    line: Vec<u8>,
}

impl Data {
    pub(crate) fn new() -> Self {
        Self { is_terminal: stdout().is_terminal(), is_closed: false, line: Vec::new() }
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        match stdout().write_all(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            result => result,
        }
    }
}

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_closed && !self.is_terminal {
            self.pass(bytes)?;
        } else if !self.is_closed {
            self.line.extend_from_slice(bytes);
            while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                let shown = format!("{}\n", visible(text.trim_end_matches(['\r', '\n'])));
                self.pass(shown.as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match stdout().flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

/// Writes text that is already safe for a terminal. A closed stderr or a full disk is no error.
pub(crate) fn write(text: &str) {
    let _ = match &mut *destination() {
        Destination::Undecided(waiting) => {
            waiting.push_str(text);
            Ok(())
        }
        Destination::Stderr => stderr().lock().write_all(text.as_bytes()),
        Destination::Log(file) => file.write_all(text.as_bytes()),
    };
}

/// A word of a command line, for a shell.
pub(crate) fn quoted(word: &str) -> String {
    // Only a NUL byte cannot be quoted, and no argument has one.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Cow::into_owned)
}

/// A number and a noun with a regular plural.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
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
        if is_due && matches!(*destination(), Destination::Stderr) && understands_escapes(&stderr()) {
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

/// The style of our messages.
pub(crate) fn own_style() -> Style {
    match &*destination() {
        Destination::Log(file) => style(file),
        Destination::Undecided(_) | Destination::Stderr => style(&stderr()),
    }
}

/// The style of text for this stream.
pub(crate) fn style(stream: &(impl IsTerminal + AsFd)) -> Style {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    Style::of(stream, &locale, is_coloured(stream))
}

/// Whether text for this stream may be coloured: <https://no-color.org>.
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    understands_escapes(stream) && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A terminal that names itself `dumb` would show escape sequences as text. The shell of an editor is one.
fn understands_escapes(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("TERM").is_none_or(|name| name != "dumb")
}
