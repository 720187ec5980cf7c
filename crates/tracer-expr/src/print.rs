//! A tree as text. Parsing the text gives the tree again.

use std::fmt::{self, Display, Write};

use crate::{
    ast::{Node, NodeKind},
    lex::{WORD_OPERATORS, is_name},
};

impl Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::Nil => f.write_str("nil"),
            NodeKind::Identifier(name) => f.write_str(name),
            // Printed trees were not optimized, so no number has a sign.
            NodeKind::Integer(value) => write!(f, "{value}"),
            NodeKind::Float(value) => write!(f, "{value:e}"),
            NodeKind::Bool(value) => write!(f, "{value}"),
            NodeKind::String(text) => quote(f, text.chars()),
            NodeKind::Bytes(bytes) => {
                f.write_str("b\"")?;
                bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
                f.write_char('"')
            }
            NodeKind::ConstantList(nodes) | NodeKind::ConstantSet(nodes) | NodeKind::Array(nodes) => {
                list(f, "[", nodes, "]")
            }
            NodeKind::Unary(operator, operand) => write!(f, "{}{}", operator.text(), Closed(operand)),
            NodeKind::Binary(operator, left, right) => {
                write!(f, "{} {} {}", Closed(left), operator.text(), Closed(right))
            }
            NodeKind::Chain(inner) => write!(f, "{inner}"),
            NodeKind::Member { object, property, optional, .. } => {
                // The chain of the object ends before this member. Parentheses mark its end.
                let object: &dyn Display = match &object.kind {
                    NodeKind::Chain(_) => &format_args!("({object})"),
                    _ => &Closed(object),
                };
                match property.as_string() {
                    Some(name) if is_name(name) => {
                        write!(f, "{object}{}{name}", if *optional { "?." } else { "." })
                    }
                    _ => write!(f, "{object}{}[{property}]", if *optional { "?." } else { "" }),
                }
            }
            NodeKind::Slice { object, from, to } => {
                write!(f, "{}[", Closed(object))?;
                from.iter().try_for_each(|from| write!(f, "{from}"))?;
                f.write_char(':')?;
                to.iter().try_for_each(|to| write!(f, "{to}"))?;
                f.write_char(']')
            }
            NodeKind::Call { callee, arguments } => {
                write!(f, "{}", Closed(callee))?;
                list(f, "(", arguments, ")")
            }
            NodeKind::Builtin(builtin) => {
                f.write_str(builtin.name)?;
                list(f, "(", &builtin.arguments, ")")
            }
            NodeKind::Predicate(body) => write!(f, "{{{body}}}"),
            NodeKind::Pointer(name) => write!(f, "#{name}"),
            NodeKind::Let { name, value, body } => write!(f, "let {name} = {}; {body}", Closed(value)),
            NodeKind::Sequence(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        f.write_str("; ")?;
                    }
                    write!(f, "{}", Closed(node))?;
                }
                Ok(())
            }
            NodeKind::Conditional { ternary: true, condition, then, otherwise } => {
                write!(f, "{} ? {} : {}", Closed(condition), Closed(then), Closed(otherwise))
            }
            NodeKind::Conditional { condition, then, otherwise, .. } => {
                write!(f, "if {} {{ {then} }} else {{ {otherwise} }}", Closed(condition))
            }
            NodeKind::Map(pairs) => {
                f.write_char('{')?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    match key.as_string() {
                        Some(name) if is_name(name) && !WORD_OPERATORS.contains(&name) => f.write_str(name)?,
                        Some(text) => quote(f, text.chars())?,
                        None => write!(f, "({key})")?,
                    }
                    write!(f, ": {}", Closed(value))?;
                }
                f.write_char('}')
            }
        }
    }
}

/// A node in parentheses. Nodes that never need parentheses get none.
struct Closed<'a>(&'a Node);

impl Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = matches!(
            self.0.kind,
            NodeKind::Unary(..)
                | NodeKind::Binary(..)
                | NodeKind::Let { .. }
                | NodeKind::Sequence(_)
                | NodeKind::Conditional { .. }
                | NodeKind::Integer(_)
                | NodeKind::Float(_)
                | NodeKind::Nil
                | NodeKind::Bool(_)
        );
        if open { write!(f, "({})", self.0) } else { write!(f, "{}", self.0) }
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, nodes: &[Node], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        match node.kind {
            NodeKind::Predicate(_) => write!(f, "{node}")?,
            _ => write!(f, "{}", Closed(node))?,
        }
    }
    f.write_str(close)
}

fn quote(f: &mut fmt::Formatter<'_>, characters: impl Iterator<Item = char>) -> fmt::Result {
    f.write_char('"')?;
    for character in characters {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            _ if character.is_control() => write!(f, "\\u{{{:x}}}", u32::from(character))?,
            _ => f.write_char(character)?,
        }
    }
    f.write_char('"')
}
