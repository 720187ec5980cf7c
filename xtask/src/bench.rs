//! Measures the cost of tracing. Each workload runs bare and traced, alternately. The speed of the machine changes
//! slowly, so it is almost the same in a bare run and in the traced run after it. So each pair of runs gives a ratio.

use std::{
    fs,
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::libc;

use crate::{instructions, root, setup, succeed};

/// Counted pairs of runs of each workload. One more pair comes first as a warm-up.
pub(crate) const PAIRS: usize = 7;

/// The number of pairs for the command that does nothing.
const STARTS: usize = 31;

/// The number of pairs for the other tracers, because these are slow.
const OTHER_PAIRS: usize = 3;

/// The file of the table.
const TABLE: &str = "target/bench/table.md";

/// A command that runs bare and traced.
struct Workload {
    name: &'static str,
    command: Vec<String>,
    /// The value of `-o`.
    output: String,
    /// It also runs under other tracers.
    is_compared: bool,
}

pub(crate) fn bench(tracer: &Path, pairs: usize) -> Result<()> {
    if pairs == 0 {
        bail!("--pairs takes a number from 1");
    }
    setup::command("cc", "gcc", "gcc", "gcc")?;
    setup::command("make", "make", "make", "make")?;
    let traced = |output: &str| -> Vec<String> {
        [&tracer.display().to_string(), "-q", "-o", output, "--"].map(str::to_owned).to_vec()
    };
    let workloads = workloads()?;
    let mut table = Table::default();
    table.line(&format!(
        "The numbers of the first row are medians of {STARTS} pairs. All other numbers are medians of {pairs} pairs. *Running* is the ratio without start-up and teardown. The first row shows the cost of start-up and teardown. *Least – most* are the smallest and the largest ratio of a pair. *Peak* is the peak memory of the largest process of the traced runs.\n"
    ))?;
    table.line("| workload | bare | traced | ratio | running | least – most | peak |")?;
    table.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    let mut start_up = Duration::ZERO;
    for (index, workload) in workloads.iter().enumerate() {
        let count = if index == 0 { STARTS } else { pairs };
        let row = compare(&traced(&workload.output), &workload.command, count, start_up)?;
        let extra = row.traced.saturating_sub(row.bare);
        let running = if index == 0 {
            start_up = extra;
            format!("+{}", ms(extra))
        } else {
            format!("{:.3}", row.running)
        };
        table.line(&format!(
            "| {} | {} | {} | {:.3} | {running} | {:.3} – {:.3} | {} MiB |",
            workload.name,
            ms(row.bare),
            ms(row.traced),
            row.ratio,
            row.least,
            row.most,
            row.peak
        ))?;
    }
    table.line(&format!("\nStart-up and teardown, medians of {STARTS} runs:\n"))?;
    table.line("| what | time |")?;
    table.line("| --- | ---: |")?;
    for (what, time) in start_up_steps(tracer, &workloads[0].command)? {
        table.line(&format!("| {what} | {} |", ms(time)))?;
    }

    let idle = idle_minute(&traced(SUMMARY))?;
    table.line(&format!(
        "\nCPU time of process-tracer for each minute without events, measured for ten seconds: {}.",
        ms(idle)
    ))?;

    table.line("\nInstructions of user space, counted by callgrind:\n")?;
    table.line("| what | instructions |")?;
    table.line("| --- | ---: |")?;
    for line in instructions::count()? {
        table.line(&line)?;
    }

    let others = other_tracers(&tracer.display().to_string(), &compile("stops")?.display().to_string());
    let other_pairs = OTHER_PAIRS.min(pairs.div_ceil(3));
    table.line(&format!("\nRatios of other tracers, with their start-up, medians of {other_pairs} pairs:\n"))?;
    let names: Vec<_> = others.iter().map(|(name, _)| *name).collect();
    table.line(&format!("| workload | {} |", names.join(" | ")))?;
    table.line(&format!("| --- |{}", " ---: |".repeat(names.len())))?;
    for workload in workloads.iter().filter(|workload| workload.is_compared) {
        let mut cells = Vec::new();
        for (_, command) in &others {
            cells.push(format!("{:.2}", compare(command, &workload.command, other_pairs, Duration::ZERO)?.ratio));
        }
        table.line(&format!("| {} | {} |", workload.name, cells.join(" | ")))?;
    }
    println!("\nkept in {TABLE}");
    Ok(())
}

/// The value of `-o` for most workloads. It makes a report of all spans, and writes no file.
const SUMMARY: &str = "summary";

fn workloads() -> Result<Vec<Workload>> {
    let compiled = |name| -> Result<String> { Ok(compile(name)?.display().to_string()) };
    let [noop, spawn, fork, connect] = [compiled("noop")?, compiled("spawn")?, compiled("fork")?, compiled("connect")?];
    let [loops, threads, signals] = [compiled("loops")?, compiled("threads")?, compiled("signals")?];
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let path = |path: &Path| path.display().to_string();
    let workload = |name, command| Workload { name, command, output: SUMMARY.to_owned(), is_compared: false };
    let compared = |name, command| Workload { is_compared: true, ..workload(name, command) };
    let four_loops = words(&[&loops, "4", "2000", &noop]);
    let file = path(&root().join("target/bench/spans.jsonl"));
    Ok(vec![
        workload("start-up and teardown", words(&[&noop])),
        compared("spawn a static no-op, 5,000 times", words(&[&spawn, "5000", &noop])),
        workload("the same with an argument of 127 KiB, 2,000 times", words(&[&spawn, "2000", &noop, "130048"])),
        workload("fork, 5,000 times", words(&[&fork, "5000"])),
        compared("shell script of 500 pipelines", words(&["sh", "-c", PIPELINES])),
        compared("make -j2 of 60 C files", words(&["make", "-s", "-B", "-j2", "-C", &path(&c_project()?)])),
        workload("cargo build of a small crate", words(&["sh", "-c", &small_crate()?])),
        compared("connect to a local server, 10,000 times", words(&[&connect, "10000"])),
        compared("four spawn loops at once, 2,000 times each", four_loops.clone()),
        Workload { output: file, ..workload("the same with -o FILE.jsonl", four_loops) },
        compared("create and join a thread, 20,000 times", words(&[&threads, "20000"])),
        compared("handle a signal, 100,000 times", words(&[&signals, "100000"])),
    ])
}

const PIPELINES: &str = "i=0; while [ $i -lt 500 ]; do echo $i | cat | cat >/dev/null; i=$((i+1)); done";

/// C files that keep the compiler busy, and a makefile.
fn c_project() -> Result<PathBuf> {
    let folder = root().join("target/bench/project");
    fs::create_dir_all(&folder)?;
    let names: Vec<_> = (0..60).map(|number| format!("part{number}")).collect();
    for name in &names {
        let mut text = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n".to_owned();
        for number in 0..60 {
            text += &format!(
                "int {name}_{number}(const char *s, int n)\n{{\n\tint sum = {number};\n\tfor (int i = 0; i < n; i++)\n\t\tsum += s[i] * i ^ abs(sum - {number});\n\tprintf(\"%d %zu\\n\", sum, strlen(s));\n\treturn sum;\n}}\n"
            );
        }
        fs::write(folder.join(format!("{name}.c")), text)?;
    }
    let objects: Vec<_> = names.iter().map(|name| format!("{name}.o")).collect();
    let makefile = format!("CFLAGS = -O1\nlibparts.a: {}\n\t$(AR) rcs $@ $^\n", objects.join(" "));
    fs::write(folder.join("Makefile"), makefile)?;
    Ok(folder)
}

/// A crate without dependencies, and a command that rebuilds it.
fn small_crate() -> Result<String> {
    let folder = root().join("target/bench/crate");
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/main.rs"), "fn main() {\n    println!(\"{:?}\", std::env::args());\n}\n")?;
    let manifest = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest)?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    Ok(format!("cd '{}' && touch src/main.rs && '{cargo}' build --quiet --offline", folder.display()))
}

/// The steps of start-up and teardown of a run whose command does nothing. They are the times that `-v` prints, and the
/// rest.
fn start_up_steps(tracer: &Path, command: &[String]) -> Result<Vec<(&'static str, Duration)>> {
    const STEPS: [(&str, &str); 4] = [
        ("object ", "read the eBPF object, load its types"),
        ("types and maps ", "make maps, fit programs to the kernel's types"),
        ("programs ", "have programs verified, attach them"),
        ("process-tracer: ", "after the command: read the last records, finish the outputs, detach"),
    ];
    let traced = [&[tracer.display().to_string(), "-vo".into(), "summary".into(), "--".into()], command].concat();
    let mut runs: [Vec<Duration>; STEPS.len() + 1] = Default::default();
    for _ in 0..STARTS {
        let start = Instant::now();
        let output = Command::new(&traced[0]).args(&traced[1..]).stdin(Stdio::null()).output()?;
        let mut rest = start.elapsed();
        let messages = String::from_utf8(output.stderr)?;
        for ((name, _), times) in STEPS.iter().zip(&mut runs) {
            let after = messages.split(name).skip(1).find_map(|after| after.split_once(" ms")?.0.parse::<f64>().ok());
            let time = after.with_context(|| format!("-v does not report '{name}': {messages}"))?;
            times.push(Duration::from_secs_f64(time / 1e3));
            rest = rest.saturating_sub(Duration::from_secs_f64(time / 1e3));
        }
        runs[STEPS.len()].push(rest);
    }
    let names =
        STEPS.iter().map(|(_, what)| *what).chain(["the rest: start and exit of process-tracer and of the command"]);
    Ok(names.zip(runs).map(|(what, times)| (what, sorted(times.into_iter())[STARTS / 2])).collect())
}

/// The CPU time of tracing per minute while the command sleeps: measured for ten seconds, times six.
fn idle_minute(tracer: &[String]) -> Result<Duration> {
    let mut command = Command::new(&tracer[0]);
    command.args(&tracer[1..]).args(["sleep", "14"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    let taken = || -> Result<Duration> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", child.id()))? {
            // Documentation/scheduler/sched-stats.rst: the first number is the nanoseconds on a processor.
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(sum))
    };
    sleep(Duration::from_secs(3));
    let before = taken()?;
    sleep(Duration::from_secs(10));
    let after = taken()?;
    wait(child.id())?;
    Ok((after - before) * 6)
}

/// process-tracer with ptrace, ptrace alone, and the installed tracers, each with the words that come before the
/// command.
fn other_tracers(tracer: &str, stops: &str) -> Vec<(&'static str, Vec<String>)> {
    let tracers: [(&str, &[&str]); 5] = [
        ("process-tracer, ptrace", &[tracer, "-q", "-o", SUMMARY, "--source", "ptrace", "--"]),
        ("ptrace alone", &[stops]),
        ("strace -f", &["strace", "-f", "--seccomp-bpf", "-e", "trace=process,network", "-o", "/dev/null"]),
        ("perf trace", &["perf", "trace", "-e", "execve,clone,exit_group,connect", "-o", "/dev/null", "--"]),
        ("tracexec", &["tracexec", "log", "-o", "/dev/null", "--"]),
    ];
    let works = |command: &&(&str, &[&str])| {
        Command::new(command.1[0])
            .args(&command.1[1..])
            .arg("true")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let words = |(name, command): &(&'static str, &[&str])| (*name, command.iter().map(ToString::to_string).collect());
    tracers.iter().filter(works).map(words).collect()
}

/// A table that is printed line by line and also written to a file.
#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, line: &str) -> Result<()> {
        println!("{line}");
        self.0 += line;
        self.0.push('\n');
        Ok(fs::write(root().join(TABLE), &self.0)?)
    }
}

/// Medians and the range of the ratios.
struct Row {
    bare: Duration,
    traced: Duration,
    ratio: f64,
    /// The median ratio without start-up and teardown.
    running: f64,
    least: f64,
    most: f64,
    /// The peak memory of the largest process of the traced runs, MiB.
    peak: i64,
}

fn compare(tracer: &[String], command: &[String], count: usize, start_up: Duration) -> Result<Row> {
    let traced = [tracer, command].concat();
    let (_, _) = (time(command)?, time(&traced)?);
    let (mut pairs, mut peak) = (Vec::new(), 0);
    for _ in 0..count {
        let (bare, (traced, memory)) = (time(command)?.0, time(&traced)?);
        pairs.push((bare, traced));
        peak = peak.max(memory);
    }
    let ratio = |(bare, traced): &(Duration, Duration)| traced.as_secs_f64() / bare.as_secs_f64();
    let running = |(bare, traced): &(Duration, Duration)| ratio(&(*bare, traced.saturating_sub(start_up)));
    let ratios = sorted(pairs.iter().map(ratio));
    let middle = count / 2;
    Ok(Row {
        bare: sorted(pairs.iter().map(|pair| pair.0))[middle],
        traced: sorted(pairs.iter().map(|pair| pair.1))[middle],
        ratio: ratios[middle],
        running: sorted(pairs.iter().map(running))[middle],
        least: ratios[0],
        most: ratios[count - 1],
        peak,
    })
}

/// Starts two more loops than there are processors. Each loop spawns a no-op again and again, for some seconds or up to
/// a number of processes. Prints the last line of the trace, the number of processes, and the peak memory.
pub(crate) fn storm(tracer: &Path, seconds: u64, count: u64) -> Result<()> {
    setup::command("cc", "gcc", "gcc", "gcc")?;
    let [noop, storm] = [compile("noop")?, compile("storm")?];
    let forkers = std::thread::available_parallelism()?.get() + 2;
    let nowhere = root().join("target/bench/nowhere.jsonl");
    let _ = fs::remove_file(&nowhere);
    symlink("/dev/null", &nowhere)?;
    let mut command = Command::new(tracer);
    // The expression makes process-tracer read all environments.
    command.args(["-a", "storm=\"STORM\" in env", "-o"]).arg(&nowhere).arg("--").arg(storm);
    command.args([forkers as u64, seconds, count].map(|number| number.to_string())).arg(noop);
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (pid, mut stdout) = (child.id(), String::new());
    child.stdout.context("no stdout")?.read_to_string(&mut stdout)?;
    let (status, peak) = wait(pid)?;
    let elapsed = start.elapsed().as_secs_f64();
    if status != 0 {
        bail!("{command:?}: wait status {status}");
    }
    let runs: u64 = stdout.trim().parse()?;
    println!(
        "{forkers} forkers, {runs} runs in {elapsed:.1} s, so {} spans expected; {} MiB",
        runs + forkers as u64 + 1,
        peak
    );
    Ok(())
}

/// Waits for a child. Returns its wait status, and the peak memory of the largest process, MiB. The child and its own
/// children count.
fn wait(pid: u32) -> Result<(i32, i64)> {
    let mut status = 0;
    // SAFETY: the structure has only plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers outlive the call.
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

/// Runs a command. Returns its duration and its peak memory.
fn time(command: &[String]) -> Result<(Duration, i64)> {
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let child = process.spawn().with_context(|| format!("cannot run {}", command[0]))?;
    let (status, peak) = wait(child.id())?;
    let elapsed = start.elapsed();
    if status != 0 {
        bail!("{command:?}: wait status {status}");
    }
    Ok((elapsed, peak))
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn compile(name: &str) -> Result<PathBuf> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    let binary = folder.join(name);
    let source = root().join(format!("xtask/workloads/{name}.c"));
    succeed(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&binary).arg(source))?;
    Ok(binary)
}
