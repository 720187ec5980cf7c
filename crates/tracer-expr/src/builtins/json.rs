//! JSON, as Go's `encoding/json` writes and reads it.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::{Context, argument, text};
use crate::{
    budget::{Budget, MAX_VALUE_DEPTH},
    error::Fault,
    format, numbers,
    time::layout,
    value::{Key, List, ListKind, Map, MapKind, Value},
};

pub(super) fn to_json(arguments: &[Value], context: &mut Context<'_>) -> Result<Value, Fault> {
    let mut out = String::new();
    write(&mut out, argument(arguments), 0, context.budget)?;
    Ok(out.into())
}

fn line(out: &mut String, indent: usize) {
    out.push('\n');
    for _ in 0..indent {
        out.push_str("  ");
    }
}

fn write(out: &mut String, value: &Value, indent: usize, budget: &mut Budget) -> Result<(), Fault> {
    let start = out.len();
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) | Value::Duration(value) | Value::Month(value) | Value::Weekday(value) => {
            out.push_str(&value.to_string());
        }
        Value::Byte(value) => out.push_str(&value.to_string()),
        Value::Float(value) if value.is_finite() => out.push_str(&numbers::json(*value)),
        Value::Bytes(bytes) => {
            out.push('"');
            base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
            out.push('"');
        }
        Value::Time(time) => {
            let time = layout::json(time).ok_or_else(|| {
                Fault::evaluation("JSON cannot express this time: its year or its offset from UTC is out of range")
            })?;
            quote(out, &time);
        }
        Value::Zone(_) => out.push_str("{}"),
        Value::List(list) if list.nil => out.push_str("null"),
        Value::List(list) if list.is_empty() => out.push_str("[]"),
        Value::List(list) => {
            for (index, item) in list.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                budget.bytes(indent * 2 + 2)?;
                line(out, indent + 1);
                write(out, &item, indent + 1, budget)?;
            }
            line(out, indent);
            out.push(']');
            return budget.bytes(indent * 2 + 2);
        }
        Value::Map(map) if matches!(map.kind, MapKind::Any | MapKind::Groups) => {
            return Err(Fault::evaluation("JSON cannot express this map: its keys can be values other than strings"));
        }
        Value::Map(map) if map.is_empty() => out.push_str("{}"),
        Value::Map(map) => {
            for (index, (key, value)) in map.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                budget.bytes(indent * 2 + 4)?;
                line(out, indent + 1);
                write(out, &key, indent + 1, budget)?;
                out.push_str(": ");
                write(out, value, indent + 1, budget)?;
            }
            line(out, indent);
            out.push('}');
            return budget.bytes(indent * 2 + 2);
        }
        value => match value.as_str() {
            Some(text) => quote(out, text),
            None => return Err(Fault::evaluation(format!("JSON cannot express this {}", value.type_name()))),
        },
    }
    budget.bytes(out.len() - start)
}

/// A text in quotes, safe within HTML.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | char::REPLACEMENT_CHARACTER => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

impl Value {
    /// The value as JSON on one line. Keys that are not strings become text. So do NaN and infinite numbers.
    ///
    /// # Errors
    ///
    /// The text is too long.
    pub fn json(&self) -> Result<String, crate::Error> {
        let mut out = String::new();
        let written = write_line(&mut out, self, &mut Budget::default());
        written.map_err(|fault| crate::Error::bind(fault, "")).map(|()| out)
    }
}

fn write_line(out: &mut String, value: &Value, budget: &mut Budget) -> Result<(), Fault> {
    match value {
        Value::List(list) if !list.nil => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_line(out, &item, budget)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                quote(out, &format::text(&key, budget)?);
                out.push(':');
                write_line(out, value, budget)?;
            }
            out.push('}');
        }
        Value::Float(number) if !number.is_finite() => quote(out, &numbers::text(*number)),
        Value::Method(_) | Value::Absent => out.push_str("null"),
        Value::Duration(_) | Value::Month(_) | Value::Weekday(_) | Value::Zone(_) | Value::Time(_) => {
            quote(out, &format::text(value, budget)?);
        }
        value => write(out, value, 0, budget)?,
    }
    budget.bytes(2)
}

pub(super) fn from_json(arguments: &[Value], context: &mut Context<'_>) -> Result<Value, Fault> {
    let text = text(arguments, 0)?;
    context.budget.bytes(text.len())?;
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0, depth: 0, budget: context.budget };
    reader.space();
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.invalid());
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    budget: &'a mut Budget,
}

impl Reader<'_> {
    fn invalid(&self) -> Fault {
        Fault::evaluation(format!("invalid JSON at byte {}", self.at + 1))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let accepted = self.peek() == Some(byte);
        self.at += usize::from(accepted);
        accepted
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.accept(byte) { Ok(()) } else { Err(self.invalid()) }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.invalid());
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self) -> Result<Value, Fault> {
        self.budget.bytes(size_of::<Value>())?;
        match self.peek() {
            Some(b'n') => self.word("null", Value::Nil),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'"') => Ok(self.string()?.into()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => self.nested(Self::array),
            Some(b'{') => self.nested(Self::object),
            _ => Err(self.invalid()),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Fault>) -> Result<Value, Fault> {
        self.depth += 1;
        if self.depth > MAX_VALUE_DEPTH {
            return Err(Fault::budget(format!("the JSON nests deeper than {MAX_VALUE_DEPTH} levels")));
        }
        self.at += 1;
        self.space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        if !self.accept(b']') {
            loop {
                self.space();
                items.push(self.value()?);
                self.space();
                if self.accept(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        Ok(Value::List(List::new(ListKind::Any, items)?))
    }

    fn object(&mut self) -> Result<Value, Fault> {
        let mut entries = BTreeMap::new();
        if !self.accept(b'}') {
            loop {
                self.space();
                let key = self.string()?;
                self.space();
                self.expect(b':')?;
                self.space();
                entries.insert(Key::String(key.into()), self.value()?);
                self.space();
                if self.accept(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        Ok(Value::Map(Map::new(MapKind::Strings, entries)?))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        self.accept(b'-');
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _ = self.accept(b'+') || self.accept(b'-');
            self.digits()?;
        }
        match self.text[start..self.at].parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(Fault::evaluation("a number in the JSON is out of range")),
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(next) = rest.chars().next() else { return Err(self.invalid()) };
            match next {
                '"' => {
                    self.at += 1;
                    self.budget.bytes(out.len())?;
                    return Ok(out);
                }
                '\0'..' ' => return Err(self.invalid()),
                '\\' => {
                    self.at += 1;
                    let escape = self.peek().ok_or_else(|| self.invalid())?;
                    self.at += 1;
                    out.push(match escape {
                        b'"' | b'\\' | b'/' => char::from(escape),
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.unicode()?,
                        _ => return Err(self.invalid()),
                    });
                }
                _ => {
                    out.push(next);
                    self.at += next.len_utf8();
                }
            }
        }
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    /// Half of a surrogate pair alone is U+FFFD.
    fn unicode(&mut self) -> Result<char, Fault> {
        let high = self.four_digits().ok_or_else(|| self.invalid())?;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
            let start = self.at;
            self.at += 2;
            if let Some(low @ 0xdc00..0xe000) = self.four_digits() {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = start;
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}
