//! DataKit's filters of connections, translated into the expression language.
//!
//! A filter is a list of conditions, separated by `;` or by lines. A connection that meets one of them is dropped.

/// Translates each condition of a filter. Returns its original text, and the translation or the reason why there is none.
pub(super) fn translate(filter: &str) -> Vec<(String, Result<String, String>)> {
    let tokens = match lex(filter) {
        Ok(tokens) => tokens,
        Err(reason) => return vec![(filter.trim().to_owned(), Err(reason))],
    };
    let mut conditions = Vec::new();
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    loop {
        while parser.eat(&Kind::End) {}
        let Some(first) = parser.tokens.get(parser.at) else { return conditions };
        parser.depth = 0;
        let parsed = parser.either().and_then(|expression| match parser.peek() {
            None | Some(Kind::End) => condition(&expression),
            Some(_) => Err("it is not understood".to_owned()),
        });
        // After an error, go on with the next condition.
        while parser.peek().is_some_and(|next| *next != Kind::End) {
            parser.at += 1;
        }
        let end = parser.tokens.get(parser.at).map_or(filter.len(), |end| end.start);
        let source = filter.get(first.start..end).unwrap_or_default().trim();
        conditions.push((source.split_whitespace().collect::<Vec<_>>().join(" "), parsed));
    }
}

fn condition(expression: &Expression) -> Result<String, String> {
    let printed = print(expression)?;
    if printed.kind == Type::Bool { Ok(printed.text) } else { Err("it is not true or false".to_owned()) }
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// A `;` or the end of a line.
    End,
    Open,
    Close,
    Comma,
    Operator(&'static str),
    Name(String),
    Text(String),
    Number(i64),
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    start: usize,
}

const OPERATORS: [&str; 9] = ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!"];

fn lex(filter: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = filter;
    while let Some(next) = rest.chars().next() {
        let start = filter.len() - rest.len();
        let (kind, length) = match next {
            ';' | '\n' => (Some(Kind::End), 1),
            _ if next.is_whitespace() => (None, next.len_utf8()),
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            '(' => (Some(Kind::Open), 1),
            ')' => (Some(Kind::Close), 1),
            ',' => (Some(Kind::Comma), 1),
            '"' | '\'' => {
                let (text, length) = text(rest, next)?;
                (Some(Kind::Text(text)), length)
            }
            '0'..='9' => {
                let length = rest.find(|next: char| !next.is_ascii_alphanumeric()).unwrap_or(rest.len());
                let digits = &rest[..length];
                let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
                let number = hex.map_or_else(|| digits.parse(), |hex| i64::from_str_radix(hex, 16));
                (Some(Kind::Number(number.map_err(|_| format!("'{digits}' is no whole number"))?)), length)
            }
            _ if next.is_alphabetic() || next == '_' => {
                let is_part = |next: char| next.is_alphanumeric() || next == '_';
                let length = rest.find(|next| !is_part(next)).unwrap_or(rest.len());
                (Some(Kind::Name(rest[..length].to_owned())), length)
            }
            _ => {
                let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator));
                let operator = operator.ok_or_else(|| format!("'{next}' is not understood"))?;
                (Some(Kind::Operator(operator)), operator.len())
            }
        };
        tokens.extend(kind.map(|kind| Token { kind, start }));
        if tokens.len() > MAX_TOKENS {
            return Err("it is too long".to_owned());
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(tokens)
}

/// Reads a text in quotes. Also returns its length in bytes, with the quotes. Three quotes begin a text of several lines.
fn text(source: &str, quote: char) -> Result<(String, usize), String> {
    let unterminated = || "a quote is missing".to_owned();
    let triple = [quote; 3].iter().collect::<String>();
    if let Some(rest) = source.strip_prefix(&triple) {
        let length = rest.find(&triple).ok_or_else(unterminated)?;
        return Ok((rest[..length].to_owned(), length + 6));
    }
    let mut out = String::new();
    let mut characters = source.char_indices().skip(1);
    while let Some((at, next)) = characters.next() {
        match next {
            _ if next == quote => return Ok((out, at + 1)),
            '\n' => break,
            '\\' => match characters.next().map(|(_, next)| next) {
                Some(next @ ('\\' | '\'' | '"')) => out.push(next),
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => return Err(format!("the escape \\{other} is not understood")),
                None => break,
            },
            _ => out.push(next),
        }
    }
    Err(unterminated())
}

#[derive(Debug)]
enum Expression {
    /// `||`, `&&` or a comparison.
    Binary(&'static str, Box<Self>, Box<Self>),
    Not(Box<Self>),
    Call(String, Vec<Self>),
    Name(String),
    Text(String),
    Number(i64),
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// How many parentheses are open here.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn eat(&mut self, kind: &Kind) -> bool {
        let is_next = self.peek() == Some(kind);
        self.at += usize::from(is_next);
        is_next
    }

    /// A line can end after an operator, `(` and `,`, and before `,` and `)`.
    fn skip_lines(&mut self) {
        while self.eat(&Kind::End) {}
    }

    fn operator(&mut self, operators: &[&str]) -> Option<&'static str> {
        match self.peek() {
            Some(Kind::Operator(operator)) if operators.contains(operator) => {
                self.at += 1;
                self.skip_lines();
                Some(operator)
            }
            _ => None,
        }
    }

    fn binary(
        &mut self,
        operators: &[&str],
        operand: fn(&mut Self) -> Result<Expression, String>,
    ) -> Result<Expression, String> {
        let mut left = operand(self)?;
        while let Some(operator) = self.operator(operators) {
            left = Expression::Binary(operator, Box::new(left), Box::new(operand(self)?));
        }
        Ok(left)
    }

    fn either(&mut self) -> Result<Expression, String> {
        self.binary(&["||"], Self::both)
    }

    fn both(&mut self) -> Result<Expression, String> {
        self.binary(&["&&"], Self::comparison)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        self.binary(&["==", "!=", "<=", ">=", "<", ">"], Self::unary)
    }

    fn unary(&mut self) -> Result<Expression, String> {
        // This is a loop and no recursion, so that a thousand `!` cannot overflow the stack.
        let mut negations = 0;
        while self.operator(&["!"]).is_some() {
            negations += 1;
        }
        let mut expression = self.primary()?;
        for _ in 0..negations % 2 {
            expression = Expression::Not(Box::new(expression));
        }
        Ok(expression)
    }

    fn primary(&mut self) -> Result<Expression, String> {
        let token = self.peek().ok_or_else(|| "it is not complete".to_owned())?;
        self.at += 1;
        match token {
            Kind::Open => {
                self.open()?;
                let inner = self.either()?;
                self.close()?;
                Ok(inner)
            }
            Kind::Name(name) if self.eat(&Kind::Open) => {
                self.open()?;
                let mut arguments = Vec::new();
                while self.peek() != Some(&Kind::Close) {
                    arguments.push(self.either()?);
                    self.skip_lines();
                    if !self.eat(&Kind::Comma) {
                        break;
                    }
                    self.skip_lines();
                }
                self.close()?;
                Ok(Expression::Call(name.clone(), arguments))
            }
            Kind::Name(name) => Ok(Expression::Name(name.clone())),
            Kind::Text(text) => Ok(Expression::Text(text.clone())),
            Kind::Number(number) => Ok(Expression::Number(*number)),
            Kind::End | Kind::Close | Kind::Comma | Kind::Operator(_) => Err("it is not understood".to_owned()),
        }
    }

    /// After an opening parenthesis.
    fn open(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it has too many parentheses".to_owned());
        }
        self.skip_lines();
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.skip_lines();
        self.depth = self.depth.saturating_sub(1);
        if self.eat(&Kind::Close) { Ok(()) } else { Err("a parenthesis is missing".to_owned()) }
    }
}

/// The parser and the printer are recursive.
const MAX_DEPTH: usize = 64;
const MAX_TOKENS: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Bool,
    Number,
    Text,
}

/// An expression in our language.
struct Printed {
    text: String,
    kind: Type,
    /// How strongly its outermost operator binds.
    strength: u8,
}

impl Printed {
    fn atom(text: impl Into<String>, kind: Type) -> Self {
        Self { text: text.into(), kind, strength: 5 }
    }

    /// The text as an operand of an operator.
    fn operand(self, strength: u8) -> String {
        if self.strength < strength { format!("({})", self.text) } else { self.text }
    }
}

fn print(expression: &Expression) -> Result<Printed, String> {
    match expression {
        Expression::Binary(operator, left, right) => binary(operator, left, right),
        Expression::Not(inner) => {
            let inner = print(inner)?;
            if inner.kind != Type::Bool {
                return Err("the operand of ! is not true or false".to_owned());
            }
            Ok(Printed { text: format!("!{}", inner.operand(4)), kind: Type::Bool, strength: 4 })
        }
        Expression::Call(name, arguments) => call(name, arguments),
        Expression::Name(name) => variable(name, true),
        Expression::Text(text) => Ok(Printed::atom(quoted(text), Type::Text)),
        Expression::Number(number) => Ok(Printed::atom(number.to_string(), Type::Number)),
    }
}

fn binary(operator: &str, left: &Expression, right: &Expression) -> Result<Printed, String> {
    let strength = match operator {
        "||" => 1,
        "&&" => 2,
        _ => 3,
    };
    // For a connection over IPv6, DataKit's `ip_saddr` is empty, and our `local_address` is an IPv6 address. Neither of
    // them equals an IPv4 address. So a comparison of `ip_saddr` with an IPv4 address needs no check of the family.
    let plain = |side: &Expression, other: &Expression| match (side, other) {
        (Expression::Name(name), Expression::Text(text)) => variable(name, !is_of_family(name, text)),
        _ => print(side),
    };
    let (left, right) = (plain(left, right)?, plain(right, left)?);
    let fits = match operator {
        "||" | "&&" => left.kind == Type::Bool && right.kind == Type::Bool,
        "==" | "!=" => left.kind == right.kind,
        _ => left.kind == Type::Number && right.kind == Type::Number,
    };
    if !fits {
        return Err(format!("the operands of {operator} do not fit"));
    }
    let text = format!("{} {operator} {}", left.operand(strength), right.operand(strength + 1));
    Ok(Printed { text, kind: Type::Bool, strength })
}

fn call(name: &str, arguments: &[Expression]) -> Result<Printed, String> {
    if !["ipnet_contains", "has_prefix"].contains(&name) {
        return Err(format!("there is no function '{name}'"));
    }
    let [first, second] = arguments else { return Err(format!("{name} needs two arguments")) };
    let (address, other) = if name == "has_prefix" { (first, second) } else { (second, first) };
    let address = match (address, other) {
        (Expression::Name(variable_name), Expression::Text(text)) => {
            variable(variable_name, !is_of_family(variable_name, text))?
        }
        _ => print(address)?,
    };
    let other = print(other)?;
    if address.kind != Type::Text || other.kind != Type::Text {
        return Err(format!("the arguments of {name} are no texts"));
    }
    let (first, second) = if name == "has_prefix" { (address, other) } else { (other, address) };
    Ok(Printed::atom(format!("{name}({}, {})", first.text, second.text), Type::Bool))
}

/// Whether a text has the address family of a variable. The text is an address, a network or a prefix of an address.
fn is_of_family(variable: &str, text: &str) -> bool {
    if variable.starts_with("ip6_") { text.contains(':') } else { text.contains('.') && !text.contains(':') }
}

/// Our name for a variable. With `guarded`, `ip_saddr` becomes `(ipv4 ? local_address : "")`, because DataKit's variable is
/// empty in an IPv6 connection.
fn variable(name: &str, guarded: bool) -> Result<Printed, String> {
    let (ours, kind) = match name {
        "tcp" | "udp" | "ipv4" | "ipv6" | "true" | "false" => (name, Type::Bool),
        "src_port" => ("local_port", Type::Number),
        "dst_port" => ("peer_port", Type::Number),
        "ip_saddr" | "ip6_saddr" => ("local_address", Type::Text),
        "ip_daddr" | "ip6_daddr" => ("peer_address", Type::Text),
        "k8s_src_pod" | "k8s_dst_pod" => {
            return Err(format!(
                "'{name}' is the name of a pod, which process-tracer does not know; the Collector's k8sattributes \
                                processor adds it"
            ));
        }
        _ => return Err(format!("there is no variable '{name}'")),
    };
    if kind == Type::Text && guarded {
        let family = if name.starts_with("ip6_") { "ipv6" } else { "ipv4" };
        return Ok(Printed { text: format!("({family} ? {ours} : \"\")"), kind, strength: 5 });
    }
    Ok(Printed::atom(ours, kind))
}

/// A text in our language.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for next in text.chars() {
        match next {
            '"' | '\\' => out.extend(['\\', next]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => out.push(next),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(filter: &str) -> Vec<String> {
        translate(filter)
            .into_iter()
            .map(|(_, result)| result.unwrap_or_else(|reason| format!("?? {reason}")))
            .collect()
    }

    #[test]
    fn each_condition_becomes_an_expression() {
        let filter = r#"
            udp
            (ip_saddr == "192.0.2.1" || ip_daddr == '192.0.2.1') &&
                (src_port == 443 || dst_port >= 0x1bb); ipv6
            # a comment
            ipnet_contains("127.0.0.0/8", ip_saddr)
            has_prefix(ip6_daddr, "fe80:") != !tcp
        "#;
        assert_eq!(
            lines(filter),
            [
                "udp",
                "(local_address == \"192.0.2.1\" || peer_address == \"192.0.2.1\") && (local_port == 443 || peer_port >= 443)",
                "ipv6",
                "ipnet_contains(\"127.0.0.0/8\", local_address)",
                "has_prefix(peer_address, \"fe80:\") != !tcp",
            ]
        );
    }

    #[test]
    fn an_address_of_the_other_family_stays_empty() {
        assert_eq!(lines("ip_saddr == ''"), ["(ipv4 ? local_address : \"\") == \"\""]);
        assert_eq!(lines("ip_saddr != ip_daddr"), ["(ipv4 ? local_address : \"\") != (ipv4 ? peer_address : \"\")"]);
        assert_eq!(lines("has_prefix(ip6_saddr, '')"), ["has_prefix((ipv6 ? local_address : \"\"), \"\")"]);
    }

    #[test]
    fn a_condition_that_cannot_be_translated_does_not_stop_the_others() {
        let conditions =
            translate("has_prefix(k8s_src_pod, 'web-') || tcp\nsrc_port\ndst_port == 'x'; (tcp; udp\nvxlan; ipv4");
        let [pod, number, types, open, unknown, last] = &conditions[..] else { panic!("{conditions:?}") };
        assert_eq!(pod.0, "has_prefix(k8s_src_pod, 'web-') || tcp");
        assert!(pod.1.as_ref().is_err_and(|reason| reason.contains("k8sattributes")), "{pod:?}");
        for broken in [number, types, open, unknown] {
            assert!(broken.1.is_err(), "{broken:?}");
        }
        assert_eq!(last.1.as_deref(), Ok("ipv4"));
        for nested in ["(", "f("] {
            assert!(lines(&nested.repeat(900))[0].starts_with("?? it has too many parentheses"));
            let deepest = nested.repeat(MAX_DEPTH) + &")".repeat(MAX_DEPTH);
            assert!(!lines(&deepest)[0].contains("too many parentheses"));
        }
        let many = vec!["(tcp)"; 2 * MAX_DEPTH].join(" || ");
        assert_eq!(lines(&many), [vec!["tcp"; 2 * MAX_DEPTH].join(" || ")]);
        assert!(lines(&"tcp || ".repeat(10_000))[0].starts_with("?? it is too long"));
        assert!(lines("tcp == 'a")[0].starts_with("?? a quote is missing"));
    }
}
