//! Checks the workflows of GitHub with actionlint. `.ci/run` does not call it, because it needs Go.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{root, setup};

/// The workflow that uses our action.
const EXAMPLE: &str = "examples/ci/github/workflow.yml";

pub(crate) fn check() -> Result<()> {
    let actionlint = setup::actionlint()?;
    for file in [".github/workflows/ci.yml", ".github/workflows/release.yml", EXAMPLE] {
        if let Some(complaints) = complaints(&actionlint, Path::new(file))? {
            bail!("{file}: {complaints}");
        }
        println!("{file}: ok");
    }
    // It checks the inputs of our action, too. It must refuse a wrong one.
    let wrong = root().join("target/wrong-workflow.yml");
    fs::write(&wrong, fs::read_to_string(root().join(EXAMPLE))?.replace("run: make", "runs: make"))?;
    let complaints = complaints(&actionlint, &wrong)?.unwrap_or_default();
    if !complaints.contains("input \"runs\" is not defined in action") {
        bail!("actionlint accepts a wrong input of our action: {complaints}");
    }
    Ok(())
}

/// The complaints about a file.
fn complaints(actionlint: &Path, file: &Path) -> Result<Option<String>> {
    // shellcheck is not everywhere.
    let output = Command::new(actionlint)
        .args(["-shellcheck", "", "-pyflakes", ""])
        .arg(file)
        .current_dir(root())
        .output()
        .context("cannot run actionlint")?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}
