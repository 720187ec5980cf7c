//! process-exporter: the `process_names` of its YAML file.
//!
//! An entry selects processes and names their group. The first entry that matches decides. Children without a group of
//! their own belong to the group of the nearest process above them.

use super::{Output, document::Node, located, template};
use crate::{error::Error, pattern::Pattern, schema::Rule};

/// Lines at the top of the rules file.
pub(super) const HEAD: &str = "Converted from process-exporter. process-exporter ignores processes outside of all groups. \
                               Here such processes stay\nin the trace, without a group. To leave them out, add 'default: drop'.";

/// The group of an entry without a name.
const DEFAULT_GROUP: &str = "{{.ExeBase}}";

pub(super) fn convert(document: &Node, output: &mut Output) -> Result<(), Error> {
    output.draft.head.push(HEAD.to_owned());
    for (key, _) in document.members().iter().filter(|(key, _)| key != "process_names") {
        output.leave_out(format!("{key}: process-exporter has no such key"));
    }
    let entries = match document.get("process_names") {
        Some(Node::List(entries)) => &entries[..],
        Some(Node::Null) | None => &[],
        Some(_) => return Err(Error::new(None, "process_names is no list")),
    };
    for (index, entry) in entries.iter().enumerate() {
        let origin = format!("process_names[{index}]");
        if let Some(rule) = rule(&origin, entry, output)? {
            output.rule(origin, rule);
        }
    }
    Ok(())
}

/// The rule of an entry. An entry that can match no process has none.
fn rule(origin: &str, entry: &Node, output: &mut Output) -> Result<Option<Rule>, Error> {
    let mut rule = Rule::default();
    let mut group = String::new();
    let mut has_selector = false;
    let mut can_match = true;
    for (key, value) in entry.members() {
        match (&**key, value) {
            (_, Node::Null) => {}
            ("name", value) => {
                group = value.text().ok_or_else(|| Error::new(None, format!("{origin}.name is no text")))?;
            }
            ("comm" | "exe" | "cmdline", value) => {
                let texts =
                    value.texts().ok_or_else(|| Error::new(None, format!("{origin}.{key} is no list of texts")))?;
                has_selector = true;
                // An empty list of names selects nothing. An empty list of regular expressions selects everything.
                can_match &= !texts.is_empty() || key == "cmdline";
                let selector = match &**key {
                    "comm" => &mut rule.comm,
                    "exe" => &mut rule.exe,
                    _ => &mut rule.cmdline,
                };
                *selector = located(texts);
            }
            _ => output.leave_out(format!("{origin}.{key}: process-exporter has no such key")),
        }
    }
    if !has_selector {
        return Err(Error::new(None, format!("{origin} has none of comm, exe and cmdline")));
    }
    if !can_match {
        return Ok(None);
    }
    if group.is_empty() {
        DEFAULT_GROUP.clone_into(&mut group);
    }
    let patterns = rule.cmdline.iter().map(|regex| Pattern::compile(&regex.value)).collect::<Result<Vec<_>, _>>();
    let patterns = patterns.map_err(|reason| Error::new(None, format!("{origin}.cmdline: {reason}")))?;
    match template::of_go(&group, &patterns) {
        Ok(group) => rule.group = Some(Some(group).into()),
        Err(reason) => {
            output.leave_out(format!("{origin}.name: {reason}; the rule names no group"));
            rule.accept = Some(true);
        }
    }
    Ok(Some(rule))
}
