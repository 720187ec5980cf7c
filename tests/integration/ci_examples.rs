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

#[test]
fn the_tasks_of_mise_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let script = "import json, sys, tomllib; print(json.dumps(tomllib.load(open(sys.argv[1], 'rb'))['tasks']))";
    let output = Command::new(python()).args(["-c", script]).arg(root.join(".mise.toml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tasks: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let usage = std::fs::read_to_string(root.join("xtask/src/main.rs")).unwrap();
    let of_xtask: Vec<_> =
        tasks.values().filter_map(|task| task["run"].as_str()?.strip_prefix("cargo xtask ")).collect();
    assert!(of_xtask.len() > 5, "{of_xtask:?}");
    for task in of_xtask {
        let name = task.split(' ').next().unwrap();
        assert!(usage.contains(&format!("\n  {name} ")), "{name}");
    }
}
