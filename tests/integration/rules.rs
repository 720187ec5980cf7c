//! Rules files: names, groups, and processes without a span.

use std::{fs, path::Path};

use crate::{
    harness::{PROCESS_TRACER, process_tracer, trace_script},
    trace::Trace,
};

const RULES: &str = r#"
rules:
  - comm: [sleep]
    drop: always
  - comm: [sh]
    parent: '^sh$'
    drop: true
  - comm: [env]
    cmdline: ['--(?P<kind>[a-z]+)']
    name: 'env-${kind}'
    group: '{{.ExeBase}}:{{.Matches.kind}}'
    attributes: {team: '"platform"', level: 3, kind: captures.kind}
  - env: ['STAGE=prod-*']
    when: 'ppid > 0 and comm == "true"'
    name: 'true of %KIND%'
"#;

/// Two shells below the root match a rule that leaves them out. The second one fails, so it stays.
const SCRIPT: &str = "sh -c '/bin/echo one; sleep 0; true'; env --version; STAGE=prod-1 /bin/true; sh -c '/bin/echo two; exit 3'; exit 0";

fn rules(folder: &Path) -> String {
    let path = folder.join("rules.yaml");
    fs::write(&path, RULES).unwrap();
    path.display().to_string()
}

/// The processes of a trace, with those that have no span.
fn processes(trace: &Trace) -> u64 {
    let folded = |span: &crate::trace::Span| match span.attributes.get("process_tracer.folded.processes") {
        Some(count) => count.parse().unwrap(),
        None => 0,
    };
    trace.processes().map(|span| 1 + folded(span)).sum()
}

#[test]
fn rules_name_group_and_leave_out_processes() {
    let folder = tempfile::tempdir().unwrap();
    let run = trace_script(&["--rules", &rules(folder.path()), "--names", "plain"], SCRIPT);
    let trace = &run.trace;
    trace.assert_complete();
    trace.assert_sound();
    let env = trace.named("env-version");
    assert_eq!(env.attribute("process_tracer.group"), "env:version");
    assert_eq!((env.attribute("team"), env.attribute("level"), env.attribute("kind")), ("platform", "3", "version"));
    assert!(trace.processes().any(|span| span.name == "true of "), "KIND is not set");
    let root = trace.root();
    // The rules leave out the first shell and the sleep. The second shell failed, so it has a span. But in the
    // trace, the parent of its child is the root.
    let echoes: Vec<_> = trace.processes().filter(|span| span.name == "echo").collect();
    assert_eq!(echoes.len(), 2);
    assert!(echoes.iter().all(|echo| echo.parent_id == root.span_id), "{echoes:?}");
    let failed: Vec<_> = trace.processes().filter(|span| span.name == "sh" && span.span_id != root.span_id).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(trace.children_of(failed[0]).count(), 0);
    assert_eq!(root.attribute("process_tracer.folded.processes"), "2");
    let plain = trace_script(&["--names", "plain"], SCRIPT).trace;
    assert_eq!(processes(trace), processes(&plain));
}

#[test]
fn short_processes_are_left_out_and_counted() {
    let script = "for i in 1 2 3; do /bin/true; done; /bin/false; sleep 0.4";
    let trace = trace_script(&["--min-duration", "300ms"], script).trace;
    trace.assert_complete();
    trace.assert_sound();
    let mut names: Vec<_> = trace.processes().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["false", "sh", "sleep"]);
    assert_eq!(trace.root().attribute("process_tracer.folded.processes"), "3");
}

#[test]
fn interpreters_have_the_name_of_what_they_run() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("deploy.sh");
    fs::create_dir(folder.path().join("below")).unwrap();
    fs::write(&script, "true\n").unwrap();
    let command = format!("cd {}; sh ./deploy.sh; sh -c 'exit 0'", folder.path().display());
    let trace = trace_script(&[], &command).trace;
    assert_eq!(trace.processes().filter(|span| span.name == "sh deploy.sh").count(), 1);
    let plain = trace_script(&["--names", "plain"], &command).trace;
    assert_eq!(plain.processes().filter(|span| span.name == "sh deploy.sh").count(), 0);
}

#[test]
fn rules_are_checked_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (file, mark) = (folder.path().join("r.yaml"), folder.path().join("mark"));
    fs::write(&file, "rules:\n  - com: [sh]\n").unwrap();
    let touch = || {
        let mut command = process_tracer();
        command.args(["-q"]);
        command
    };
    let output = touch().arg("--rules").arg(&file).args(["--", "touch"]).arg(&mark).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr.contains("r.yaml:2:5: unknown key 'com'") && !mark.exists(), "{stderr}");
    // A variable that is set for a whole CI system does not break a job.
    let output = touch().env("PROCESS_TRACER_RULES", &file).args(["--", "touch"]).arg(&mark).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && mark.exists(), "{stderr}");
    assert!(stderr.contains("PROCESS_TRACER_RULES is ignored: "), "{stderr}");
}

#[test]
fn check_prints_the_rules_that_match_each_process() {
    let folder = tempfile::tempdir().unwrap();
    let (rules, saved) = (rules(folder.path()), folder.path().join("t.jsonl"));
    let check = |more: &[&str]| {
        let output = process_tracer().args(["rules", "check", &rules]).args(more).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(check(&[]).ends_with("4 rules, no mistakes\n"));
    let others = folder.path().join("connections.yaml");
    fs::write(&others, "connections:\n  - drop: true\n").unwrap();
    let output = process_tracer().args(["rules", "check"]).arg(&others).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.ends_with("0 rules for processes, 1 rule for connections, no mistakes\n"), "{stdout}");
    let expected = "env: rule 3 (line 8); name 'env-version'; group 'env:version'; attribute team; attribute level; attribute kind\n";
    let of_run = check(&["--", "sh", "-c", "env --version > /dev/null; sleep 0"]);
    assert!(of_run.contains(expected), "{of_run}");
    assert!(of_run.contains("sleep: rule 1 (line 3); always left out\n"), "{of_run}");
    assert!(of_run.lines().next().unwrap().contains(" sh: "), "{of_run}");
    let mut run = process_tracer();
    run.args(["-q", "-o"]).arg(&saved).args(["--", "sh", "-c", "env --version > /dev/null; sleep 0"]);
    assert!(run.output().unwrap().status.success());
    // The root is never left out.
    let of_run = check(&["--", "sleep", "0"]);
    assert!(of_run.contains("sleep: rule 1 (line 3); kept, because it is the root\n"), "{of_run}");
    // The check ignores three things: an outer run of the same trace, the sampling of that trace, and another rules file.
    let mut outer = process_tracer();
    outer.args([
        "-q",
        "--endpoint",
        "http://127.0.0.1:9",
        "--flush-timeout",
        "0",
        "--spool",
        "none",
        "--",
        PROCESS_TRACER,
    ]);
    outer.args(["rules", "check", &rules, "--", "sleep", "0"]);
    for (name, value) in [("OTEL_TRACES_SAMPLER", "always_on"), ("OTEL_TRACES_SAMPLER", "always_off")] {
        let output = outer.env(name, value).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && stdout.contains("sleep: rule 1"), "{stdout}");
    }
    let tags = folder.path().join("tags.yaml");
    let mark = folder.path().join("mark");
    fs::write(&tags, format!("tags: {{command: [touch, {}], user: root}}\n", mark.display())).unwrap();
    let mut check_with = process_tracer();
    check_with.arg("--rules").arg(&tags).args(["rules", "check", &rules, "--", "sleep", "0.5"]);
    assert!(check_with.output().unwrap().status.success() && !mark.exists());
    let of_trace = check(&["--trace", &saved.display().to_string()]);
    assert!(of_trace.contains(expected), "{of_trace}");
    let by = process_tracer().args(["report", "--by", "user"]).arg(&saved).output().unwrap();
    let by = String::from_utf8(by.stdout).unwrap();
    assert!(by.contains("by user") && by.lines().any(|line| line.trim_start().starts_with("root ")), "{by}");
}
