//! Splits source text into tokens.

use std::sync::LazyLock;

use regex::Regex;

use crate::{error::Fault, escape};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Identifier,
    Number,
    String,
    Bytes,
    Operator,
    Bracket,
    End,
}

/// One token, and where it begins, in characters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// The content of a byte literal.
    pub(crate) bytes: Vec<u8>,
    pub(crate) offset: usize,
}

impl Token {
    pub(crate) fn is(&self, kind: Kind, text: &str) -> bool {
        self.kind == kind && self.text == text
    }

    pub(crate) fn is_operator(&self, text: &str) -> bool {
        self.is(Kind::Operator, text)
    }

    pub(crate) fn is_bracket(&self, text: &str) -> bool {
        self.is(Kind::Bracket, text)
    }

    /// Its name in a message.
    pub(crate) fn describe(&self) -> String {
        match self.kind {
            Kind::End => "end of the expression".to_owned(),
            Kind::String => format!("string {:?}", self.text),
            Kind::Bytes => "byte string".to_owned(),
            Kind::Number => format!("number {}", self.text),
            Kind::Identifier | Kind::Operator | Kind::Bracket => format!("`{}`", self.text),
        }
    }
}

/// All tokens of a source; the last one is [`Kind::End`].
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { source: source.chars().collect(), start: 0, end: 0, tokens: Vec::new() };
    while lexer.token()? {}
    Ok(lexer.tokens)
}

/// Words that are operators.
pub(crate) const WORD_OPERATORS: [&str; 11] =
    ["not", "in", "or", "and", "matches", "contains", "startsWith", "endsWith", "let", "if", "else"];

struct Lexer {
    source: Vec<char>,
    start: usize,
    end: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.source.get(self.end).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.end += usize::from(next.is_some());
        next
    }

    fn accept(&mut self, valid: &str) -> bool {
        let accepted = self.peek().is_some_and(|next| valid.contains(next));
        self.end += usize::from(accepted);
        accepted
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn word(&self) -> String {
        self.source[self.start..self.end].iter().collect()
    }

    fn emit(&mut self, kind: Kind) {
        let text = self.word();
        self.emit_text(kind, text);
    }

    fn emit_text(&mut self, kind: Kind, text: String) {
        self.tokens.push(Token { kind, text, bytes: Vec::new(), offset: self.start });
        self.start = self.end;
    }

    fn error(&self, message: &str) -> Fault {
        Fault::syntax(self.end.saturating_sub(1).max(self.start), message)
    }

    /// Reads one token. False at the end.
    fn token(&mut self) -> Result<bool, Fault> {
        self.start = self.end;
        let Some(next) = self.next() else {
            self.tokens.push(Token { kind: Kind::End, text: String::new(), bytes: Vec::new(), offset: self.end });
            return Ok(false);
        };
        match next {
            _ if next.is_whitespace() => {}
            '\'' | '"' => self.string(next)?,
            '`' => self.raw_string()?,
            'b' | 'B' if matches!(self.peek(), Some('\'' | '"')) => self.byte_string()?,
            '0'..='9' => {
                self.end -= 1;
                self.number()?;
            }
            '?' => {
                self.accept(".?");
                self.emit(Kind::Operator);
            }
            '/' if self.accept("/") => while !matches!(self.next(), None | Some('\n')) {},
            '/' if self.accept("*") => self.block_comment()?,
            '#' => self.pointer(),
            '|' | ':' => {
                self.accept(next.encode_utf8(&mut [0; 4]));
                self.emit(Kind::Operator);
            }
            '(' | '[' | '{' | ')' | ']' | '}' => self.emit(Kind::Bracket),
            '/' | ',' | ';' | '%' | '+' | '-' | '^' => self.emit(Kind::Operator),
            '&' | '!' | '=' | '*' | '<' | '>' => {
                self.accept("&=*");
                self.emit(Kind::Operator);
            }
            '.' if matches!(self.peek(), Some('0'..='9')) => {
                self.end -= 1;
                self.number()?;
            }
            '.' => {
                self.accept(".");
                self.emit(Kind::Operator);
            }
            _ if is_alphanumeric(next) => {
                self.skip_word();
                let operator = WORD_OPERATORS.contains(&self.word().as_str());
                self.emit(if operator { Kind::Operator } else { Kind::Identifier });
            }
            _ => return Err(self.error(&format!("unrecognized character {next:?}"))),
        }
        Ok(true)
    }

    fn skip_word(&mut self) {
        while self.peek().is_some_and(is_alphanumeric) {
            self.end += 1;
        }
    }

    fn block_comment(&mut self) -> Result<(), Fault> {
        loop {
            match self.next() {
                None => return Err(self.error("the comment is not closed")),
                Some('*') if self.accept("/") => return Ok(()),
                Some(_) => {}
            }
        }
    }

    /// `#`, and the name that follows it.
    fn pointer(&mut self) {
        self.accept("#");
        self.emit(Kind::Operator);
        self.skip_word();
        if self.start != self.end {
            self.emit(Kind::Identifier);
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        let end = self.end;
        if self.accept(".") {
            if self.peek() == Some('.') {
                // A range, such as 1..2.
                self.end = end;
                self.emit(Kind::Number);
                return Ok(());
            }
            self.accept_run(digits);
        }
        if self.accept("eE") {
            self.accept("+-");
            self.accept_run(digits);
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.end += 1;
            return Err(self.error(&format!("bad number `{}`", self.word())));
        }
        self.emit(Kind::Number);
        Ok(())
    }

    /// Moves behind the closing quote.
    fn skip_string(&mut self, quote: char) -> Result<(), Fault> {
        loop {
            match self.next() {
                None => return Err(self.error("the string is not terminated")),
                Some('\n') => return Err(self.error("the string is not terminated on its line")),
                Some('\\') => {
                    if self.next().is_none() {
                        return Err(self.error("the string is not terminated"));
                    }
                }
                Some(next) if next == quote => return Ok(()),
                Some(_) => {}
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<(), Fault> {
        self.skip_string(quote)?;
        let content = &self.source[self.start + 1..self.end - 1];
        let text = escape::unescape(content, quote).map_err(|at| self.bad_escape(self.start + 1 + at))?;
        self.emit_text(Kind::String, text);
        Ok(())
    }

    fn byte_string(&mut self) -> Result<(), Fault> {
        let Some(quote) = self.next() else { return Ok(()) };
        self.skip_string(quote)?;
        let content = &self.source[self.start + 2..self.end - 1];
        let bytes = escape::unescape_bytes(content, quote).map_err(|at| self.bad_escape(self.start + 2 + at))?;
        self.emit(Kind::Bytes);
        if let Some(token) = self.tokens.last_mut() {
            token.bytes = bytes;
        }
        Ok(())
    }

    fn bad_escape(&self, offset: usize) -> Fault {
        Fault::syntax(offset, "invalid escape in the string; write \\\\ for a backslash")
    }

    /// Between backticks, only a doubled backtick has a special meaning.
    fn raw_string(&mut self) -> Result<(), Fault> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.error("the string is not terminated")),
                Some('`') if self.accept("`") => text.push('`'),
                Some('`') => break,
                Some(next) => text.push(next),
            }
        }
        self.emit_text(Kind::String, text);
        Ok(())
    }
}

/// Whether a name can begin with this character: a letter, `_` or `$`.
pub(crate) fn is_letter(character: char) -> bool {
    static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{L}$").ok());
    match character {
        'a'..='z' | 'A'..='Z' | '_' | '$' => true,
        _ if character.is_ascii() => false,
        _ => LETTER.as_ref().is_some_and(|letter| letter.is_match(character.encode_utf8(&mut [0; 4]))),
    }
}

/// Whether a name can continue with this character: a digit, or a character that can begin a name.
pub(crate) fn is_alphanumeric(character: char) -> bool {
    static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Nd}$").ok());
    match character {
        '0'..='9' => true,
        _ if is_letter(character) => true,
        _ if character.is_ascii() => false,
        _ => DIGIT.as_ref().is_some_and(|digit| digit.is_match(character.encode_utf8(&mut [0; 4]))),
    }
}

/// Whether a text can follow `.` as a name.
pub(crate) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(is_letter) && characters.all(is_alphanumeric)
}
