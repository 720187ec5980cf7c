//! Asks the Go library expr about many expressions. The tests of tracer-expr compare with the recorded answers.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};

use crate::{expressions, root};

/// The seed, so that each recording has the same expressions.
const SEED: u64 = 17;

/// The file of the answers. Each line is a JSON list: the expression, its outcome, and its value if it has one.
const ANSWERS: &str = "crates/tracer-expr/tests/answers.jsonl.gz";

/// Records the answers. With a file or another seed, prints the answers to its expressions.
pub(crate) fn oracle(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = match arguments[..] {
        [] => expressions::all(SEED),
        ["--seed", seed] => expressions::all(seed.parse().context("--seed takes a number")?),
        [file] => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            text.lines().map(str::to_owned).collect()
        }
        _ => bail!("usage: cargo xtask expr-oracle [--seed N | FILE]"),
    };
    let answers = ask(&all)?;
    if answers.len() != all.len() {
        bail!("{} answers to {} expressions", answers.len(), all.len());
    }
    let mut lines = String::new();
    let mut counts = [0; 3];
    for (expression, answer) in all.iter().zip(&answers) {
        let (ending, value) = ["v", "c", "r"]
            .into_iter()
            .find_map(|ending| Some((ending, answer.get(ending)?.as_str()?)))
            .unwrap_or(("x", ""));
        // The reasons of refusals are not compared.
        let line = match ending {
            "v" => serde_json::json!([expression, ending, value]),
            "x" => continue,
            _ => serde_json::json!([expression, ending]),
        };
        counts["vcr".find(ending).unwrap_or(0)] += 1;
        lines.push_str(&format!("{line}\n"));
    }
    let [values, refused, failed] = counts;
    if !arguments.is_empty() {
        print!("{lines}");
        return Ok(());
    }
    let path = root().join(ANSWERS);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    // The file has no time, so that the same answers make the same file.
    let mut gzip = GzBuilder::new().mtime(0).write(file, Compression::best());
    gzip.write_all(lines.as_bytes())?;
    let length = gzip.finish()?.metadata()?.len();
    println!("{values} values, {refused} do not compile, {failed} fail: {} KiB in {ANSWERS}", length / 1024);
    Ok(())
}

/// Runs the Go program.
fn ask(expressions: &[String]) -> Result<Vec<serde_json::Value>> {
    let mut child = Command::new("go")
        .args(["run", "."])
        .current_dir(root().join("xtask/expr-oracle"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run go, which this task needs")?;
    let stdin = child.stdin.take().context("no stdin")?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut stdin = BufWriter::new(stdin);
            for expression in expressions {
                // If the program has ended, the number of answers shows it.
                let _ = serde_json::to_writer(&mut stdin, expression).map(|()| stdin.write_all(b"\n"));
            }
        });
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("the Go program failed: {}", output.status);
        }
        output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).context("not an answer"))
            .collect()
    })
}
