//! Secrets in arguments. No output of process-tracer may show them. In these tests each secret is `hunter2`.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::{
    harness::{process_tracer, trace_script},
    trace::{Event, Trace},
};

/// A folder with scripts of these names. Each runs `body`.
fn programs(names: &[&str], body: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        crate::harness::write_program(folder.path().join(name), format!("#!/bin/sh\n{body}\n"));
    }
    folder
}

/// process-tracer, with that folder first on PATH.
fn traced(folder: &Path) -> Command {
    let mut command = process_tracer();
    command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    command
}

/// Everything that a run wrote to a file and to stderr. The run must have started something.
fn told(output: &Output, file: &Path) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("only the command itself is traced"), "these tests need privileges: {stderr}");
    let text = fs::read_to_string(file).unwrap_or_default();
    assert!(text.contains("process.pid"), "no spans: {stderr}{text}");
    text + &stderr
}

#[test]
fn secrets_in_arguments_are_exported_only_on_request() {
    let script = "/bin/echo --password=hunter2; /bin/true --token hunter2";
    let run = trace_script(&["-a", "first=args[1]", "-a", "line=cmdline"], script);
    run.trace.assert_complete();
    let (echo, other, root) = (run.trace.named("echo"), run.trace.named("true"), run.trace.root());
    assert_eq!(run.stdout, "--password=hunter2\n");
    assert_eq!(echo.attribute("process.command_args"), "[/bin/echo, --password=***]");
    assert_eq!(echo.events[0].attributes["process.command_args"], "[/bin/echo, --password=***]");
    assert_eq!(other.attribute("process.command_args"), "[/bin/true, --token, ***]");
    assert_eq!(echo.attribute("process_tracer.redacted"), "true");
    assert!(root.attribute("process.command_args").contains("--password=***; /bin/true --token ***"), "{root:#?}");
    // Expressions see the exported arguments.
    assert_eq!((echo.attribute("first"), echo.attribute("line")), ("--password=***", "/bin/echo --password=***"));

    let run = trace_script(&["--no-redact", "-a", "line=cmdline"], script);
    let echo = run.trace.named("echo");
    assert_eq!(echo.attribute("process.command_args"), "[/bin/echo, --password=hunter2]");
    assert_eq!(echo.attribute("line"), "/bin/echo --password=hunter2");
    assert!(!echo.has("process_tracer.redacted"));
}

#[test]
fn a_make_recipe_shows_no_password() {
    let folder = programs(&["mysql"], "exit 0");
    fs::write(folder.path().join("Makefile"), "all:\n\t@mysql -uroot -phunter2 db && echo done; echo end\n").unwrap();
    let file = folder.path().join("t.jsonl");
    let output =
        traced(folder.path()).arg("-o").arg(&file).args(["--", "make", "-C"]).arg(folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("done\nend\n"), "{output:?}");
    let told = told(&output, &file);
    assert!(!told.contains("hunter2"), "{told}");
    // The rest of the recipe is shown.
    assert!(told.contains("mysql -uroot -p*** db && echo done; echo end"), "{told}");
}

#[test]
fn each_exec_of_a_wrapper_hides_the_secret() {
    let folder = programs(&["mysql"], "exit 0");
    let file = folder.path().join("t.jsonl");
    let command = ["--", "env", "A=b", "nice", "-n", "1", "mysql", "-phunter2", "db"];
    let output = traced(folder.path()).args(["--failed-execs", "-o"]).arg(&file).args(command).output().unwrap();
    let told = told(&output, &file);
    assert!(!told.contains("hunter2"), "{told}");
    let trace = Trace::read(&file);
    let execs: Vec<_> = trace.root().events.iter().filter(|event| event.name == "exec").collect();
    assert_eq!(execs.len(), 3, "{execs:#?}");
    assert!(execs.iter().all(|exec| exec.attributes["process.command_args"].contains("-p***, db]")), "{execs:#?}");
}

#[test]
fn a_script_that_fails_shows_no_password_in_any_report() {
    let folder = programs(&["mysqldump"], "exit 3");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("summary.md"), "").unwrap();
    let mut command = traced(folder.path());
    command.env("GITHUB_STEP_SUMMARY", path("summary.md")).args(["-o", "summary", "-o", "tree"]);
    let reports = ["t.jsonl", "t.html", "t.json", "t.pftrace", "t.folded"];
    for report in reports {
        command.arg("-o").arg(path(report));
    }
    // Enough processes for a summary with a section about failures.
    let script = "i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done; mysqldump -phunter2 db; exit 3";
    let output = command.args(["--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let stderr = told(&output, &path("t.jsonl"));
    assert!(stderr.contains("where it failed") && stderr.contains("mysqldump -p*** db"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
    let markdown = fs::read_to_string(path("summary.md")).unwrap();
    assert!(markdown.contains("Where it failed") && markdown.contains("mysqldump -p*** db"), "{markdown}");
    for report in reports.iter().chain(&["summary.md"]) {
        let bytes = fs::read(path(report)).unwrap();
        assert!(!bytes.is_empty() && !bytes.windows(7).any(|window| window == b"hunter2"), "{report}");
    }
}

#[test]
fn the_flag_args_limits_the_exported_arguments() {
    let script = "/bin/echo one two; exit 4";
    let flags = ["-a", "line=cmdline", "-a", "count=len(args)"];
    let run = trace_script(&[&["--args", "none"], &flags[..]].concat(), script);
    run.trace.assert_complete();
    let echo = run.trace.named("echo");
    assert!(!echo.has("process.command") && !echo.has("process.command_args") && !echo.has("process.args_count"));
    assert_eq!((echo.attribute("line"), echo.attribute("count")), ("", "0"));
    let has_arguments = |event: &Event| event.attributes.contains_key("process.command_args");
    assert!(!echo.events.is_empty() && !echo.events.iter().any(has_arguments), "{echo:#?}");

    let run = trace_script(&[&["--args=program"], &flags[..]].concat(), script);
    let echo = run.trace.named("echo");
    assert_eq!(echo.attribute("process.command_args"), "[/bin/echo]");
    assert_eq!((echo.attribute("process.command"), echo.attribute("process.args_count")), ("/bin/echo", "3"));
    assert_eq!((echo.attribute("line"), echo.attribute("count")), ("/bin/echo", "1"));

    let run = trace_script(&["--args", "all"], script);
    assert_eq!(run.trace.named("echo").attribute("process.command_args"), "[/bin/echo, one, two]");

    // Reports show the same arguments.
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("summary.md"), "").unwrap();
    let mut command = process_tracer();
    command.env("GITHUB_STEP_SUMMARY", path("summary.md")).env("PROCESS_TRACER_ARGS", "none");
    command.args(["-o", "summary", "-o"]).arg(path("t.jsonl")).arg("-o").arg(path("t.html"));
    let output = command.args(["--", "sh", "-c", "/bin/echo one-two; exit 4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let all = told(&output, &path("t.jsonl")) + &fs::read_to_string(path("summary.md")).unwrap();
    assert!(!all.contains("one-two") && !all.contains("exit 4;"), "{all}");
    assert!(!fs::read_to_string(path("t.html")).unwrap().contains("one-two"));
}

#[test]
fn an_invalid_flag_args_is_refused_and_an_invalid_variable_exports_no_arguments() {
    let output = process_tracer().args(["--args", "some", "--", "true"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr.contains("--args: 'some' is not one of none, program and all"), "{stderr}");

    for value in [&b"some"[..], b"\xff"] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("t.jsonl");
        let mut command = process_tracer();
        command.env("PROCESS_TRACER_ARGS", OsStr::from_bytes(value));
        let output = command.arg("-o").arg(&file).args(["--", "/bin/echo", "one-two"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let told = told(&output, &file);
        assert!(
            told.contains("PROCESS_TRACER_ARGS is ignored") && told.contains("no arguments are exported"),
            "{told}"
        );
        assert!(!told.contains("one-two"), "{told}");
    }
}

#[test]
fn users_can_add_and_remove_names_of_secrets() {
    let script = "/bin/echo --db-dsn=hunter2 BUILD_TOKEN=seven NPM_TOKEN=hunter2";
    let echo = |flags: &[&str]| {
        let run = trace_script(flags, script);
        run.trace.named("echo").attribute("process.command_args").to_owned()
    };
    assert_eq!(echo(&[]), "[/bin/echo, --db-dsn=hunter2, BUILD_TOKEN=***, NPM_TOKEN=***]");
    assert_eq!(
        echo(&["--redact", "*_dsn", "--redact=unused", "--no-redact=build_*", "--no-redact=other"]),
        "[/bin/echo, --db-dsn=***, BUILD_TOKEN=seven, NPM_TOKEN=***]"
    );
    assert_eq!(echo(&["--no-redact"]), "[/bin/echo, --db-dsn=hunter2, BUILD_TOKEN=seven, NPM_TOKEN=hunter2]");

    let by_variable = |name: &str, value: &[u8]| {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("t.jsonl");
        let mut command = process_tracer();
        command.env(name, OsStr::from_bytes(value)).arg("-o").arg(&file).args(["--", "sh", "-c", script]);
        told(&command.output().unwrap(), &file)
    };
    for (name, value, is_shown) in [
        ("PROCESS_TRACER_REDACT", "*_dsn,*_token", [false, false, false]),
        ("PROCESS_TRACER_REDACT", "*_dsn\n", [false, false, false]),
        ("PROCESS_TRACER_NO_REDACT", "build_token", [true, true, false]),
        ("PROCESS_TRACER_NO_REDACT", "1", [true, true, true]),
        ("PROCESS_TRACER_NO_REDACT", "true", [true, true, true]),
        ("PROCESS_TRACER_NO_REDACT", "0", [true, false, false]),
        ("PROCESS_TRACER_NO_REDACT", "no", [true, false, false]),
        ("PROCESS_TRACER_NO_REDACT", "", [true, false, false]),
    ] {
        let told = by_variable(name, value.as_bytes());
        let found = ["--db-dsn=hunter2", "BUILD_TOKEN=seven", "NPM_TOKEN=hunter2"].map(|text| told.contains(text));
        assert_eq!(found, is_shown, "{name}={value:?}: {told}");
    }
    for (value, reason) in [(&b"a b"[..], "'a b' is not a pattern"), (b"*_dsn\xff", "it is not UTF-8")] {
        let told = by_variable("PROCESS_TRACER_REDACT", value);
        assert!(told.contains(&format!("PROCESS_TRACER_REDACT is ignored: {reason}")), "{told}");
        assert!(told.contains("; all values with a name are masked"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    for flags in [&["--redact", "a b"][..], &["--redact", ""], &["--no-redact=a b"], &["--redact=a", "--no-redact"]] {
        let output = process_tracer().args(flags).args(["--", "true"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{flags:?}: {stderr}");
        assert!(stderr.contains("redact: "), "{stderr}");
    }
}

#[test]
fn user_attributes_cannot_use_reserved_names() {
    for attribute in ["process_tracer.complete=true", "process_tracer.anything=1"] {
        let output = process_tracer().args(["-a", attribute, "--", "true"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{stderr}");
        assert!(stderr.contains("--attribute: attribute 'process_tracer."), "{stderr}");
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.env("PROCESS_TRACER_ATTRIBUTE", "process_tracer.complete=true\ngood=1");
    command.env("OTEL_RESOURCE_ATTRIBUTES", "process_tracer.complete=true,team=a");
    let output = command.arg("-o").arg(&file).args(["--", "sh", "-c", "/bin/true; /bin/true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told = told(&output, &file);
    assert!(told.contains("PROCESS_TRACER_ATTRIBUTE is ignored: attribute 'process_tracer.complete'"), "{told}");
    assert!(told.contains("'process_tracer.complete' of OTEL_RESOURCE_ATTRIBUTES is ignored"), "{told}");
    let trace = Trace::read(&file);
    assert_eq!(trace.root().attribute("good"), "1");
    let lines = fs::read_to_string(&file).unwrap();
    assert_eq!(lines.matches("\"process_tracer.complete\"").count(), 1, "{lines}");
    assert!(lines.contains("\"team\""));
}

#[test]
fn a_password_in_a_git_remote_is_not_in_the_resource() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.env("JENKINS_URL", "x").env("GIT_URL", "https://me:hunter2@hunter2/hunter2@host.org/a.git");
    let output = command.arg("-o").arg(&file).args(["--", "true"]).output().unwrap();
    let told = told(&output, &file);
    assert!(told.contains("\"https://host.org/a\"") && !told.contains("hunter2"), "{told}");
}
