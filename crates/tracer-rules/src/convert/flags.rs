//! process-exporter: the flags `-procnames` and `-namemapping`, on a command line, in a unit of systemd or in a file of
//! variables.
//!
//! `-procnames a,b`: processes with these names have a group of that name. `-namemapping name,regex,…`: the group of a
//! process with this name is `name:capture`, with the first capture that is not empty.

use super::{Output, process_exporter::HEAD, template};
use crate::{error::Error, pattern::Pattern, schema::Rule};

/// The flags that decide about processes.
pub(super) const NAMES: [&str; 2] = ["procnames", "namemapping"];

pub(super) fn convert(text: &str, output: &mut Output) -> Result<(), Error> {
    let words = words(text)?;
    let flag = |name: &str| value(&words, name);
    output.draft.head.push(HEAD.to_owned());
    if flag("config.path").is_some() {
        output.leave_out("-config.path: convert that file");
    }
    let children = match words.iter().rev().find_map(|word| flag_text(word)?.strip_prefix("children")) {
        Some("=false" | "=0" | "=f" | "=F" | "=FALSE" | "=False") => Some(false),
        _ => None,
    };

    let mut mapped: Vec<(String, String)> = Vec::new();
    let mapping = flag("namemapping").unwrap_or_default();
    let parts: Vec<&str> = if mapping.is_empty() { Vec::new() } else { mapping.split(',').collect() };
    if parts.len() % 2 == 1 || parts.contains(&"") {
        return Err(Error::new(
            None,
            "-namemapping is no list of names and regular expressions: name,regex,name,regex",
        ));
    }
    for pair in parts.chunks_exact(2) {
        if let [name, regex] = pair {
            // If several pairs have the same name, the last pair counts.
            mapped.retain(|(other, _)| other != name);
            mapped.push(((*name).to_owned(), (*regex).to_owned()));
        }
    }
    for (name, regex) in &mapped {
        let origin = format!("-namemapping {name},{regex}");
        let pattern = Pattern::compile(regex).map_err(|reason| Error::new(None, format!("{origin}: {reason}")))?;
        let prefix = match template::literal(&format!("{name}:")) {
            Ok(prefix) => prefix,
            Err(reason) => {
                output.leave_out(format!("{origin}: {reason}"));
                continue;
            }
        };
        for capture in 1..pattern.groups() {
            output.rule(
                origin.clone(),
                Rule {
                    comm: vec![name.clone().into()],
                    cmdline: vec![regex.clone().into()],
                    when: Some(format!("captures[\"{capture}\"] != \"\"").into()),
                    group: Some(Some(format!("{prefix}${{{capture}}}")).into()),
                    children,
                    ..Rule::default()
                },
            );
        }
    }
    let names = flag("procnames").unwrap_or_default();
    let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| mapped.iter().all(|(other, _)| other != name)).collect();
    if !names.is_empty() {
        output.rule(
            "-procnames",
            Rule {
                comm: names.into_iter().map(|name| name.to_owned().into()).collect(),
                group: Some(Some("{{.Comm}}".to_owned()).into()),
                children,
                ..Rule::default()
            },
        );
    }
    Ok(())
}

/// The words of all command lines of a text.
fn words(text: &str) -> Result<Vec<String>, Error> {
    let text = text.replace("\\\n", " ");
    let mut words = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let split = |line: &str| {
            shlex::split(line).ok_or_else(|| Error::new(None, format!("a quote is missing in this line: {line}")))
        };
        for word in split(line)? {
            // A variable can hold a whole command line: OPTS="-procnames a,b".
            let inner = word.split_once('=').map_or(&*word, |(name, value)| if is_name(name) { value } else { &*word });
            let holds_flags =
                inner.contains(char::is_whitespace) && NAMES.iter().any(|name| inner.contains(&format!("-{name}")));
            if holds_flags {
                words.extend(split(inner)?);
            } else {
                words.push(word);
            }
        }
    }
    Ok(words)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|next| next.is_ascii_alphanumeric() || next == '_')
}

/// A flag without its dashes: `NAME` or `NAME=VALUE`. `None`: the word is no flag.
fn flag_text(word: &str) -> Option<&str> {
    let word = word.strip_prefix('-')?;
    Some(word.strip_prefix('-').unwrap_or(word))
}

/// The last value of a flag.
fn value(words: &[String], name: &str) -> Option<String> {
    let at = words.iter().rposition(|word| flag_text(word).is_some_and(|flag| flag.split('=').next() == Some(name)))?;
    let flag = words.get(at).and_then(|word| flag_text(word))?;
    match flag.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        // In a list of YAML, the value is the next item.
        None => words.get(at + 1..)?.iter().find(|word| *word != "-").cloned(),
    }
}
