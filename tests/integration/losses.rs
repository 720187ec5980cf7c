//! Each test causes a loss, and checks that the root span reports the real loss.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    harness::{process_tracer, trace_script, trace_with, trace_workload, workload},
    trace::Trace,
};

fn count(trace: &Trace, key: &str) -> u64 {
    let root = trace.root();
    if root.has(key) { root.attribute(key).parse().unwrap() } else { 0 }
}

/// Traces a command with a small buffer. The buffer is not read while the command works. Returns the trace and stderr.
fn trace_stopped(flags: &[&str], command: &str) -> (Trace, String) {
    let folder = TempDir::new().unwrap();
    let (file, summary) = (folder.path().join("t.jsonl"), folder.path().join("summary.md"));
    std::fs::write(&summary, "").unwrap();
    let script = format!("echo ready; read go; {command}; echo done; read go");
    let mut child = process_tracer()
        .env("GITHUB_STEP_SUMMARY", &summary)
        .args(flags)
        .args(["--buffer-size", "64K", "-o"])
        .arg(&file)
        .args(["--", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut expect = |word: &str| {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "no {word}");
        }
    };
    expect("ready");
    let tracer = Pid::from_raw(child.id() as i32);
    kill(tracer, Signal::SIGSTOP).unwrap();
    stdin.write_all(b"go\n").unwrap();
    expect("done");
    kill(tracer, Signal::SIGCONT).unwrap();
    stdin.write_all(b"go\n").unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    let trace = Trace::read(&file);
    trace.assert_sound();
    assert_eq!(trace.root().attribute("process_tracer.complete"), "false");
    assert_eq!(count(&trace, "process_tracer.processes"), trace.processes().count() as u64);
    // The report and the job's summary repeat that the trace is incomplete.
    let report = process_tracer().arg("report").arg(&file).output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    let last = report.lines().last().unwrap();
    assert!(last.contains(" spans, incomplete: ") && last.contains(" lost to a full buffer"), "{report}");
    let summary = std::fs::read_to_string(summary).unwrap();
    // With -q, the job gets no summary.
    let is_repeated = summary.contains("incomplete: ") && summary.contains(" lost to a full buffer");
    assert!(is_repeated || flags.contains(&"-q"), "{summary}");
    (trace, stderr)
}

#[test]
fn a_buffer_overflow_is_reported_with_the_number_of_lost_records() {
    const FORKS: u64 = 2000;
    let (trace, stderr) = trace_stopped(&[], &format!("{} forks {FORKS}", workload().display()));
    let (forks, exits) = (count(&trace, "process_tracer.lost.forks"), count(&trace, "process_tracer.lost.exits"));
    assert!(forks > FORKS / 2 && exits > FORKS / 2, "{stderr}");
    // The workload itself is a child too. A child is in the trace if its fork or its exit was reported.
    let children = trace.processes().count() as u64 - 1;
    let (forked, exited) = (FORKS + 1 - forks, FORKS + 1 - exits);
    assert!((forked.max(exited)..=forked + exited).contains(&children), "{children} of {forked} and {exited}");
    assert!(stderr.contains("lost to a full buffer"), "{stderr}");
    let told = trace.root().events.iter().filter(|event| event.name == "lost");
    let told: u64 = told.map(|event| event.attributes["process_tracer.lost.records"].parse::<u64>().unwrap()).sum();
    let texts = count(&trace, "process_tracer.lost.texts") + count(&trace, "process_tracer.lost.execs");
    assert_eq!(told, forks + exits + texts);
}

#[test]
fn lost_execs_are_reported() {
    const EXECS: u64 = 200;
    let (trace, stderr) =
        trace_stopped(&["-q"], &format!("i=0; while [ $i -lt {EXECS} ]; do /bin/true; i=$((i+1)); done"));
    assert!(stderr.starts_with("process-tracer: warning: the trace is incomplete: "), "-q warns, too: {stderr}");
    let execs = count(&trace, "process_tracer.lost.execs");
    let seen = trace.processes().filter(|span| span.events.len() == 1 && span.name == "true").count() as u64;
    assert_eq!(seen + execs, EXECS, "{:#?}", trace.root());
    assert!(execs > 0 && count(&trace, "process_tracer.lost.texts") >= execs);
}

#[test]
fn lost_connections_are_reported() {
    let (trace, _) = trace_stopped(
        &[],
        &format!(
            "{} forks 2000; for i in 1 2 3; do {} connect-refused; done",
            workload().display(),
            workload().display()
        ),
    );
    assert!(count(&trace, "process_tracer.lost.connections") > 0, "{:#?}", trace.root());
    assert_eq!(trace.connections().count(), 0);
}

#[test]
fn lost_flows_are_reported() {
    let send = "import socket\nown = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                for last in 1, 2, 3: own.sendto(b\"x\", (\"127.0.0.%d\" % last, 9999))";
    let (trace, _) = trace_stopped(&[], &format!("{} forks 2000; python3 -c '{send}'", workload().display()));
    assert!(count(&trace, "process_tracer.lost.flows") >= 3, "{:#?}", trace.root());
    assert_eq!(trace.flows().count(), 0);
}

#[test]
fn processes_beyond_the_limit_are_counted() {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 3 & done; wait";
    let run = trace_script(&["--max-processes", "5"], script);
    run.trace.assert_sound();
    assert_eq!(run.trace.spans.len(), 5, "{:#?}", run.trace);
    assert_eq!(count(&run.trace, "process_tracer.lost.untracked_processes"), 6);
    assert_eq!(run.trace.root().attribute("process_tracer.complete"), "false");
    assert!(run.stderr.contains("incomplete: 6 processes not followed: too many at once"), "{}", run.stderr);
    // The limit is for processes that live at the same time, not for their total number.
    let run = trace_script(&["--max-processes", "2"], "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true; done");
    run.trace.assert_complete();
    assert_eq!(run.trace.spans.len(), 11);
}

#[test]
fn a_working_directory_that_is_too_deep_is_counted() {
    // Too many components; too many bytes; neither.
    for (name, depth) in [("d".to_owned(), 80), ("x".repeat(200), 40), ("x".repeat(200), 15)] {
        let folder = TempDir::new().unwrap();
        let script = format!(
            "cd {}; i=0; while [ $i -lt {depth} ]; do mkdir {name}; cd -P {name}; i=$((i+1)); done; exec /bin/true",
            folder.path().display()
        );
        let run = trace_script(&[], &script);
        run.trace.assert_sound();
        let root = run.trace.root();
        let is_lost = depth != 15;
        assert_eq!(count(&run.trace, "process_tracer.lost.unreadable_paths") > 0, is_lost, "{root:#?}");
        assert_eq!(root.has("process.working_directory"), !is_lost);
        assert_eq!(root.attribute("process_tracer.complete"), (!is_lost).to_string());
        assert!(root.has("process.user.id"));
    }
}

#[test]
fn truncated_arguments_are_reported() {
    let long = "x".repeat(100_000);
    let run = trace_with(&[], &["/bin/true", &long, &long]);
    run.trace.assert_sound();
    assert_eq!(count(&run.trace, "process_tracer.lost.cut_arguments"), 1);
    assert_eq!(run.trace.root().attribute("process_tracer.args.size"), (200_000 + "/bin/true".len() + 3).to_string());
    assert_eq!(run.trace.root().attribute("process_tracer.complete"), "false");
}

#[test]
fn events_of_a_softirq_that_interrupts_an_ebpf_program_are_recorded() {
    let run = trace_workload(&["timeouts", "200"]);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    run.trace.assert_complete();
    let errors = run.trace.connections().filter(|span| span.has("error.type")).map(|span| span.attribute("error.type"));
    assert_eq!(errors.filter(|error| *error == "timed_out").count(), 200);
}
