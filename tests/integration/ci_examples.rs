//! The examples for CI systems, and the workflows of this repository.

use std::{path::Path, process::Command};

use crate::{
    harness::PROCESS_TRACER,
    reports::{python, script},
};

#[test]
fn the_examples_for_ci_work_as_their_systems_run_them() {
    let output = Command::new(python()).arg(script("ci_examples.py")).arg(PROCESS_TRACER).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn actionlint_accepts_the_workflows() {
    let actionlint = std::env::var_os("ACTIONLINT").expect("ACTIONLINT names actionlint; `cargo xtask test` sets it");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let check = |files: &[&str]| {
        // shellcheck is not everywhere.
        let output = Command::new(&actionlint)
            .args(["-shellcheck", "", "-pyflakes", ""])
            .args(files)
            .current_dir(&root)
            .output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (accepted, complaints) =
        check(&[".github/workflows/ci.yml", ".github/workflows/release.yml", "examples/ci/github/workflow.yml"]);
    assert!(accepted, "{complaints}");
    // It checks the inputs and outputs of our action, too.
    let wrong = tempfile::Builder::new().suffix(".yml").tempfile_in(root.join("target")).unwrap();
    let workflow = std::fs::read_to_string(root.join("examples/ci/github/workflow.yml")).unwrap();
    std::fs::write(wrong.path(), workflow.replace("run: make", "runs: make")).unwrap();
    let (accepted, complaints) = check(&[wrong.path().to_str().unwrap()]);
    assert!(!accepted && complaints.contains("input \"runs\" is not defined in action"), "{complaints}");
}
