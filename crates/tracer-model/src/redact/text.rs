//! Secrets in any text: tokens, passwords in URLs, and values after the name of a secret.

use std::{borrow::Cow, ops::Range};

use super::{
    cut::{Cut, apply},
    names::{Kind, Names, words},
    tokens, url,
};

/// A text that is not a command, without the secrets in it.
///
/// ```
/// use tracer_model::redact::text;
///
/// assert_eq!(text("postgres://me:s3cret@db.example/"), "postgres://me:***@db.example/");
/// ```
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let mut cuts = Vec::new();
    search(text, &Names::default(), &mut cuts);
    apply(text, cuts).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Finds the secrets of a text.
pub(super) fn search(text: &str, names: &Names, cuts: &mut Vec<Cut>) {
    url::search(text, cuts);
    tokens::search(text, cuts);
    pairs(text, names, cuts);
    colons(text, names, cuts);
    sql(text, cuts);
}

/// Only this many bytes of a name are read. Its last words count.
const LONGEST_NAME: usize = 256;

/// The next pair of a list is searched for in this many bytes.
const LONGEST_LOOK: usize = 4096;

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

/// The start of the name that ends at `end`.
fn name_start(text: &str, end: usize) -> usize {
    end - text.as_bytes()[..end].iter().rev().take(LONGEST_NAME).take_while(|byte| is_name(**byte)).count()
}

/// The first separator before a name and `=`. The name begins with a letter and may have spaces.
fn before_pair(bytes: &[u8], separators: &[u8]) -> Option<usize> {
    let (mut separator, mut has_name) = (None, false);
    for (at, byte) in bytes.iter().enumerate() {
        let goes_on = match byte {
            b'=' if has_name => return separator,
            b' ' => true,
            byte if has_name => is_name(*byte),
            byte if byte.is_ascii_alphabetic() => {
                has_name = separator.is_some();
                true
            }
            byte => byte.is_ascii_whitespace(),
        };
        if !goes_on {
            (separator, has_name) = (None, false);
        }
        if separator.is_none() && separators.contains(byte) {
            separator = Some(at);
        }
    }
    None
}

/// Whether the value is itself a name, as in `Name=DB_PASSWORD,Value=X`.
fn is_naming(name: &str) -> bool {
    words(name).last().is_some_and(|word| word == "name" || word == "key")
}

fn is_value(name: &str) -> bool {
    words(name).last().is_some_and(|word| word == "value")
}

/// `NAME=VALUE`, also within another pair: `--set a=b,db.password=X`.
fn pairs(text: &str, names: &Names, cuts: &mut Vec<Cut>) {
    let bytes = text.as_bytes();
    let (mut from, mut is_named) = (0, false);
    // The length of the first pair. NAME belongs to it in `--env=NAME=X`, but not in `a=b,NAME=X`.
    let first = bytes.iter().take_while(|byte| is_name(**byte) || **byte == b'=').count();
    while let Some(equals) = text[from..].find('=').map(|at| from + at) {
        from = equals + 1;
        let is_comparison = bytes.get(from) == Some(&b'=') || equals > 0 && b"=!<>".contains(&bytes[equals - 1]);
        // HTTPie has `name:=value`, for JSON.
        let end = if text[..equals].ends_with(':') { equals - 1 } else { text[..equals].trim_end_matches(' ').len() };
        let start = name_start(text, end);
        let name = &text[start..end];
        if is_comparison || !name.contains(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let kind = if is_named && is_value(name) { Kind::Secret } else { names.kind(name) };
        if is_naming(name) {
            let inner = &text[from..from + text.as_bytes()[from..].iter().take_while(|byte| is_name(**byte)).count()];
            is_named = names.kind(inner) != Kind::Harmless;
        }
        if kind == Kind::Harmless {
            continue;
        }
        // `NAME = VALUE`
        let begin = from + text[from..].len() - text[from..].trim_start_matches(' ').len();
        let from_value = if end < equals { begin } else { from };
        let is_first = start == 0 || start <= first && bytes[start - 1] == b'=';
        let value = value(text, start, from_value, is_first);
        if kind.hides(&text[value.clone()]) {
            from = value.end;
            cuts.push(Cut::new(value));
        }
    }
}

/// The value of a pair whose name starts at `start`, without quotes.
fn value(text: &str, start: usize, from: usize, is_first: bool) -> Range<usize> {
    let before = &text[..start];
    let rest = &text[from..];
    let until = |length: Option<usize>| from..from + length.unwrap_or(rest.len());
    if is_first && before.is_empty() && text.starts_with("--") {
        return until(None);
    }
    if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let inner = from + 1;
        return inner..text[inner..].find(quote).map_or(text.len(), |at| inner + at);
    }
    match before.chars().next_back() {
        _ if is_first => {
            let end = before_pair(rest.as_bytes(), b",&; \n\t");
            // A comma or semicolon at the end does not belong to the value. It separates arguments of a function, or ends an
            // entry of a list.
            until(end.or_else(|| rest.strip_suffix([',', ';']).map(str::len)))
        }
        Some('?' | '&') => until(rest.find(|c: char| c.is_whitespace() || "&#'\"".contains(c))),
        Some(';') => until(rest.find([';', '\'', '"', '\n'])),
        Some(',') => {
            let look = &rest.as_bytes()[..rest.len().min(LONGEST_LOOK)];
            until(before_pair(look, b", ").or_else(|| rest.find(char::is_whitespace)))
        }
        _ => until(rest.find(|c: char| c.is_whitespace() || "'\"&;|(),".contains(c))),
    }
}

/// The values of these headers are secrets too.
const COOKIES: &str = "cookie";

/// `"NAME": "VALUE"` of JSON, `NAME: VALUE` of headers and YAML.
fn colons(text: &str, names: &Names, cuts: &mut Vec<Cut>) {
    let (mut from, mut is_named) = (0, false);
    while let Some(colon) = text[from..].find(':').map(|at| from + at) {
        from = colon + 1;
        if text[from..].starts_with("//") {
            continue;
        }
        let end = text[..colon].trim_end_matches([' ', '\t']).len();
        let quoted = quoted_name(text, end);
        let start = name_start(text, end);
        let name = quoted.unwrap_or(&text[start..end]);
        if name.is_empty() {
            continue;
        }
        let begin = from + text[from..].len() - text[from..].trim_start_matches([' ', '\t']).len();
        if quoted.is_some() {
            let kind = if is_named && is_value(name) { Kind::Secret } else { names.kind(name) };
            if is_naming(name) {
                let inner = text[begin..].trim_start_matches(['\\', '"', '\'']);
                let inner = &inner[..inner.bytes().take_while(|byte| is_name(*byte)).count()];
                is_named = names.kind(inner) != Kind::Harmless;
            }
            if kind == Kind::Harmless {
                continue;
            }
            let value = json_value(text, begin);
            if kind.hides(&text[value.clone()]) {
                from = value.end;
                cuts.push(Cut::new(value));
            }
            continue;
        }
        let is_cookie = words(name).last().is_some_and(|word| word == COOKIES);
        let kind = if is_cookie { Kind::Secret } else { names.kind(name) };
        if kind == Kind::Harmless || text[..start].ends_with("//") {
            continue;
        }
        // `${PASSWORD:-DEFAULT}`
        if text[..start].ends_with("${") && text[from..].starts_with(['-', '=', '+']) {
            let value = from + 1..text[from..].find('}').map_or(text.len(), |at| from + at);
            if kind.hides(&text[value.clone()]) {
                from = value.end;
                cuts.push(Cut::new(value));
            }
            continue;
        }
        // `secret:/path` is a volume and `token:read` is a scope. They are not headers.
        let name = name.trim_start_matches("-H");
        let is_header = is_cookie
            || words(name).last().is_some_and(|word| word == "authorization")
            || name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
        // `--password:VALUE` and `/password:VALUE` are options. `/token:/path` and `-vtoken:/path` are volumes.
        let is_long = text.starts_with("--");
        let is_option = (start == 0 && text.starts_with('-') || start == 1 && text.starts_with('/'))
            && (is_long || !text[from..].starts_with('/'));
        if is_option && !is_header && begin == from {
            if kind.hides(&text[from..]) {
                cuts.push(Cut::new(from..text.len()));
                return;
            }
            continue;
        }
        let is_yaml = begin > from && begins_entry(&text[..start]) && ends_entry(&text[yaml_value(text, begin).end..]);
        if !is_header && !is_yaml {
            continue;
        }
        let begin = begin + scheme(&text[begin..]);
        let value = if is_header { header_value(text, begin) } else { yaml_value(text, begin) };
        if kind.hides(&text[value.clone()]) {
            from = value.end;
            cuts.push(Cut::new(value));
        }
    }
}

/// `PASSWORD 'VALUE'` and `IDENTIFIED BY 'VALUE'` of SQL.
fn sql(text: &str, cuts: &mut Vec<Cut>) {
    let (mut from, mut done) = (0, 0);
    while let Some(open) = text[from..].find(['\'', '"']).map(|at| from + at) {
        from = open + 1;
        let between = &text[done..open];
        let before = between.trim_end();
        done = open;
        let word = &before[name_start(before, before.len())..];
        let is_identified =
            || before[..before.len() - word.len()].trim_end().to_ascii_lowercase().ends_with("identified");
        let is_secret = word.eq_ignore_ascii_case("password") || word.eq_ignore_ascii_case("by") && is_identified();
        if !is_secret || before.len() == between.len() {
            continue;
        }
        let end = text[from..].find(&text[open..from]).map_or(text.len(), |at| from + at);
        if end > from {
            cuts.push(Cut::new(from..end));
        }
        (from, done) = ((end + 1).min(text.len()), end);
    }
}

/// Finds the secret in a header: the text after the colon, if the name is that of a secret.
pub(super) fn header(text: &str, names: &Names, cuts: &mut Vec<Cut>) {
    let Some((name, _)) = text.split_once(':') else { return };
    let begin = name.len() + 1;
    let begin = begin + text[begin..].len() - text[begin..].trim_start().len();
    let begin = begin + scheme(&text[begin..]);
    let value = header_value(text, begin);
    if names.kind(name.trim()).hides(&text[value.clone()]) {
        cuts.push(Cut::new(value));
    }
}

/// A word before a credential can name the way to authenticate, for example `Bearer`. Returns the length of this word
/// with the space after it.
fn scheme(text: &str) -> usize {
    const SCHEMES: [&str; 6] = ["basic", "bearer", "token", "digest", "negotiate", "apikey"];
    let is_one = |scheme: &&&str| {
        let word = text.get(..scheme.len());
        word.is_some_and(|word| word.eq_ignore_ascii_case(scheme)) && text[scheme.len()..].starts_with(' ')
    };
    let word = SCHEMES.iter().find(is_one);
    word.map_or(0, |word| text.len() - text[word.len()..].trim_start().len())
}

/// The value of a header: up to the end of its line or of its quotes.
fn header_value(text: &str, begin: usize) -> Range<usize> {
    let end = text[begin..].find(['\'', '"', '\r', '\n']).map_or(text.len(), |at| begin + at);
    begin..begin + text[begin..end].trim_end().len()
}

/// Whether a name after this text may begin an entry of YAML: on its own line, or in brackets, but not in a sentence.
fn begins_entry(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '\t', '-']);
    before.is_empty() || before.ends_with(|c: char| "\n\r\\{[(,='\"".contains(c))
}

/// Whether an entry of YAML ends before this text. In a sentence, another word follows instead.
fn ends_entry(after: &str) -> bool {
    let after = after.trim_start_matches([' ', '\t']);
    after.is_empty() || after.starts_with(|c: char| "\n\r\\}]),'\"#".contains(c))
}

fn yaml_value(text: &str, begin: usize) -> Range<usize> {
    match text[begin..].chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let begin = begin + 1;
            begin..text[begin..].find(quote).map_or(text.len(), |at| begin + at)
        }
        _ => {
            begin
                ..text[begin..]
                    .find(|c: char| c.is_whitespace() || ",}'\"".contains(c))
                    .map_or(text.len(), |at| begin + at)
        }
    }
}

/// The name in the quotes that end at `end`. In JSON within JSON, the quotes have backslashes.
fn quoted_name(text: &str, end: usize) -> Option<&str> {
    let before = &text[..end];
    let quote = before.chars().next_back().filter(|c| matches!(c, '"' | '\''))?;
    let inner = before[..before.len() - 1].trim_end_matches('\\');
    let start = inner.rfind(quote)? + 1;
    Some(&inner[start..])
}

/// A value in JSON: the inside of a string, all of a list, or a number. The members of an object are searched separately.
fn json_value(text: &str, begin: usize) -> Range<usize> {
    let rest = &text[begin..];
    let backslashes = rest.len() - rest.trim_start_matches('\\').len();
    match rest[backslashes..].chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let begin = begin + backslashes + 1;
            let (mut end, mut escapes) = (begin, 0);
            for (at, c) in text[begin..].char_indices() {
                end = begin + at;
                let is_escaped = if backslashes == 0 { escapes % 2 == 1 } else { escapes > backslashes };
                if c == quote && !is_escaped {
                    return begin..end - if backslashes == 0 { 0 } else { escapes };
                }
                escapes = if c == '\\' { escapes + 1 } else { 0 };
                end += c.len_utf8();
            }
            begin..end
        }
        Some('{') => begin..begin,
        Some('[') => begin..rest.find(']').map_or(text.len(), |at| begin + at + 1),
        _ => begin..rest.find(|c: char| c.is_whitespace() || ",}]".contains(c)).map_or(text.len(), |at| begin + at),
    }
}
