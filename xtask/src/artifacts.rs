//! The executables that cargo has built. The user can configure where cargo puts them, so only cargo knows the paths.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What cargo says about each crate that it has built.
pub(crate) struct Artifacts {
    build: String,
    messages: Vec<Value>,
}

/// Runs a command of cargo that builds. Progress and errors of the compiler go to stderr.
pub(crate) fn build(command: &mut Command) -> Result<Artifacts> {
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(Artifacts { build: format!("{command:?}"), messages })
}

impl Artifacts {
    /// The executable of a target: a binary, a test or a benchmark.
    pub(crate) fn executable(&self, target: &str) -> Result<PathBuf> {
        let mut of_target = self.messages.iter().filter(|message| message["target"]["name"] == target);
        let path = of_target.find_map(|message| message["executable"].as_str());
        Ok(path.with_context(|| format!("{} has built no executable {target}", self.build))?.into())
    }
}
