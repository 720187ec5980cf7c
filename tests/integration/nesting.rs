//! process-tracer inside process-tracer: no process is exported twice into one trace.

use std::{collections::HashSet, fs, process::Command};

use crate::{
    harness::{PROCESS_TRACER, process_tracer},
    stand_in::{Action, Collector},
    trace::Trace,
};

/// An outer run whose command is this script. `$INNER` is another process-tracer that sends to the same collector.
fn outer(collector: &Collector, flags: &[&str], script: &str) -> Command {
    let mut command = process_tracer();
    command.args(["--endpoint", &collector.endpoint()]).args(flags).args(["--", "sh", "-c", script]);
    command.env("INNER", format!("{PROCESS_TRACER} --endpoint {}", collector.endpoint()));
    command
}

fn stderr_of(command: &mut Command, status: i32) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    stderr
}

#[test]
fn an_inner_run_does_not_export_again_what_the_outer_run_exports() {
    let collector = Collector::start(|_, _| Action::Accept);
    let stderr = stderr_of(&mut outer(&collector, &[], "$INNER -v -- sh -c '/bin/true; exit 5'"), 5);
    assert!(stderr.contains("exports this trace, so this run sends nothing over OTLP"), "{stderr}");
    // The inner process-tracer executes its command in its own process. So the outer run has sh, sh and true.
    assert_eq!(collector.taken().len(), 3, "{stderr}");
    assert_eq!(stderr.matches("process-tracer: trace ").count(), 1, "{stderr}");
    assert_eq!(
        stderr_of(&mut outer(&collector, &[], "$INNER -- /no/such/command"), 127).matches("cannot run").count(),
        1
    );
}

#[test]
fn an_inner_run_writes_the_file_that_it_was_asked_for() {
    let collector = Collector::start(|_, _| Action::Accept);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inner.jsonl");
    let script = format!("$INNER -q -o {} -- sh -c '/bin/true; exit 5'", file.display());
    let stderr = stderr_of(&mut outer(&collector, &["-q"], &script), 5);
    let inner = Trace::read(&file);
    inner.assert_complete();
    assert_eq!(inner.processes().count(), 2, "{stderr}");
    // The outer run also has the shell of the script and the inner process-tracer.
    assert_eq!(collector.taken().len(), 4, "{stderr}");
}

#[test]
fn an_inner_run_exports_if_it_has_another_trace_or_if_no_outer_run_exports() {
    let id = "0123456789abcdef0123456789abcdef";
    let other = format!("$INNER -q -t {id} -- /bin/true");
    for (flags, script, spans) in [
        // The shell, the inner run, its connection and its command. The inner run's own trace has the command too.
        (&["-q"][..], other.as_str(), 4 + 1),
        // With ptrace, the outer run does not follow the inner run, because a process can have only one tracer.
        (&["-q", "--source", "ptrace"], "$INNER -q -- /bin/true", 2 + 1),
        // With the source `none`, the outer run exports only its command.
        (&["-q", "--source", "none"], "$INNER -q -- /bin/true", 1 + 1),
    ] {
        let collector = Collector::start(|_, _| Action::Accept);
        let stderr = stderr_of(&mut outer(&collector, flags, script), 0);
        assert_eq!(collector.taken().len(), spans, "{flags:?}: {stderr}");
    }
    // An outer run that only writes a file.
    let (folder, collector) = (tempfile::tempdir().unwrap(), Collector::start(|_, _| Action::Accept));
    let mut command = process_tracer();
    command.arg("-qo").arg(folder.path().join("outer.jsonl")).args(["--", PROCESS_TRACER, "-q", "--endpoint"]);
    stderr_of(command.arg(collector.endpoint()).args(["--", "/bin/true"]), 0);
    assert_eq!(collector.taken().len(), 1);
    assert!(fs::metadata(folder.path().join("outer.jsonl")).unwrap().len() > 0);
}

#[test]
fn every_parent_in_the_outer_trace_is_a_span_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (outer_file, inner_file) = (folder.path().join("outer.jsonl"), folder.path().join("inner.jsonl"));
    let collector = Collector::start(|_, _| Action::Accept);
    let endpoint = format!("--endpoint {}", collector.endpoint());
    for (exports, inner) in [
        (true, format!("-o {}", inner_file.display())),
        (true, "-o summary".to_owned()),
        (true, "--live".to_owned()),
        (false, endpoint.clone()),
        (false, format!("-o {}", inner_file.display())),
    ] {
        let mut command = process_tracer();
        if exports {
            command.args(endpoint.split(' '));
        }
        command.arg("-qo").arg(&outer_file).args(["--", "sh", "-c"]);
        command.arg(format!("{PROCESS_TRACER} -q {inner} -- sh -c '/bin/true; :'; :"));
        let stderr = stderr_of(&mut command, 0);
        let outer = Trace::read(&outer_file);
        outer.assert_complete();
        let ids: HashSet<_> = outer.spans.iter().map(|span| span.span_id.as_str()).collect();
        let above_inner = outer.processes().find(|span| span.name == "process-tracer").unwrap();
        // The root has no parent.
        for span in outer.spans.iter().filter(|span| !span.parent_id.is_empty()) {
            assert!(ids.contains(span.parent_id.as_str()), "{inner}: {stderr}{span:#?}");
        }
        assert!(outer.children_of(above_inner).any(|span| span.name == "sh"), "{inner}");
        fs::remove_file(&outer_file).unwrap();
    }
}

#[test]
fn an_inner_run_that_sends_nothing_leaves_the_trace_context_unchanged() {
    let collector = Collector::start(|_, _| Action::Accept);
    let script = "echo $TRACEPARENT; $INNER -q -o summary -- sh -c 'echo $TRACEPARENT'";
    let output = outer(&collector, &["-q"], script).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let contexts: Vec<_> = stdout.lines().collect();
    assert_eq!(contexts.len(), 2, "{stdout}");
    assert_eq!(contexts[0], contexts[1]);
}

#[test]
fn an_outer_run_that_leaves_out_other_kinds_still_exports_all_processes() {
    for (list, of_inner) in [("processes", ""), ("processes,flows", "--capture processes,flows")] {
        let collector = Collector::start(|_, _| Action::Accept);
        let script = format!("$INNER -q {of_inner} -- sh -c '/bin/true; :'; :");
        let stderr = stderr_of(&mut outer(&collector, &["-q", "--capture", list], &script), 0);
        // The shell of the script, the inner shell, and true.
        assert_eq!(collector.taken().len(), 3, "{list}: {stderr}");
    }
}
