//! Counts the instructions of user space with callgrind. A busy machine does not change the count, so a regression is visible.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{artifacts, cargo, setup};

/// The counted benches: what is counted, the package, the bench, the benchmark in it that runs the function
/// `counted_*`, the divisor and its unit.
const COUNTED: [(&str, &str, &str, &str, u64, &str); 5] = [
    ("decoding", "tracer-bpf", "records", "decode", 30_000, "event"),
    ("the model", "tracer-bpf", "records", "model", 30_000, "event"),
    ("the built-in names", "tracer-rules", "judge", "names", 1000, "exec"),
    ("50 rules", "tracer-rules", "judge", "rules", 1000, "exec"),
    ("encoding in protobuf", "tracer-otlp", "export", "encode", 2000, "span"),
];

/// Returns the lines of a table.
pub(crate) fn count() -> Result<Vec<String>> {
    setup::command("valgrind", "valgrind", "valgrind", "valgrind")?;
    let mut lines = Vec::new();
    for (what, package, bench, benchmark, number, unit) in COUNTED {
        let binary = build(package, bench)?;
        // Criterion runs the benchmark with exactly that name once.
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg("--toggle-collect=*counted_*")
            .arg(&binary)
            .args(["--bench", "--test", "--exact"])
            .arg(format!("{bench}/{benchmark}"))
            .stdout(Stdio::null())
            .output()
            .context("cannot run valgrind")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // Processes that the bench starts are counted separately. Their counts come before the count of the bench.
        let collected =
            text.lines().rev().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
        let Some(collected) = collected.filter(|collected| *collected > 0 && output.status.success()) else {
            bail!("callgrind has not counted {what}: {text}");
        };
        lines.push(format!("| {what} | {} per {unit} |", collected / number));
    }
    Ok(lines)
}

fn build(package: &str, bench: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["bench", "--quiet", "--locked", "--no-run", "--package", package, "--bench", bench]);
    artifacts::build(&mut build)?.executable(bench)
}
