//! Texts that people read, in their exact words, so that a reviewer sees each change. The files are in `snapshots/`.
//!
//! After a change of wording: `UPDATE_EXPECT=1 cargo test --test integration snapshots`. The tests of `command_line` write
//! `invalid-flags.txt` and `invalid-variables.txt`.

use std::path::{Path, PathBuf};

use expect_test::expect_file;

use crate::harness::process_tracer;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/integration/snapshots");

/// The reviewed file of that name.
pub fn path(file: &str) -> PathBuf {
    Path::new(FOLDER).join(file)
}

/// The stdout of a command that succeeds.
fn stdout(arguments: &[&str]) -> String {
    let mut command = process_tracer();
    command.args(arguments).current_dir(FOLDER).env("LC_ALL", "C.UTF-8").env("COLUMNS", "100");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_of_each_command_is_as_reviewed() {
    let help = stdout(&["--help", "all"]);
    let (_, commands) = help.split_once("\nCommands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    // Descriptions continue further to the right.
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<_> = commands.filter(|command| !command.is_empty()).collect();
    assert!(commands.contains(&"doctor") && commands.contains(&"diff"), "{commands:?}");
    expect_file![path("help.txt")].assert_eq(&help);
    expect_file![path("short-help.txt")].assert_eq(&stdout(&["-h"]));
    for command in commands {
        expect_file![path(&format!("help-{command}.txt"))].assert_eq(&stdout(&[command, "--help"]));
    }
}

#[test]
fn the_texts_of_a_saved_trace_are_as_reviewed() {
    for text in ["summary", "tree"] {
        let arguments = ["report", "after.jsonl", "-o", text];
        expect_file![path(&format!("{text}.txt"))].assert_eq(&stdout(&arguments));
    }
    expect_file![path("diff.txt")].assert_eq(&stdout(&["diff", "before.jsonl", "after.jsonl"]));
    let markdown = ["diff", "before.jsonl", "before.jsonl", "--to", "after.jsonl", "-o", "markdown"];
    expect_file![path("diff.md")].assert_eq(&stdout(&markdown));
}
