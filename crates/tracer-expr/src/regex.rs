//! Regular expressions in the dialect of RE2, on the `regex` crate.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;

/// The largest repetition that RE2 allows.
const MAX_REPEAT: u32 = 1_000;

/// The largest depth of groups. The compiler of the crate is recursive.
const MAX_NESTING: u32 = 250;

/// Bytes of a compiled pattern.
const SIZE_LIMIT: usize = 8 << 20;

/// A pattern that is well-formed.
#[derive(Debug)]
pub struct Pattern {
    /// In the dialect of the crate.
    translated: String,
    /// The cost of the compilation, in steps of an evaluation.
    pub(crate) cost: usize,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// RE2 refuses the pattern. The text says why.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let pattern = Translator::new(pattern).translate()?;
        let parser = ParserBuilder::new().utf8(false).nest_limit(MAX_NESTING).build().parse(&pattern.translated);
        parser.map_err(|error| match error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            _ => "it is not understood".to_owned(),
        })?;
        Ok(pattern)
    }

    /// Compiles it.
    ///
    /// # Errors
    ///
    /// The pattern needs too much memory.
    pub fn compile(&self) -> Result<Regex, String> {
        let mut builder = RegexBuilder::new(&self.translated);
        builder
            .size_limit(SIZE_LIMIT)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|_| "the pattern is too large".to_owned())
    }
}

/// Rewrites the parts that the `regex` crate reads differently. Refuses the patterns that RE2 refuses.
struct Translator {
    pattern: Vec<char>,
    at: usize,
    out: String,
    /// Whether a repetition can follow.
    repeatable: bool,
    /// Whether the last part was a repetition.
    repeated: bool,
    /// The product of nested repeat counts in each open group, and in the last part.
    weights: Vec<u32>,
    weight: u32,
    /// The start of the flags that were last written, if no other part has followed them.
    flags: Option<usize>,
    /// Whether there is a class of many characters.
    has_property: bool,
    /// The names of groups so far.
    names: Vec<String>,
}

impl Translator {
    fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.chars().collect(),
            at: 0,
            out: String::with_capacity(pattern.len() + 8),
            repeatable: false,
            repeated: false,
            weights: vec![1],
            weight: 1,
            flags: None,
            has_property: false,
            names: Vec::new(),
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.pattern.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, character)| self.peek(index) == Some(character))
    }

    fn translate(mut self) -> Result<Pattern, String> {
        while let Some(next) = self.peek(0) {
            match next {
                '\\' => self.escape()?,
                '[' => {
                    self.class()?;
                    self.atom();
                }
                '(' => self.group()?,
                ')' => {
                    let weight = self.weights.pop().unwrap_or(1);
                    if self.weights.is_empty() {
                        return Err("unexpected )".to_owned());
                    }
                    self.push(next);
                    self.atom();
                    self.weigh(weight);
                }
                '|' => {
                    self.push(next);
                    self.start();
                }
                '*' | '+' | '?' => {
                    self.at += 1;
                    self.repetition(next.to_string())?;
                }
                '{' => self.braces()?,
                '.' | '^' | '$' => {
                    self.push(next);
                    self.atom();
                }
                _ => {
                    self.at += 1;
                    self.literal(next);
                    self.atom();
                }
            }
        }
        if self.weights.len() > 1 {
            return Err("missing closing )".to_owned());
        }
        let repeats = self.weights.first().map_or(1, |weight| *weight as usize);
        let classes = if self.has_property { 40 } else { 1 };
        let cost = 5_000 + 100 * self.pattern.len() * repeats * classes;
        Ok(Pattern { translated: self.out, cost })
    }

    fn push(&mut self, character: char) {
        self.at += 1;
        self.out.push(character);
    }

    /// Writes a character that has no special meaning.
    fn literal(&mut self, character: char) {
        if regex_syntax::is_meta_character(character) {
            self.out.push('\\');
        }
        self.out.push(character);
    }

    fn atom(&mut self) {
        (self.repeatable, self.repeated) = (true, false);
        self.weight = 1;
        self.flags = None;
    }

    fn weigh(&mut self, weight: u32) {
        self.weight = weight;
        if let Some(group) = self.weights.last_mut() {
            *group = (*group).max(weight);
        }
    }

    /// Checks the part that a repetition repeats, and takes a `?` after it. Flags in between do not matter: `a(?i)*` is
    /// `a*(?i)`.
    fn repetition(&mut self, operator: String) -> Result<(), String> {
        if self.repeated {
            return Err("invalid nested repetition operator".to_owned());
        }
        if !self.repeatable {
            return Err("missing argument to repetition operator".to_owned());
        }
        let mut operator = operator;
        if self.peek(0) == Some('?') {
            self.at += 1;
            operator.push('?');
        }
        let place = self.flags.take().unwrap_or(self.out.len());
        self.out.insert_str(place, &operator);
        self.repeated = true;
        Ok(())
    }

    /// `{2}`, `{2,}` and `{2,3}` repeat; all other braces are literals.
    fn braces(&mut self) -> Result<(), String> {
        let rest: String = self.pattern[self.at + 1..].iter().take(64).collect();
        let Some((least, most, length)) = repeat(&rest) else {
            self.at += 1;
            self.literal('{');
            self.atom();
            return Ok(());
        };
        let too_many = |count: Option<u32>| count.is_none_or(|count| count > MAX_REPEAT);
        if too_many(Some(least.unwrap_or(u32::MAX))) || most.is_some_and(too_many) {
            return Err("invalid repeat count".to_owned());
        }
        if let Some(Some(most)) = most
            && least.is_some_and(|least| least > most)
        {
            return Err("invalid repeat count".to_owned());
        }
        let operator: String = self.pattern[self.at..=self.at + length].iter().collect();
        self.at += length + 1;
        let count = most.flatten().or(least).unwrap_or(1).max(1);
        let weight = self.weight * count;
        if weight > MAX_REPEAT {
            return Err("invalid repeat count".to_owned());
        }
        self.repetition(operator)?;
        self.weigh(weight);
        Ok(())
    }

    /// Starts a group, or the next branch of a group. No part of it was read yet.
    fn start(&mut self) {
        (self.repeatable, self.repeated) = (false, false);
        self.flags = None;
    }

    fn open_group(&mut self, open: &str) {
        self.out.push_str(open);
        self.weights.push(1);
        self.start();
    }

    fn group(&mut self) -> Result<(), String> {
        self.at += 1;
        if self.peek(0) != Some('?') {
            self.open_group("(");
            return Ok(());
        }
        if self.starts_with("?P<") || self.starts_with("?<") {
            let start = self.at + if self.starts_with("?P") { 3 } else { 2 };
            let name: String = self.pattern[start..].iter().take_while(|next| **next != '>').collect();
            let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !valid || start + name.len() >= self.pattern.len() {
                return Err("invalid named capture".to_owned());
            }
            self.at = start + name.len() + 1;
            // RE2 allows some names that the crate does not allow. Such a group has only its number.
            let is_known = name.starts_with(|first: char| !first.is_ascii_digit()) && !self.names.contains(&name);
            if is_known {
                self.open_group(&format!("(?P<{name}>"));
                self.names.push(name);
            } else {
                self.open_group("(");
            }
            return Ok(());
        }
        self.at += 1;
        let flags: String =
            self.pattern[self.at..].iter().take_while(|next| matches!(next, 'i' | 'm' | 's' | 'U' | '-')).collect();
        self.at += flags.len() + 1;
        match self.pattern.get(self.at - 1) {
            Some(':') => self.open_group(&format!("(?{flags}:")),
            // Flags belong to the group around them. They cannot be repeated.
            Some(')') => {
                self.repeated = false;
                if !flags.is_empty() {
                    self.flags.get_or_insert(self.out.len());
                    self.out.push_str(&format!("(?{flags})"));
                }
            }
            _ => return Err("invalid or unsupported group".to_owned()),
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(next) = self.peek(1) else { return Err("trailing backslash at end of expression".to_owned()) };
        match next {
            'A' | 'z' => {
                self.out.push('\\');
                self.out.push(next);
                self.at += 2;
            }
            // A word is ASCII.
            'b' | 'B' => {
                self.out.push_str(if next == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
                self.at += 2;
            }
            'Q' => {
                self.at += 2;
                return self.quoted();
            }
            'C' => return Err("invalid escape sequence: \\C".to_owned()),
            _ => {
                if let Some(class) = perl_class(next) {
                    // RE2 does not fold the case of these.
                    self.out.push_str("(?-i:[");
                    self.out.push_str(class);
                    self.out.push_str("])");
                    self.at += 2;
                } else if matches!(next, 'p' | 'P') {
                    self.property()?;
                } else {
                    let character = self.escaped_character()?;
                    self.literal(character);
                }
            }
        }
        self.atom();
        Ok(())
    }

    /// `\Q…\E`: no character has a special meaning.
    fn quoted(&mut self) -> Result<(), String> {
        while self.peek(0).is_some() {
            if self.starts_with("\\E") {
                self.at += 2;
                return Ok(());
            }
            let Some(next) = self.peek(0) else { break };
            self.at += 1;
            self.literal(next);
            self.atom();
        }
        Ok(())
    }

    /// An escape of one character.
    fn escaped_character(&mut self) -> Result<char, String> {
        let invalid = || "invalid escape sequence".to_owned();
        let next = self.peek(1).ok_or_else(invalid)?;
        let (character, length) = match next {
            'a' => ('\u{7}', 2),
            'f' => ('\u{c}', 2),
            't' => ('\t', 2),
            'n' => ('\n', 2),
            'r' => ('\r', 2),
            'v' => ('\u{b}', 2),
            'x' if self.peek(2) == Some('{') => {
                let digits: String =
                    self.pattern[self.at + 3..].iter().take(9).take_while(|digit| **digit != '}').collect();
                if self.peek(3 + digits.len()) != Some('}') || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                let code = u32::from_str_radix(&digits, 16).map_err(|_| invalid())?;
                (char::from_u32(code).ok_or_else(invalid)?, 4 + digits.len())
            }
            'x' => {
                let digit = |at| self.peek(at).and_then(|digit| digit.to_digit(16)).ok_or_else(invalid);
                let code = digit(2)? * 16 + digit(3)?;
                (char::from_u32(code).ok_or_else(invalid)?, 4)
            }
            // One octal digit is a reference to a group, except for zero.
            '1'..='7' if !matches!(self.peek(2), Some('0'..='7')) => return Err(invalid()),
            '0'..='7' => {
                let digits: String =
                    self.pattern[self.at + 1..].iter().take(3).take_while(|digit| digit.is_digit(8)).collect();
                let code = u32::from_str_radix(&digits, 8).map_err(|_| invalid())?;
                (char::from_u32(code).ok_or_else(invalid)?, 1 + digits.len())
            }
            _ if next.is_ascii() && !next.is_ascii_alphanumeric() => (next, 2),
            _ => return Err(invalid()),
        };
        self.at += length;
        Ok(character)
    }

    /// `\pN` and `\p{Greek}`.
    fn property(&mut self) -> Result<(), String> {
        self.has_property = true;
        let negated = self.peek(1) == Some('P');
        let (name, length) = if self.peek(2) == Some('{') {
            let name: String = self.pattern[self.at + 3..].iter().take_while(|next| **next != '}').collect();
            let length = 4 + name.chars().count();
            if self.peek(length - 1) != Some('}') {
                return Err("invalid character class range".to_owned());
            }
            (name, length)
        } else {
            let name = self.peek(2).ok_or_else(|| "invalid character class range".to_owned())?;
            (name.to_string(), 3)
        };
        let (inverted, name) = match name.strip_prefix('^') {
            Some(name) => (true, name.to_owned()),
            None => (false, name),
        };
        if !known_property(&name) {
            return Err("unknown character class".to_owned());
        }
        let escape = if negated == inverted { 'p' } else { 'P' };
        self.out.push_str(&format!("\\{escape}{{{name}}}"));
        self.at += length;
        Ok(())
    }

    /// `[…]`. Inside, only `]`, `\`, `^` at the start, `-` and `[:name:]` have a special meaning.
    fn class(&mut self) -> Result<(), String> {
        self.push('[');
        if self.peek(0) == Some('^') {
            self.push('^');
        }
        let mut first = true;
        loop {
            let next = self.peek(0).ok_or_else(|| "missing closing ]".to_owned())?;
            if next == ']' && !first {
                self.push(']');
                return Ok(());
            }
            first = false;
            if next == '[' && self.peek(1) == Some(':') && self.posix_class()? {
                continue;
            }
            if next == '\\' {
                let escape = self.peek(1).ok_or_else(|| "trailing backslash at end of expression".to_owned())?;
                if let Some(class) = perl_class(escape) {
                    if class.starts_with('^') {
                        self.out.push('[');
                        self.out.push_str(class);
                        self.out.push(']');
                    } else {
                        self.out.push_str(class);
                    }
                    self.at += 2;
                    continue;
                }
                if matches!(escape, 'p' | 'P') {
                    self.property()?;
                    continue;
                }
            }
            let low = self.class_character()?;
            let mut high = low;
            if self.peek(0) == Some('-') && !matches!(self.peek(1), Some(']') | None) {
                self.at += 1;
                if self.peek(0) == Some('\\')
                    && self.peek(1).is_some_and(|next| perl_class(next).is_some() || matches!(next, 'p' | 'P'))
                {
                    return Err("invalid character class range".to_owned());
                }
                high = self.class_character()?;
                if high < low {
                    return Err("invalid character class range".to_owned());
                }
            }
            self.class_literal(low);
            if high != low {
                self.out.push('-');
                self.class_literal(high);
            }
        }
    }

    fn class_character(&mut self) -> Result<char, String> {
        match self.peek(0) {
            None => Err("missing closing ]".to_owned()),
            Some('\\') => self.escaped_character(),
            Some(next) => {
                self.at += 1;
                Ok(next)
            }
        }
    }

    fn class_literal(&mut self, character: char) {
        // The character is written as its number. Then it has no special meaning anywhere in a class.
        self.out.push_str(&format!("\\x{{{:x}}}", u32::from(character)));
    }

    fn posix_class(&mut self) -> Result<bool, String> {
        let rest: String = self.pattern[self.at + 2..].iter().take(16).collect();
        let Some((name, _)) = rest.split_once(":]") else { return Ok(false) };
        let plain = name.strip_prefix('^').unwrap_or(name);
        if !POSIX_CLASSES.contains(&plain) {
            return Err("unknown character class".to_owned());
        }
        self.out.push_str(&format!("[:{name}:]"));
        self.at += name.len() + 4;
        Ok(true)
    }
}

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The content of a class for `\d` and similar escapes. They are ASCII.
fn perl_class(escape: char) -> Option<&'static str> {
    Some(match escape {
        'd' => "0-9",
        'D' => "^0-9",
        's' => r"\t\n\x0C\r ",
        'S' => r"^\t\n\x0C\r ",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        _ => return None,
    })
}

/// General categories by all their names, scripts by their long names. Case, spaces, `_` and `-` do not matter.
fn known_property(name: &str) -> bool {
    let plain: String = name.chars().filter(|next| !matches!(next, ' ' | '_' | '-')).collect();
    let plain = plain.to_ascii_lowercase();
    let exists = |property: &str| regex_syntax::parse(&format!("\\p{{{property}={plain}}}")).is_ok();
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return false;
    }
    // Scripts also have codes of four letters, which the reference does not know. `SHORT_SCRIPTS` has the long
    // names that have only four letters.
    let short = plain.len() == 4 && !SHORT_SCRIPTS.contains(&plain.as_str());
    matches!(plain.as_str(), "any" | "ascii" | "assigned") || exists("gc") || !short && exists("sc")
}

const SHORT_SCRIPTS: [&str; 8] = ["ahom", "cham", "kawi", "lisu", "modi", "newa", "thai", "toto"];

/// Reads `2}`, `2,}` or `2,3}`. Returns the smallest count, the largest count if there is a second number, and the
/// length without the brace. A number that is too long is `None`.
fn repeat(text: &str) -> Option<(Option<u32>, Option<Option<u32>>, usize)> {
    let (content, _) = text.split_once('}')?;
    let number = |digits: &str| -> Option<Option<u32>> {
        let valid = !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        valid.then(|| digits.parse().ok())
    };
    let length = content.chars().count() + 1;
    match content.split_once(',') {
        None => Some((number(content)?, None, length)),
        Some((least, "")) => Some((number(least)?, None, length)),
        Some((least, most)) => Some((number(least)?, Some(number(most)?), length)),
    }
}
