//! Templates of other tools, written as ours.
//!
//! Ours know `$1` and `${NAME}` for captures, `%NAME%` for variables, and `{{.Field}}` as process-exporter does.

use crate::pattern::Pattern;

/// The fields of a process that process-exporter's templates and ours have in common.
const FIELDS: [&str; 8] = [".Comm", ".ExeBase", ".ExeFull", ".Username", ".PID", ".StartTime", ".Cgroups", ".Cwd"];

/// A plain text.
pub(super) fn literal(text: &str) -> Result<String, String> {
    if text.contains("{{") || has_variable(text) {
        return Err(format!("the text '{text}' would be a template in a rules file"));
    }
    Ok(text.replace('$', "$$"))
}

/// Whether there is a `%NAME%`.
fn has_variable(text: &str) -> bool {
    let mut parts = text.split('%').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_name = part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.chars().all(|next| next.is_ascii_alphanumeric() || next == '_');
        if is_name && parts.peek().is_some() {
            return true;
        }
    }
    false
}

/// A template of Go: fields of the process, and the captures in `.Matches`. `patterns` are those of its rule.
pub(super) fn of_go(template: &str, patterns: &[Pattern]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(&literal(before)?);
        let (action, after) = after.split_once("}}").ok_or_else(|| format!("the template '{template}' has no end"))?;
        rest = after;
        let field = action.trim();
        if field.starts_with("/*") && field.ends_with("*/") {
            continue;
        }
        match capture(field) {
            Some(name) if patterns.iter().all(|pattern| pattern.group(name).is_none()) => {
                return Err(format!("no expression has a capture '{name}'"));
            }
            Some(name) => out.extend(["{{.Matches.", name, "}}"]),
            None if FIELDS.contains(&field) => out.extend(["{{", field, "}}"]),
            None => return Err(format!("the template '{{{{{action}}}}}' is not a field of a process")),
        }
    }
    out.push_str(&literal(rest)?);
    Ok(out)
}

/// The name of a capture: `.Matches.NAME` or `index .Matches "NAME"`.
fn capture(field: &str) -> Option<&str> {
    let name = field.strip_prefix(".Matches.").or_else(|| {
        let argument = field.strip_prefix("index")?.trim_start().strip_prefix(".Matches")?.trim_start();
        argument.strip_prefix('"')?.strip_suffix('"')
    })?;
    let is_name = !name.is_empty() && name.chars().all(|next| next.is_ascii_alphanumeric() || next == '_');
    is_name.then_some(name)
}

/// A replacement of Rust's `regex` crate, in which `%NAME%` is a variable of the environment, too.
pub(super) fn of_replacement(replacement: &str, pattern: &Pattern) -> Result<String, String> {
    let check = |name: &str| {
        let is_known =
            name.parse().map_or_else(|_| pattern.group(name).is_some(), |number: usize| number < pattern.groups());
        if is_known { Ok(()) } else { Err(format!("the expression has no capture '{name}'")) }
    };
    if replacement.contains("{{") {
        return Err(format!("the text '{replacement}' would be a template in a rules file"));
    }
    let is_name = |next: char| next.is_ascii_alphanumeric() || next == '_';
    let mut out = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let plain = after.find(|next| !is_name(next)).unwrap_or(after.len());
        if let Some(after) = after.strip_prefix('$') {
            out.push_str("$$");
            rest = after;
        } else if let Some((name, after)) = braced {
            check(name)?;
            out.extend(["${", name, "}"]);
            rest = after;
        } else if plain > 0 {
            // `$1_x` is the capture "1_x", as in the `regex` crate.
            check(&after[..plain])?;
            out.extend(["${", &after[..plain], "}"]);
            rest = &after[plain..];
        } else {
            out.push_str("$$");
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_go_become_ours() {
        let patterns = [Pattern::compile("(?P<n>.)(?P<port>.)").unwrap()];
        for (go, ours) in [
            ("{{.Comm}}", "{{.Comm}}"),
            ("{{ .ExeFull }}:{{index .Matches \"port\"}}", "{{.ExeFull}}:{{.Matches.port}}"),
            ("web-{{/* a comment */}}{{.Matches.n}}", "web-{{.Matches.n}}"),
            ("cost$5", "cost$$5"),
            ("50% or 60%", "50% or 60%"),
        ] {
            assert_eq!(of_go(go, &patterns).as_deref(), Ok(ours), "{go}");
        }
        for go in [
            "{{if .Comm}}a{{end}}",
            "{{.Comm | printf \"%s\"}}",
            "{{- .Comm}}",
            "{{.Comm",
            "{{.Name}}",
            "{{.Matches.none}}",
            "%HOME%",
        ] {
            assert!(of_go(go, &patterns).is_err(), "{go}");
        }
    }

    #[test]
    fn replacements_name_their_captures_in_braces() {
        for (theirs, ours) in [
            ("$1-py-script", "${1}-py-script"),
            ("${NAME}-%HOSTNAME%", "${NAME}-%HOSTNAME%"),
            ("$0-$NAME", "${0}-${NAME}"),
            ("a$$b$ c$", "a$$b$$ c$$"),
            ("plain", "plain"),
        ] {
            let pattern = Pattern::compile("(a)(?P<NAME>b)").unwrap();
            assert_eq!(of_replacement(theirs, &pattern).as_deref(), Ok(ours), "{theirs}");
        }
        let pattern = Pattern::compile("(a)").unwrap();
        for unusable in ["{{.Comm}}", "$2", "$1_x", "${NAME}"] {
            assert!(of_replacement(unusable, &pattern).is_err(), "{unusable}");
        }
    }
}
