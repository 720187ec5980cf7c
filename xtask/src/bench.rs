//! What tracing costs. Each workload runs bare and traced in turn, in one call, and the ratio is taken pair by pair: the
//! machine's speed drifts, the ratio of neighbours does not.

use std::{
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::libc;

use crate::{root, setup, succeed};

/// Counted pairs of runs of each workload; one more comes first, to warm up.
const PAIRS: usize = 7;

pub(crate) fn bench(tracer: &Path) -> Result<()> {
    setup::command("cc", "gcc", "gcc", "gcc")?;
    let [noop, spawn, fork] = [compile("noop")?, compile("spawn")?, compile("fork")?];
    let path = |path: &Path| path.display().to_string();
    let workloads = [
        ("start-up and teardown", vec![path(&noop)]),
        ("spawn a no-op, 5,000 times", vec![path(&spawn), "5000".to_owned(), path(&noop)]),
        ("fork, 5,000 times", vec![path(&fork), "5000".to_owned()]),
        ("shell script of 500 pipelines", vec!["sh".to_owned(), "-c".to_owned(), PIPELINES.to_owned()]),
    ];
    println!("medians of {PAIRS} pairs, whole processes, start-up included\n");
    println!("| workload | bare | traced | ratio | least – most |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, command) in workloads {
        let row = compare(tracer, &command)?;
        println!(
            "| {name} | {} | {} | {:.3} | {:.3} – {:.3} |",
            ms(row.bare),
            ms(row.traced),
            row.ratio,
            row.least,
            row.most
        );
    }
    Ok(())
}

const PIPELINES: &str = "i=0; while [ $i -lt 500 ]; do echo $i | cat | cat >/dev/null; i=$((i+1)); done";

/// Medians, and the range of the ratios.
struct Row {
    bare: Duration,
    traced: Duration,
    ratio: f64,
    least: f64,
    most: f64,
}

fn compare(tracer: &Path, command: &[String]) -> Result<Row> {
    let bare = || time(Command::new(&command[0]).args(&command[1..]));
    let traced = || time(Command::new(tracer).args(["-o", "summary", "--"]).args(command));
    bare()?;
    traced()?;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push((bare()?, traced()?));
    }
    let ratios = sorted(pairs.iter().map(|(bare, traced)| traced.as_secs_f64() / bare.as_secs_f64()));
    let middle = PAIRS / 2;
    Ok(Row {
        bare: sorted(pairs.iter().map(|pair| pair.0))[middle],
        traced: sorted(pairs.iter().map(|pair| pair.1))[middle],
        ratio: ratios[middle],
        least: ratios[0],
        most: ratios[PAIRS - 1],
    })
}

/// As many processes as two more than there are processors spawn a no-op over and over: for some seconds, or until so many
/// have run. Shows what the trace says of itself, how many processes there were, and the most memory it has taken.
pub(crate) fn storm(tracer: &Path, seconds: u64, count: u64) -> Result<()> {
    setup::command("cc", "gcc", "gcc", "gcc")?;
    let [noop, storm] = [compile("noop")?, compile("storm")?];
    let forkers = std::thread::available_parallelism()?.get() + 2;
    let nowhere = root().join("target/bench/nowhere.jsonl");
    let _ = std::fs::remove_file(&nowhere);
    symlink("/dev/null", &nowhere)?;
    let mut command = Command::new(tracer);
    // The expression has all environments read.
    command.args(["-a", "storm=\"STORM\" in env", "-o"]).arg(&nowhere).arg("--").arg(storm);
    command.args([forkers as u64, seconds, count].map(|number| number.to_string())).arg(noop);
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (pid, mut stdout, mut stderr) = (child.id(), String::new(), String::new());
    child.stdout.context("no stdout")?.read_to_string(&mut stdout)?;
    child.stderr.context("no stderr")?.read_to_string(&mut stderr)?;
    let (status, memory) = wait(pid)?;
    let elapsed = start.elapsed().as_secs_f64();
    print!("{stderr}");
    if status != 0 {
        bail!("{command:?}: wait status {status}");
    }
    let runs: u64 = stdout.trim().parse()?;
    println!(
        "{forkers} forkers, {runs} runs in {elapsed:.1} s, so {} spans expected; {memory} MiB",
        runs + forkers as u64 + 1
    );
    Ok(())
}

/// Waits for a child; gives its wait status and the most memory it has taken, in MiB.
fn wait(pid: u32) -> Result<(i32, i64)> {
    let mut status = 0;
    // SAFETY: a structure of plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call.
    let waited = unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, 0, &raw mut usage) };
    if waited < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok((status, usage.ru_maxrss / 1024))
}

fn sorted<T: PartialOrd>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values
}

fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(elapsed)
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn compile(name: &str) -> Result<PathBuf> {
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let binary = folder.join(name);
    let source = root().join(format!("xtask/workloads/{name}.c"));
    succeed(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&binary).arg(source))?;
    Ok(binary)
}
