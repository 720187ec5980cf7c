//! The README against the code.

use std::fs;

use tracer_model::semconv::{ATTRIBUTES, Attribute};

use crate::harness::process_tracer;

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap()
}

/// What the semantic conventions say of a name: `stable`, `development` or `deprecated`; `None` if they do not know it.
fn stability(key: &str) -> Option<&'static str> {
    let registry = include_str!("semantic-conventions.txt").lines().filter(|line| !line.starts_with('#'));
    registry.filter_map(|line| line.split_once(' ')).find(|(known, _)| *known == key).map(|(_, stability)| stability)
}

#[test]
fn every_attribute_is_of_the_semantic_conventions_or_our_own() {
    for Attribute { key, .. } in ATTRIBUTES {
        match stability(key) {
            Some(stability) => assert_ne!(stability, "deprecated", "{key}"),
            None => assert!(key.starts_with("process_tracer."), "{key} is none of the conventions' names"),
        }
    }
    assert_eq!(stability("process.paging.fault_type"), Some("deprecated"));
}

/// The attributes' table, between the marks of docs/spans.md.
fn table() -> String {
    let mut table = "| attribute | on | type | unit | stability | source | example | meaning |\n".to_owned();
    table += "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for Attribute { key, on, kind, unit, source, example, meaning } in ATTRIBUTES {
        let stability = stability(key).unwrap_or("our own");
        table += &format!("| `{key}` | {on} | {kind} | {unit} | {stability} | {source} | `{example}` | {meaning} |\n");
    }
    table
}

#[test]
fn the_table_of_attributes_is_that_of_the_code() {
    const MARKS: [&str; 2] =
        ["<!-- attributes: generated, see CONTRIBUTING.md -->\n\n", "\n<!-- end of attributes -->"];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spans.md");
    let text = fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).unwrap();
    let (found, after) = rest.split_once(MARKS[1]).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, [before, MARKS[0], &table(), MARKS[1], after].concat()).unwrap();
    } else {
        assert!(
            found == table(),
            "docs/spans.md is out of date: UPDATE_DOCS=1 cargo test --test integration documentation"
        );
    }
}

#[test]
fn the_documents_name_no_attribute_that_does_not_exist() {
    let documents =
        [readme(), fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spans.md")).unwrap()];
    for document in documents {
        let codes = document.split('`').skip(1).step_by(2).filter(|code| code.starts_with("process_tracer."));
        for key in codes.filter(|code| *code != "process_tracer.") {
            assert!(ATTRIBUTES.iter().any(|attribute| attribute.key == key), "{key} is in the documents alone");
        }
    }
}

#[test]
fn the_readme_lists_every_flag_and_its_variable() {
    let (readme, help) = (readme(), process_tracer().arg("--help").output().unwrap());
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: Vec<_> = help
        .lines()
        .filter_map(|line| line.trim().strip_prefix('-'))
        .filter_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix('-')))
        .map(|flag| flag.trim_start_matches('-'))
        // The value of `--live[=ADDR]` may be left out.
        .map(|flag| flag.split_once('[').map_or(flag, |(flag, _)| flag))
        .collect();
    assert!(flags.contains(&"trace-id") && flags.contains(&"verbose"), "{flags:?}");
    for flag in flags {
        assert!(readme.contains(&format!("--{flag}")), "--{flag} is not in README.md");
        if !["help", "version"].contains(&flag) {
            let variable = format!("PROCESS_TRACER_{}", flag.to_uppercase().replace('-', "_"));
            assert!(readme.contains(&variable), "{variable} is not in README.md");
        }
    }
}
