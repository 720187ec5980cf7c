//! Writes a rules file, with a comment above each rule that says where it came from.

use std::fmt::Write as _;

use crate::{
    located::Located,
    schema::{ConnectionRule, Drop, Rule, Scalar, Tags},
};

/// A rules file to be written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Lines at the top, as comments.
    pub(super) head: Vec<String>,
    /// The rules, each with its comment.
    pub(super) rules: Vec<(String, Rule)>,
    /// The rules for connections, each with its comment.
    pub(super) connections: Vec<(String, ConnectionRule)>,
    /// The command that prints tags, with its comment.
    pub(super) tags: Option<(String, Tags)>,
}

impl Draft {
    /// The text of the file.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            comment(&mut out, "", line);
        }
        if self.rules.is_empty() {
            out.push_str("rules: []\n");
        } else {
            out.push_str("rules:\n");
        }
        for (origin, rule) in &self.rules {
            item(&mut out, origin, &rule_lines(rule));
        }
        if !self.connections.is_empty() {
            out.push_str("connections:\n");
        }
        for (origin, rule) in &self.connections {
            item(&mut out, origin, &connection_lines(rule));
        }
        if let Some((origin, tags)) = &self.tags {
            out.push_str("tags:\n");
            comment(&mut out, "  ", origin);
            for line in tags_lines(tags) {
                let _ = writeln!(out, "  {line}");
            }
        }
        out
    }
}

fn comment(out: &mut String, indent: &str, text: &str) {
    for line in text.lines() {
        // A control character could end the comment.
        let line: String = line.chars().map(|next| if next.is_control() { ' ' } else { next }).collect();
        let _ = writeln!(out, "{indent}# {line}");
    }
}

fn item(out: &mut String, origin: &str, lines: &[String]) {
    comment(out, "  ", origin);
    match lines.split_first() {
        None => out.push_str("  - {}\n"),
        Some((first, rest)) => {
            let _ = writeln!(out, "  - {first}");
            for line in rest {
                let _ = writeln!(out, "    {line}");
            }
        }
    }
}

fn rule_lines(rule: &Rule) -> Vec<String> {
    let Rule {
        comm,
        exe,
        cmdline,
        process,
        parent,
        user,
        cgroup,
        container,
        env,
        attribute,
        when,
        name,
        rewrite,
        group,
        children,
        attributes,
        drop,
        shorter_than,
        accept,
        continues,
        tagged_only,
    } = rule;
    let mut lines = Vec::new();
    for (key, texts) in [("comm", comm), ("exe", exe), ("cmdline", cmdline), ("user", user), ("env", env)] {
        if !texts.is_empty() {
            lines.push(format!("{key}: {}", list(texts)));
        }
    }
    for (key, value) in [
        ("process", process),
        ("parent", parent),
        ("cgroup", cgroup),
        ("attribute", attribute),
        ("when", when),
        ("name", name),
        ("rewrite", rewrite),
    ] {
        lines.extend(value.as_ref().map(|text| format!("{key}: {}", quoted(&text.value))));
    }
    if let Some(group) = group {
        let text = group.value.as_deref().map(|text| format!(" {}", quoted(text)));
        lines.push(format!("group:{}", text.unwrap_or_default()));
    }
    if !attributes.0.is_empty() {
        lines.push("attributes:".to_owned());
        lines.extend(attributes.iter().map(|(key, value)| format!("  {}: {}", quoted(key), scalar(&value.value))));
    }
    lines.extend(drop.as_ref().map(|drop| {
        let drop = match drop.value {
            Drop::No => "false",
            Drop::Yes => "true",
            Drop::Always => "always",
        };
        format!("drop: {drop}")
    }));
    lines.extend(
        shorter_than.as_ref().map(|span| format!("shorter_than: {}", humantime::format_duration(span.value.0))),
    );
    for (key, value) in [
        ("container", container),
        ("children", children),
        ("tagged_only", tagged_only),
        ("accept", accept),
        ("continue", continues),
    ] {
        lines.extend(value.map(|value| format!("{key}: {value}")));
    }
    lines
}

fn connection_lines(rule: &ConnectionRule) -> Vec<String> {
    let ConnectionRule { when, drop, accept } = rule;
    let mut lines: Vec<String> = when.iter().map(|text| format!("when: {}", quoted(&text.value))).collect();
    for (key, value) in [("drop", drop), ("accept", accept)] {
        lines.extend(value.map(|value| format!("{key}: {value}")));
    }
    lines
}

fn tags_lines(tags: &Tags) -> Vec<String> {
    let Tags { command, interval, user } = tags;
    let mut lines = vec![format!("command: {}", list(command))];
    lines.extend(interval.as_ref().map(|span| format!("interval: {}", humantime::format_duration(span.value.0))));
    lines.extend(user.as_ref().map(|user| format!("user: {}", quoted(&user.value))));
    lines
}

fn list(texts: &[Located<String>]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(&text.value)).collect();
    format!("[{}]", texts.join(", "))
}

fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        // `{:?}` keeps the point: 1.0 is no whole number.
        Scalar::Float(value) => format!("{value:?}"),
        Scalar::Text(text) => quoted(text),
    }
}

/// A text as YAML. A simple name is written without quotes, because it is easier to read.
fn quoted(text: &str) -> String {
    let is_name = text.starts_with(|next: char| next.is_ascii_alphabetic())
        && text.chars().all(|next| next.is_ascii_alphanumeric() || "_-./".contains(next))
        // YAML reads these as other values.
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&&*text.to_ascii_lowercase());
    if is_name {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) || text.contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}']) {
        let mut out = String::from("\"");
        for next in text.chars() {
            match next {
                '"' | '\\' => out.extend(['\\', next]),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                _ if next.is_control() || ['\u{2028}', '\u{2029}', '\u{feff}'].contains(&next) => {
                    let _ = write!(out, "\\u{:04x}", u32::from(next));
                }
                _ => out.push(next),
            }
        }
        out.push('"');
        return out;
    }
    format!("'{}'", text.replace('\'', "''"))
}
