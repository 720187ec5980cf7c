//! Arguments as a command line that can be pasted into a shell.

use std::fmt::Write;

use crate::{
    span::Call,
    untrusted::{Untrusted, is_unseen},
};

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
    let directory = directory.map(|directory| format!("cd {}", quoter.quoted(directory.bytes())));
    // Only the first word can be an assignment. Later `NAME=value` words need no quotes.
    let words = arguments.iter().enumerate().map(|(index, text)| match text.exact() {
        plain if index > 0 && is_plain(plain) => plain.to_owned(),
        _ => quoter.quoted(text.bytes()),
    });
    let words = words.collect::<Vec<_>>().join(" ");
    let mut steps = quoter.variables;
    steps.extend(directory);
    steps.push(words);
    let line = steps.join(" && ");
    Some(if steps.len() > 1 { format!("({line})") } else { line }.into())
}

/// The note for a command line that does not start the program with exactly these arguments.
pub(crate) fn inexact(call: &Call, is_unicode: bool) -> Option<String> {
    if call.is_cut {
        return Some("not exact: the end of the arguments is missing".to_owned());
    }
    let shown = if is_unicode { "\u{fffd}" } else { "\\357\\277\\275" };
    let is_inexact = call.arguments.iter().chain(&call.directory).any(Untrusted::has_unknown_bytes);
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
    fn quoted(&mut self, bytes: &[u8]) -> String {
        if let Ok(text) = str::from_utf8(bytes)
            && !text.contains(|c| self.is_hidden(c))
        {
            return in_quotes(text);
        }
        // dash has no `$'…'`.
        let format = self.format(bytes);
        if !bytes.ends_with(b"\n") {
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

    /// The bytes as a format of printf(1), for single quotes. POSIX has octal escapes only.
    fn format(&self, bytes: &[u8]) -> String {
        let mut format = String::with_capacity(bytes.len() + 8);
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' => format.push_str("\\n"),
                    '\t' => format.push_str("\\t"),
                    '\\' => format.push_str("\\\\"),
                    '%' => format.push_str("%%"),
                    // `'` would end the quotes. The history of the shell would replace `!`.
                    '\'' | '!' => octal(&[c as u8], &mut format),
                    // It would begin an option.
                    '-' if format.is_empty() => octal(b"-", &mut format),
                    c if self.is_hidden(c) => octal(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut format),
                    c => format.push(c),
                }
            }
            octal(chunk.invalid(), &mut format);
        }
        format
    }
}

/// Writes each byte as an escape.
fn octal(bytes: &[u8], to: &mut String) {
    for byte in bytes {
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
        let bytes =
            command_line(Some(&argument(b"/\xe9")), &[argument(b"cat"), argument(b"-\xff\n"), argument(b"\xc3")], true);
        assert_eq!(
            bytes.unwrap().exact(),
            r#"(arg1=$(printf '\055\377\n.') && cd "$(printf '/\351')" && cat "${arg1%.}" "$(printf '\303')")"#
        );
        let in_folder = command_line(Some(&"/a b".into()), &["ls".into(), "ü".into()], false).unwrap();
        assert_eq!(in_folder.exact(), r#"(cd '/a b' && ls "$(printf '\303\274')")"#);
    }

    /// An argument as a report has it.
    fn argument(bytes: &[u8]) -> Untrusted {
        let text = Untrusted::from(&*String::from_utf8_lossy(bytes));
        let text = Untrusted::with_bytes(vec![text], Some(bytes)).remove(0);
        assert_eq!((text.bytes(), text.has_unknown_bytes()), (bytes, false));
        text
    }

    /// What a shell passes on if it gets the command line.
    fn executed(shell: &str, locale: &str, arguments: &[Vec<u8>], is_unicode: bool) -> Vec<u8> {
        let command = [b"printf".to_vec(), b"%s\\0".to_vec()];
        let all: Vec<_> = command.iter().chain(arguments).map(|bytes| argument(bytes)).collect();
        let line = command_line(Some(&"/".into()), &all, is_unicode).unwrap();
        assert!(!line.exact().contains(is_unseen), "{line:?}");
        assert!(is_unicode || line.exact().is_ascii(), "{line:?}");
        let output = Command::new(shell).env("LC_ALL", locale).arg("-c").arg(line.exact()).output().unwrap();
        assert!(output.status.success(), "{shell}: {line:?}: {output:?}");
        output.stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn each_shell_passes_on_the_same_arguments(
            arguments in prop::collection::vec(prop_oneof![
                "([^\0]|[-='\"!%\\\\$`{}~#*?\n\t\r ]){0,12}".prop_map(String::into_bytes),
                // Incomplete characters, also before characters that have a meaning for a shell.
                prop::collection::vec(prop_oneof![1..=u8::MAX, 0x7e..=0xff_u8, prop::sample::select(b"\n.%-'0 ".to_vec())], 0..8),
            ], 1..6),
            is_unicode in any::<bool>(),
            locale in prop::sample::select(vec!["C", "C.UTF-8"]),
        ) {
            let expected: Vec<u8> = arguments.iter().flat_map(|text| [text, &b"\0"[..]].concat()).collect();
            for shell in ["sh", "bash", "dash"] {
                prop_assert_eq!(executed(shell, locale, &arguments, is_unicode), &expected[..], "{}", shell);
            }
        }
    }
}
