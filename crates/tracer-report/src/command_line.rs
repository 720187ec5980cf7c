//! Arguments as a command line that can be pasted into a shell.

use std::fmt::Write;

use crate::untrusted::{Untrusted, is_unseen};

/// Writes a command line that starts a program with exactly these arguments, in `directory` if it is given. sh, bash, dash and
/// zsh understand it. It is one line, and has only characters that draw something. Without `is_unicode` it has only ASCII.
/// `None` if there are no arguments.
pub(crate) fn command_line(
    directory: Option<&Untrusted>,
    arguments: &[Untrusted],
    is_unicode: bool,
) -> Option<Untrusted> {
    if arguments.is_empty() {
        return None;
    }
    let mut quoter = Quoter { is_unicode, variables: Vec::new() };
    let directory = directory.map(|directory| format!("cd {}", quoter.quoted(directory.exact())));
    // Only the first word can be an assignment. Later `NAME=value` words need no quotes.
    let words = arguments.iter().map(Untrusted::exact).enumerate().map(|(index, text)| match text {
        text if index > 0 && is_plain(text) => text.to_owned(),
        text => quoter.quoted(text),
    });
    let words = words.collect::<Vec<_>>().join(" ");
    let mut steps = quoter.variables;
    steps.extend(directory);
    steps.push(words);
    let line = steps.join(" && ");
    Some(if steps.len() > 1 { format!("({line})") } else { line }.into())
}

/// The note for a command line in which U+FFFD stands for bytes that nobody knows: a span has only UTF-8.
pub(crate) fn inexact(arguments: &[Untrusted], is_unicode: bool) -> Option<String> {
    let shown = if is_unicode { "\u{fffd}" } else { "\\357\\277\\275" };
    let is_inexact = arguments.iter().any(|text| text.exact().contains('\u{fffd}'));
    is_inexact.then(|| format!("not exact: {shown} replaces bytes that are not UTF-8"))
}

/// Quotes a text only if that is needed, in the form that is easiest to read.
fn in_quotes(text: &str) -> String {
    let is_safe = |c: u8| c.is_ascii_alphanumeric() || b"-_./:,+@%".contains(&c);
    if !text.is_empty() && text.bytes().all(is_safe) {
        return text.to_owned();
    }
    let is_simple = !text.contains(['"', '$', '`', '\\', '!']);
    if text.contains('\'') && is_simple {
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Whether all shells keep a word with a `=` as it is. zsh replaces a word that begins with `=`.
fn is_plain(text: &str) -> bool {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"=-_./:,+@%".contains(&c);
    text.contains('=') && !text.starts_with('=') && text.bytes().all(is_plain)
}

struct Quoter {
    is_unicode: bool,
    /// Assignments that come before the words.
    variables: Vec<String>,
}

impl Quoter {
    fn quoted(&mut self, text: &str) -> String {
        if !text.contains(|c| self.is_hidden(c)) {
            return in_quotes(text);
        }
        // dash has no `$'…'`.
        let format = self.format(text);
        if !text.ends_with('\n') {
            return format!("\"$(printf '{format}')\"");
        }
        // `$(…)` drops newlines at the end. The dot protects them.
        let name = format!("arg{}", self.variables.len() + 1);
        self.variables.push(format!("{name}=$(printf '{format}.')"));
        format!("\"${{{name}%.}}\"")
    }

    fn is_hidden(&self, c: char) -> bool {
        is_unseen(c) || !self.is_unicode && !c.is_ascii()
    }

    /// The text as a format of printf(1), for single quotes. POSIX has octal escapes only.
    fn format(&self, text: &str) -> String {
        let mut format = String::with_capacity(text.len() + 8);
        for (at, c) in text.char_indices() {
            match c {
                '\n' => format.push_str("\\n"),
                '\t' => format.push_str("\\t"),
                '\\' => format.push_str("\\\\"),
                '%' => format.push_str("%%"),
                // `'` would end the quotes. The history of the shell would replace `!`.
                '\'' | '!' => octal(c, &mut format),
                // It would begin an option.
                '-' if at == 0 => octal(c, &mut format),
                c if self.is_hidden(c) => octal(c, &mut format),
                c => format.push(c),
            }
        }
        format
    }
}

/// Writes each byte of the character as an escape.
fn octal(c: char, to: &mut String) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a String cannot fail.
        let _ = write!(to, "\\{byte:03o}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn line(arguments: &[&str]) -> Option<String> {
        let arguments: Vec<_> = arguments.iter().map(|argument| Untrusted::from(*argument)).collect();
        command_line(None, &arguments, true).map(|line| line.exact().to_owned())
    }

    #[test]
    fn arguments_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(line(&["make", "V=1", "a b", "$(x)"]).unwrap(), "make V=1 'a b' '$(x)'");
        assert_eq!(line(&["sh", "-c", "a \"\\$b\"; 'c' d", ""]).unwrap(), r#"sh -c 'a "\$b"; '\''c'\'' d' ''"#);
        assert_eq!(line(&["A=1", "it's", "=ls"]).unwrap(), "'A=1' \"it's\" '=ls'");
        assert_eq!(
            line(&["sh", "-c", "a\\b 'c'\n\u{202e}d"]).unwrap(),
            r#"sh -c "$(printf 'a\\b \047c\047\n\342\200\256d')""#
        );
        assert_eq!(line(&["sh", "-c", "a\n"]).unwrap(), r#"(arg1=$(printf 'a\n.') && sh -c "${arg1%.}")"#);
        assert_eq!(line(&[]), None);
        let in_folder = command_line(Some(&"/a b".into()), &["ls".into(), "ü".into()], false).unwrap();
        assert_eq!(in_folder.exact(), r#"(cd '/a b' && ls "$(printf '\303\274')")"#);
    }

    /// What a shell passes on if it gets the command line.
    fn executed(shell: &str, arguments: &[String], is_unicode: bool) -> Vec<u8> {
        let command = ["printf".to_owned(), "%s\\0".to_owned()];
        let all: Vec<_> = command.iter().chain(arguments).map(|text| Untrusted::from(text.as_str())).collect();
        let line = command_line(Some(&"/".into()), &all, is_unicode).unwrap();
        assert!(!line.exact().contains(is_unseen), "{line:?}");
        assert!(is_unicode || line.exact().is_ascii(), "{line:?}");
        let output = Command::new(shell).arg("-c").arg(line.exact()).output().unwrap();
        assert!(output.status.success(), "{shell}: {line:?}: {output:?}");
        output.stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn each_shell_passes_on_the_same_arguments(
            arguments in prop::collection::vec("([^\0]|[-='\"!%\\\\$`{}~#*?\n\t\r ]){0,12}", 1..6),
            is_unicode in any::<bool>(),
        ) {
            let expected: Vec<u8> = arguments.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
            for shell in ["sh", "bash", "dash"] {
                prop_assert_eq!(executed(shell, &arguments, is_unicode), &expected[..], "{}", shell);
            }
        }
    }
}
