//! The output of the command that prints tags: a list of `pid:` with `tags:`, each with `key:` and `value:`.

use std::time::Duration;

use serde::Deserialize;
use tracer_model::tags::Tagged;

use crate::{error::Error, located::Located, schema::Scalar};

/// The command, and when and as whom it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct TagCommand {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Time from the start of a run to the start of the next run.
    pub interval: Duration,
    /// The user who runs it.
    pub user: Option<Located<String>>,
}

/// Keys with more bytes are refused.
const MAX_KEY: usize = 255;

#[derive(Deserialize)]
struct Process {
    pid: u32,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: Scalar,
}

/// Reads the output of the command. Empty output has no tags.
///
/// # Errors
///
/// The text is not such a list.
pub fn parse(text: &str) -> Result<Vec<Tagged>, Error> {
    let processes: Option<Vec<Process>> = serde_saphyr::from_str(text)?;
    let processes = processes.unwrap_or_default().into_iter();
    processes
        .map(|Process { pid, tags }| {
            let tags = tags.into_iter().map(|Tag { key, value }| {
                if key.is_empty() || key.len() > MAX_KEY {
                    return Err(Error::new(
                        None,
                        format!("a tag of process {pid} has a key of {} bytes, not 1 to {MAX_KEY}", key.len()),
                    ));
                }
                Ok((key, text_of(value)))
            });
            Ok(Tagged { pid, tags: tags.collect::<Result<_, _>>()? })
        })
        .collect()
}

fn text_of(value: Scalar) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Float(value) => value.to_string(),
        Scalar::Text(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::{
        Value,
        event::Image,
        judge::{Fate, Lineage, Subject},
        tags::PREFIX,
    };

    use super::*;
    use crate::{Book, facts::tests::subject};

    #[test]
    fn a_list_of_processes_is_read() {
        let text = "- pid: 7\n  tags:\n  - key: app\n    value: shop\n  - {key: port, value: 80}\n- pid: 8\n";
        let tags = [("app", "shop"), ("port", "80")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = [Tagged { pid: 7, tags: tags.to_vec() }, Tagged { pid: 8, tags: Vec::new() }];
        assert_eq!(parse(text).unwrap(), expected);
        for nothing in ["", "[]", "# none\n"] {
            assert!(parse(nothing).unwrap().is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for text in [
            "{pid: 1}",
            "- pid: -1",
            "- {pid: 1, tags: [{key: '', value: a}]}",
            "- {pid: 1, tags: [{key: a}]}",
            "\0",
            "- [",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    /// The fate of a process with these tags. `None`: it has not ended.
    fn fate(rules: &str, tags: Option<&[(&str, &str)]>) -> Fate {
        let text = format!("{rules}tags: {{command: [x]}}\n");
        let mut book = Book::read(&text, &|_| None).unwrap();
        let image = Image { file: "/bin/sh".into(), ..Image::default() };
        let lineage = Lineage::default();
        let attribute = |(key, value): &(&str, &str)| (format!("{PREFIX}{key}"), Value::String((*value).to_owned()));
        let tags = tags.map(|tags| tags.iter().map(attribute).collect::<Vec<_>>());
        book.judge(&Subject { tags: tags.as_deref(), ..subject(&image, &lineage) }, |_| {}).fate
    }

    #[test]
    fn a_rule_over_tags_decides_at_the_end() {
        const DROP: Fate = Fate::Drop { always: false, shorter_than: None };
        let rules = "rules:\n- {comm: [sh], attribute: '^app:shop$', accept: true}\n- {drop: true}\n";
        assert_eq!(fate(rules, None), Fate::Keep);
        assert_eq!(fate(rules, Some(&[("app", "cart")])), DROP);
        assert_eq!(fate(rules, Some(&[("app", "shop")])), Fate::Keep);
        // No tag can make the first rule match, so the second decides at once.
        assert_eq!(fate(&rules.replace("[sh]", "[make]"), None), DROP);
        let full = rules.replace("^app:shop$", "^process_tracer\\.tag\\.app:");
        assert_eq!(fate(&full, Some(&[("app", "cart")])), Fate::Keep);

        let tagged_only = "rules:\n- {tagged_only: true}\n";
        assert_eq!(fate(tagged_only, None), Fate::Keep);
        assert_eq!(fate(tagged_only, Some(&[])), DROP);
        assert_eq!(fate(tagged_only, Some(&[("a", "b")])), Fate::Keep);
    }

    #[test]
    fn a_mistake_in_the_command_is_found() {
        for (text, expected) in [
            ("tags: {command: ['']}", "'command' names no program"),
            ("tags: {command: [x], interval: 1ms}", "'interval' must be at least 100ms"),
            ("rules: [{tagged_only: true}]", "'tagged_only' needs 'tags'"),
            ("rules: [{tagged_only: true, drop: true}]", "'drop' or 'tagged_only', not both"),
        ] {
            let error = Book::read(text, &|_| None).unwrap_err();
            assert!(error.to_string().contains(expected) && error.place.is_some(), "{text}: {error}");
        }
    }
}
