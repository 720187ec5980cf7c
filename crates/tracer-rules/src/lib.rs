//! Rules files: they give names, groups and attributes to processes, and leave processes out of the trace.
//!
//! [`schema`] has the keys of a rules file. [`parse`] reads one.
//!
//! This crate does no I/O. Callers pass in the text of the file.
//!
//! ```
//! let file = tracer_rules::parse("rules:\n  - comm: [sh, dash]\n    drop: true\n")?;
//! assert_eq!(file.rules[0].value.comm[0].value, "sh");
//!
//! let error = tracer_rules::parse("rules:\n  - com: [sh]\n").unwrap_err();
//! assert_eq!(error.place.unwrap().to_string(), "line 2, column 5");
//! # Ok::<(), tracer_rules::Error>(())
//! ```
#![forbid(unsafe_code)]

mod book;
mod builtin;
mod compile;
mod connections;
pub mod convert;
mod error;
mod facts;
mod judge;
mod located;
mod pattern;
mod rule;
pub mod schema;
pub mod tags;
mod template;

pub use book::{Book, Met};
pub use builtin::Names;
pub use error::Error;
pub use judge::RulesJudge;
pub use located::{Located, Place};
pub use schema::File;

/// Reads a rules file. Empty text is a file without rules.
///
/// # Errors
///
/// The text is no YAML, a key is unknown, or a value has the wrong type.
pub fn parse(text: &str) -> Result<File, Error> {
    // YAML reads a file without a value as null.
    let file: Option<File> = serde_saphyr::from_str(text)?;
    Ok(file.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schema::{Drop, Scalar};

    const ALL_KEYS: &str = r#"
default: drop
rules:
  - comm: [sh, dash]
    exe: [python3, /usr/bin/make]
    cmdline: ['(?P<script>\w+)\.py', 'x']
    process: '^a'
    parent: '^b'
    user: [root, 1000]
    cgroup: 'docker'
    container: true
    env: [JOB, 'STAGE=prod-*']
    attribute: 'team:.*'
    when: 'ppid == 1'
    name: '${script}-py'
    rewrite: '$1'
    group: '{{.ExeBase}}:{{.Matches.script}}'
    children: false
    attributes: {team: '"platform"', n: 5, x: 1.5, yes: true, text: '7'}
    drop: always
    shorter_than: 5ms
    accept: false
    continue: true
    tagged_only: true
connections:
  - when: 'ipnet_contains("10.0.0.0/8", peer_address)'
    drop: true
tags:
  command: [/usr/local/bin/tags]
  interval: 10s
  user: nobody
"#;

    #[test]
    fn a_file_with_all_keys_is_read() {
        let file = parse(ALL_KEYS).unwrap();
        assert_eq!(file.default, schema::Default::Drop);
        let rule = &file.rules[0].value;
        let texts = |list: &[Located<String>]| list.iter().map(|text| text.value.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&rule.user), ["root", "1000"]);
        assert_eq!(rule.shorter_than, Some(Duration::from_millis(5).into()));
        assert_eq!(rule.drop.as_ref().unwrap().value, Drop::Always);
        let attributes: Vec<_> = rule.attributes.iter().map(|(key, value)| (key, value.value.clone())).collect();
        let text = |text: &str| Scalar::Text(text.to_owned());
        assert_eq!(
            attributes.iter().map(|(key, value)| (key.as_str(), value.clone())).collect::<Vec<_>>(),
            [
                ("team", text("\"platform\"")),
                ("n", Scalar::Int(5)),
                ("x", Scalar::Float(1.5)),
                ("yes", Scalar::Bool(true)),
                ("text", text("7"))
            ]
        );
        assert_eq!(rule.cmdline[1].place.unwrap().to_string(), "line 6, column 38");
        assert_eq!(file.connections[0].value.when.as_ref().unwrap().place.unwrap().line, 26);
        assert_eq!(file.tags.unwrap().value.interval, Some(Duration::from_secs(10).into()));
    }

    #[test]
    fn an_empty_file_has_no_rules() {
        for text in ["", "# nothing\n", "---\n", "rules: []\n"] {
            assert_eq!(parse(text).unwrap(), File::default(), "{text:?}");
        }
    }

    #[test]
    fn an_error_has_its_place() {
        let error = |text: &str| {
            let error = parse(text).unwrap_err();
            format!("{}: {error}", error.place.map(|place| place.to_string()).unwrap_or_default())
        };
        for (text, expected) in [
            ("rulez: []\n", "line 1, column 1: unknown key 'rulez'"),
            ("rules:\n  - com: [a]\n", "line 2, column 5: unknown key 'com'"),
            ("rules:\n  - comm: sh\n", "line 2, column 11: "),
            ("rules:\n  - drop: maybe\n", "line 2, column 11: "),
            ("rules:\n  - drop: true\n    drop: true\n", "line 3, column 5: "),
            ("rules:\n  - shorter_than: soon\n", "line 2, column 19: "),
            ("rules:\n  - attributes: {a: [1]}\n", "line 2, column 18: "),
            ("rules: [\n", "line "),
        ] {
            let error = error(text);
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
