//! Escapes in quoted strings.

/// The content between two quotes, or the place of the first bad escape.
pub(crate) fn unescape(content: &[char], quote: char) -> Result<String, usize> {
    let mut text = String::with_capacity(content.len());
    let mut escapes = Escapes { content, at: 0, quote };
    while let Some(next) = escapes.next()? {
        text.push(match next {
            Unit::Plain(character) => character,
            Unit::Code(code, _) => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
        });
    }
    Ok(text)
}

/// Like [`unescape`] for `b"…"`: hexadecimal and octal escapes are bytes, not characters.
pub(crate) fn unescape_bytes(content: &[char], quote: char) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(content.len());
    let mut escapes = Escapes { content, at: 0, quote };
    loop {
        let at = escapes.at;
        match escapes.next()? {
            None => return Ok(bytes),
            Some(Unit::Plain(character)) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Some(Unit::Code(code, false)) => bytes.push(u8::try_from(code).map_err(|_| at)?),
            Some(Unit::Code(_, true)) => return Err(at),
        }
    }
}

enum Unit {
    Plain(char),
    /// The character by its number. `true` if the number was written with `\u` or `\U`.
    Code(u32, bool),
}

struct Escapes<'a> {
    content: &'a [char],
    at: usize,
    quote: char,
}

impl Escapes<'_> {
    fn next(&mut self) -> Result<Option<Unit>, usize> {
        let Some(&character) = self.content.get(self.at) else { return Ok(None) };
        let start = self.at;
        self.at += 1;
        match character {
            '\r' => {
                // All line ends are \n.
                if self.content.get(self.at) == Some(&'\n') {
                    self.at += 1;
                }
                return Ok(Some(Unit::Plain('\n')));
            }
            '\\' => {}
            _ => return Ok(Some(Unit::Plain(character))),
        }
        let Some(&escape) = self.content.get(self.at) else { return Err(start) };
        self.at += 1;
        let plain = |character| Ok(Some(Unit::Plain(character)));
        match escape {
            'a' => plain('\u{7}'),
            'b' => plain('\u{8}'),
            'f' => plain('\u{c}'),
            'n' => plain('\n'),
            'r' => plain('\r'),
            't' => plain('\t'),
            'v' => plain('\u{b}'),
            '\\' => plain('\\'),
            _ if escape == self.quote => plain(escape),
            '0'..='3' => {
                self.at -= 1;
                Ok(Some(Unit::Code(self.digits(3, 8).ok_or(start)?, false)))
            }
            'x' => Ok(Some(Unit::Code(self.digits(2, 16).ok_or(start)?, false))),
            'u' if self.content.get(self.at) == Some(&'{') => {
                self.at += 1;
                let length = self.content[self.at..].iter().position(|next| *next == '}').ok_or(start)?;
                if !(1..=6).contains(&length) {
                    return Err(start);
                }
                let code = self.digits(length, 16).ok_or(start)?;
                self.at += 1;
                Ok(Some(Unit::Code(in_unicode(code).ok_or(start)?, true)))
            }
            'u' | 'U' => {
                let code = self.digits(if escape == 'u' { 4 } else { 8 }, 16).ok_or(start)?;
                Ok(Some(Unit::Code(in_unicode(code).ok_or(start)?, true)))
            }
            _ => Err(start),
        }
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let digits = self.content.get(self.at..self.at + count)?;
        self.at += count;
        digits.iter().try_fold(0_u32, |code, digit| code.checked_mul(radix)?.checked_add(digit.to_digit(radix)?))
    }
}

fn in_unicode(code: u32) -> Option<u32> {
    (code <= u32::from(char::MAX)).then_some(code)
}
