//! What we say: little, on stderr, never anything that a terminal would take for a command.

use std::{
    borrow::Cow,
    env,
    fmt::Display,
    io::{IsTerminal, Write},
};

/// Says one line.
pub(crate) fn say(message: impl Display) {
    write(&format!("process-tracer: {}\n", printable(&message.to_string())));
}

/// Warns in one line.
pub(crate) fn warn(message: impl Display) {
    say(format_args!("warning: {message}"));
}

/// Writes text that is already fit for a terminal. A closed stderr is no reason to fail.
pub(crate) fn write(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether what goes there may be coloured: <https://no-color.org>.
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text with its control characters escaped: what a command line holds must not steer the terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}"), "a\\u{1b}[2Jb\\nc\\u{9b}");
        assert!(matches!(printable("grün"), Cow::Borrowed(_)));
    }
}
