//! The README against the code.

use std::fs;

use crate::harness::process_tracer;

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap()
}

#[test]
fn the_readme_lists_every_attribute() {
    let readme = readme();
    for key in tracer_model::semconv::KEYS {
        assert!(readme.contains(&format!("`{key}`")), "{key} is not in README.md");
    }
}

#[test]
fn the_readme_lists_no_attribute_that_does_not_exist() {
    let readme = readme();
    let named = readme.split('`').skip(1).step_by(2).filter(|code| code.starts_with("process_tracer."));
    for key in named {
        assert!(tracer_model::semconv::KEYS.contains(&key), "{key} is in README.md alone");
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
