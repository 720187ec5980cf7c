//! Compares the documentation with the code.

use std::{fs, path::Path};

use expect_test::expect_file;
use tracer_model::semconv::{ATTRIBUTES, Attribute, SCHEMA_URL};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(file: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap()
}

/// The stability of a name in the registry of the semantic conventions: `stable`, `release_candidate`, `development` or
/// `deprecated`. `None`: the semantic conventions do not have this name.
fn stability(key: &str) -> Option<&'static str> {
    let registry = include_str!("semantic-conventions.txt").lines().filter(|line| !line.starts_with('#'));
    registry.filter_map(|line| line.split_once(' ')).find(|(known, _)| *known == key).map(|(_, stability)| stability)
}

#[test]
fn each_attribute_is_in_the_semantic_conventions_or_begins_with_process_tracer() {
    for Attribute { key, .. } in ATTRIBUTES {
        match stability(key) {
            Some(stability) => assert_ne!(stability, "deprecated", "{key}"),
            None => assert!(key.starts_with("process_tracer."), "{key} is not in the semantic conventions"),
        }
    }
    assert_eq!(stability("process.paging.fault_type"), Some("deprecated"));
    assert_eq!(stability("process.pid"), Some("release_candidate"));
}

#[test]
fn the_schema_url_names_the_version_of_the_list() {
    let list = include_str!("semantic-conventions.txt").lines().next().unwrap();
    let version = SCHEMA_URL.strip_prefix("https://opentelemetry.io/schemas/").unwrap();
    assert!(list.contains(&format!("semantic conventions {version},")), "{list}");
}

/// The table of attributes, between the marks of docs/spans.md.
fn table() -> String {
    let mut table = "| attribute | on | type | unit | stability | source | example | meaning |\n".to_owned();
    table += "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for Attribute { key, on, kind, unit, source, example, meaning } in ATTRIBUTES {
        let stability = stability(key).unwrap_or("our own").replace('_', " ");
        table += &format!("| `{key}` | {on} | {kind} | {unit} | {stability} | {source} | `{example}` | {meaning} |\n");
    }
    table
}

#[test]
fn the_table_of_attributes_follows_from_the_code() {
    const MARKS: [&str; 2] =
        ["<!-- attributes: generated, see CONTRIBUTING.md -->\n\n", "\n<!-- end of attributes -->"];
    let path = Path::new(ROOT).join("docs/spans.md");
    let text = read(&path);
    let (before, rest) = text.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    expect_file![path].assert_eq(&[before, MARKS[0], &table(), MARKS[1], after].concat());
}

/// The beginning of our own keys.
const OWN: &str = "process_tracer.";

#[test]
fn the_documents_name_only_attributes_that_exist() {
    let pages = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let documents: Vec<_> = pages.chain([Path::new(ROOT).join("README.md")]).collect();
    assert!(documents.iter().any(|path| path.ends_with("docs/spans.md")), "{documents:?}");
    for path in documents {
        let document = read(&path);
        // A key can also be within a query or a setting.
        let codes =
            document.split('`').skip(1).step_by(2).flat_map(|code| code.match_indices(OWN).map(|(at, _)| &code[at..]));
        let keys = codes.map(|code| {
            let end = code.find(|c: char| !(c.is_ascii_lowercase() || c == '_' || c == '.')).unwrap_or(code.len());
            &code[..end]
        });
        for key in keys.filter(|key| *key != OWN) {
            let is_known =
                ATTRIBUTES.iter().any(|attribute| attribute.key == key) || key.starts_with(tracer_model::tags::PREFIX);
            assert!(is_known, "{key} is in {} only", path.display());
        }
    }
}
