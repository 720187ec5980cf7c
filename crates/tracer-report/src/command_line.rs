//! Arguments as a command line for a shell.

use crate::untrusted::{Untrusted, is_unseen, visible};

/// Quotes arguments for a shell. `None` if there are none.
pub(crate) fn command_line(arguments: &[Untrusted]) -> Option<Untrusted> {
    // Only the first word can be an assignment. Later `NAME=value` words need no quotes.
    let is_plain = |text: &str| {
        text.contains('=') && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"=-_./:,+@%".contains(&c))
    };
    let word = |(index, text): (usize, &Untrusted)| match text.exact() {
        text if index > 0 && is_plain(text) => text.to_owned(),
        // A reader who copies the shown text gets the same argument.
        text if text.contains(is_unseen) => {
            let text = text.replace('\\', "\\\\").replace('\'', "\\'");
            format!("$'{}'", visible(&text))
        }
        // The only error is for NUL, which is unseen.
        text => shlex::try_quote(text).unwrap_or_default().into_owned(),
    };
    let words: Vec<_> = arguments.iter().enumerate().map(word).collect();
    (!words.is_empty()).then(|| words.join(" ").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted() {
        let line = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|argument| Untrusted::from(*argument)).collect();
            command_line(&arguments).map(|line| line.exact().to_owned())
        };
        assert_eq!(line(&["make", "V=1", "a b", "$(x)"]).unwrap(), "make V=1 'a b' '$(x)'");
        assert_eq!(line(&["A=1", "it's"]).unwrap(), "'A=1' \"it's\"");
        assert_eq!(line(&["sh", "-c", "a\\b 'c'\n\u{202e}d"]).unwrap(), "sh -c $'a\\\\b \\'c\\'\\n\\u202ed'");
        assert_eq!(line(&[]), None);
    }
}
