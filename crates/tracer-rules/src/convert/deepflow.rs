//! DeepFlow: `os-proc-regex` and `os-app-tag-exec` of older agents, `inputs.proc` of newer ones.
//!
//! In both, a list of matchers is judged in order, and the first that matches decides. In the older list a process
//! without a match is accepted, and in the newer one it is left out. The older `process_name` is the base name of the
//! first argument, and `cmdline` all arguments. The newer `process_name` is the kernel's name, `cmdline` the base name of
//! the program, and `cmdline_with_args` all arguments. The older list replaces the matched parts of the text. In the newer
//! list, the replacement alone is the name of the process.

use std::time::Duration;

use super::{Output, document::Node, located, template};
use crate::{
    error::Error,
    pattern::Pattern,
    schema::{Drop, Rule, Tags},
};

/// Keys by which a configuration is recognised.
pub(super) const KEYS: [&str; 7] = [
    "os-proc-regex",
    "os-app-tag-exec",
    "os-proc-sync-tagged-only",
    "process_matcher",
    "process_blacklist",
    "tag_extraction",
    "script_command",
];

/// The time between two scans of DeepFlow's agent. Each scan runs the command for tags.
const SCAN: Duration = Duration::from_secs(10);

/// The user who runs the command for tags, if the configuration names none.
const TAG_USER: &str = "deepflow";

pub(super) fn convert(document: &Node, output: &mut Output) -> Result<(), Error> {
    output.draft.head.push("Converted from DeepFlow.".to_owned());
    let old = document.get("static_config").unwrap_or(document);
    let new = document.at(&["inputs", "proc"]).unwrap_or(document);

    let blacklist = texts(new, "process_blacklist")?;
    if !blacklist.is_empty() {
        let rule = Rule { comm: located(blacklist), drop: always(), ..Rule::default() };
        output.rule("process_blacklist", rule);
    }
    if let Some(matchers) = list(new, "process_matcher")? {
        new_matchers(matchers, output)?;
    }
    let (origin, command, user) = if old.get("os-app-tag-exec").is_some() {
        ("os-app-tag-exec", texts(old, "os-app-tag-exec")?, old.get("os-app-tag-exec-user"))
    } else {
        let tags = new.get("tag_extraction").unwrap_or(&Node::Null);
        ("tag_extraction", texts(tags, "script_command")?, tags.get("exec_username"))
    };
    let mut tagged_only = old.get("os-proc-sync-tagged-only") == Some(&Node::Bool(true));
    if tagged_only && command.is_empty() {
        output.leave_out("os-proc-sync-tagged-only: no command prints tags");
        tagged_only = false;
    }
    let old_matchers = list(old, "os-proc-regex")?;
    if old_matchers.is_some() || tagged_only {
        old_rules(old_matchers.unwrap_or_default(), tagged_only, output)?;
    }

    if !command.is_empty() {
        let user = user.and_then(Node::text).unwrap_or_else(|| TAG_USER.to_owned());
        let tags = Tags { command: located(command), interval: Some(SCAN.into()), user: Some(user.into()) };
        output.draft.tags = Some((origin.to_owned(), tags));
    }
    Ok(())
}

fn always() -> Option<crate::located::Located<Drop>> {
    Some(Drop::Always.into())
}

fn list<'a>(node: &'a Node, key: &str) -> Result<Option<&'a [Node]>, Error> {
    match node.get(key) {
        None | Some(Node::Null) => Ok(None),
        Some(Node::List(list)) => Ok(Some(list)),
        Some(_) => Err(Error::new(None, format!("{key} is no list"))),
    }
}

fn texts(node: &Node, key: &str) -> Result<Vec<String>, Error> {
    match node.get(key) {
        None | Some(Node::Null) => Ok(Vec::new()),
        Some(value) => value.texts().ok_or_else(|| Error::new(None, format!("{key} is no list of texts"))),
    }
}

/// The text of a key. Null and an empty text are no text.
fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::text).filter(|text| !text.is_empty())
}

/// The rules of `os-proc-regex`.
fn old_rules(matchers: &[Node], tagged_only: bool, output: &mut Output) -> Result<(), Error> {
    let tagged_only = tagged_only.then_some(true);
    for (index, matcher) in matchers.iter().enumerate() {
        let origin = format!("os-proc-regex[{index}]");
        unknown_keys(&origin, matcher, &["match-regex", "match-type", "action", "rewrite-name"], output);
        let regex = text(matcher, "match-regex").unwrap_or_default();
        let Some(pattern) = pattern(&origin, &regex, output) else { continue };
        let mut rule = Rule::default();
        let kind = text(matcher, "match-type");
        match kind.as_deref() {
            None | Some("process_name") => rule.process = Some(regex.into()),
            Some("cmdline" | "cmdline_with_args") => rule.cmdline = vec![regex.into()],
            Some("parent_process_name") => rule.parent = Some(regex.into()),
            Some("tag") => rule.attribute = Some(regex.into()),
            Some(other) => return Err(Error::new(None, format!("{origin}: there is no match-type '{other}'"))),
        }
        match text(matcher, "action").as_deref() {
            None | Some("accept") => {
                rule.accept = Some(true);
                rule.tagged_only = tagged_only;
            }
            Some("drop") => rule.drop = always(),
            Some(other) => return Err(Error::new(None, format!("{origin}: there is no action '{other}'"))),
        }
        let is_renamed = rule.drop.is_none() && !matches!(kind.as_deref(), Some("parent_process_name" | "tag"));
        if let Some(name) = text(matcher, "rewrite-name").filter(|_| is_renamed) {
            match template::of_replacement(&name, &pattern) {
                Ok(name) => rule.rewrite = Some(name.into()),
                Err(reason) => output.leave_out(format!("{origin}.rewrite-name: {reason}; the rule does not rename")),
            }
        }
        output.rule(origin, rule);
    }
    if tagged_only.is_some() {
        output.rule("os-proc-sync-tagged-only", Rule { accept: Some(true), tagged_only, ..Rule::default() });
    }
    Ok(())
}

/// Matches the attributes that tags become, whatever their keys are.
const ANY_TAG: &str = r"^process_tracer\.tag\.";

/// The feature that reports processes. The others enable profiles and probes.
const PROCESS_FEATURE: &str = "proc.gprocess_info";

/// The rules of `process_matcher`.
fn new_matchers(matchers: &[Node], output: &mut Output) -> Result<(), Error> {
    const KEYS: [&str; 9] = [
        "match_regex",
        "match_type",
        "match_languages",
        "match_usernames",
        "only_in_container",
        "only_with_tag",
        "ignore",
        "rewrite_name",
        "enabled_features",
    ];
    for (index, matcher) in matchers.iter().enumerate() {
        let origin = format!("process_matcher[{index}]");
        unknown_keys(&origin, matcher, &KEYS, output);
        let features = texts(matcher, "enabled_features")?;
        if !features.is_empty() && features.iter().all(|feature| feature != PROCESS_FEATURE) {
            output.leave_out(format!(
                "{origin}: it only enables {}, which process-tracer does not have",
                features.join(", ")
            ));
            continue;
        }
        let languages = texts(matcher, "match_languages")?;
        if !languages.is_empty() {
            output
                .leave_out(format!("{origin}.match_languages: process-tracer does not know the language of a program"));
            continue;
        }
        let regex = text(matcher, "match_regex").unwrap_or_default();
        let Some(pattern) = pattern(&origin, &regex, output) else { continue };
        let ignored = matcher.get("ignore") == Some(&Node::Bool(true));
        let mut rule = Rule { user: located(texts(matcher, "match_usernames")?), ..Rule::default() };
        if matcher.get("only_in_container") != Some(&Node::Bool(false)) {
            rule.container = Some(true);
        }
        let mut is_renamed = !ignored;
        let mut has_tag = matcher.get("only_with_tag") == Some(&Node::Bool(true));
        match text(matcher, "match_type").as_deref() {
            None | Some("process_name" | "cmdline") => rule.process = Some(regex.into()),
            Some("cmdline_with_args") => rule.cmdline = vec![regex.into()],
            Some("parent_process_name") => {
                rule.parent = Some(regex.into());
                is_renamed = false;
            }
            Some("tag") => {
                rule.attribute = Some(regex.into());
                is_renamed = false;
                has_tag = false;
            }
            Some(other) => return Err(Error::new(None, format!("{origin}: there is no match_type '{other}'"))),
        }
        if has_tag {
            rule.attribute = Some(ANY_TAG.to_owned().into());
        }
        if ignored {
            rule.drop = always();
        } else {
            rule.accept = Some(true);
        }
        if let Some(name) = text(matcher, "rewrite_name").filter(|_| is_renamed) {
            match template::of_replacement(&name, &pattern) {
                Ok(name) => rule.name = Some(name.into()),
                Err(reason) => output.leave_out(format!("{origin}.rewrite_name: {reason}; the rule does not rename")),
            }
        }
        output.rule(origin, rule);
    }
    output.rule("process_matcher: all other processes", Rule { drop: always(), ..Rule::default() });
    Ok(())
}

/// Compiles a regular expression. DeepFlow's dialect is that of Rust's `regex` crate.
fn pattern(origin: &str, regex: &str, output: &mut Output) -> Option<Pattern> {
    Pattern::compile(regex)
        .map_err(|reason| output.leave_out(format!("{origin}: the expression '{regex}': {reason}")))
        .ok()
}

fn unknown_keys(origin: &str, matcher: &Node, keys: &[&str], output: &mut Output) {
    for (key, _) in matcher.members().iter().filter(|(key, _)| !keys.contains(&&**key)) {
        output.leave_out(format!("{origin}.{key}: DeepFlow has no such key"));
    }
}
