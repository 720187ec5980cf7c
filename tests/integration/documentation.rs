//! The documentation against the code.

use std::{fs, path::Path};

use tracer_model::semconv::{ATTRIBUTES, Attribute};

use crate::harness::process_tracer;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(file: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap()
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
    let path = Path::new(ROOT).join("docs/spans.md");
    let text = read(&path);
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
    let pages = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let documents: Vec<_> = pages.chain([Path::new(ROOT).join("README.md")]).collect();
    assert!(documents.iter().any(|path| path.ends_with("docs/spans.md")), "{documents:?}");
    for path in documents {
        let document = read(&path);
        let codes = document.split('`').skip(1).step_by(2).filter(|code| code.starts_with("process_tracer."));
        for key in codes.filter(|code| *code != "process_tracer.") {
            let is_known = ATTRIBUTES.iter().any(|attribute| attribute.key == key);
            assert!(is_known, "{key} is in {} only", path.display());
        }
    }
}

#[test]
fn every_flag_and_its_variable_have_a_row_in_the_options_table() {
    let (options, help) = (read("docs/options.md"), process_tracer().arg("--help").output().unwrap());
    let (_, table) = options.split_once("\n## Table of options\n").unwrap();
    let rows: Vec<_> =
        table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).collect();
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
        // The flag ends there: `--user` is not found in `--user-agent`.
        let ends = ['`', ' ', '['].map(|end| format!("`--{flag}{end}"));
        let row = rows.iter().find(|row| ends.iter().any(|start| row.contains(start.as_str())));
        let row = row.unwrap_or_else(|| panic!("--{flag} has no row in docs/options.md"));
        if !["help", "version"].contains(&flag) {
            let variable = format!("PROCESS_TRACER_{}", flag.to_uppercase().replace('-', "_"));
            assert!(row.contains(&format!("`{variable}`")), "{variable} is not in the row of --{flag}");
        }
    }
}
