//! The command line: what it refuses, what it says, where things go.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use crate::{
    harness::{PROCESS_TRACER, process_tracer, trace_script},
    trace::Trace,
};

/// Runs with the flags and a command that leaves a mark; gives the output and whether the command ran.
fn run(flags: &[&str], variables: &[(&str, &str)]) -> (Output, String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut command = process_tracer();
    command.args(flags).envs(variables.iter().copied()).arg("--").arg("touch").arg(&mark);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    (output, stderr, mark.exists())
}

#[test]
fn bad_flags_are_one_line_125_and_no_command() {
    let zeros = "0".repeat(32);
    let short = "a".repeat(31);
    let cases: [(&[&str], &str); 15] = [
        (&["--no-such-flag"], "--no-such-flag"),
        (&["-t", &short], "--trace-id: '"),
        (&["-t", &short], "31 characters, expected 32"),
        (&["-t", &zeros], "all zeros"),
        (&["-t", "zz"], "'z' is not a hexadecimal digit"),
        (&["-p", "00f067aa0ba902b7"], "--trace-id too"),
        (&["-a", "novalue"], "'novalue' is not NAME=EXPR"),
        (&["-a", "pod=env[\"X"], "'pod' does not compile at column"),
        (&["-a", "stage=prod"], "-a stage='\"prod\"'"),
        (&["-o", "/no/such/folder/t.jsonl"], "cannot write '/no/such/folder/t.jsonl'"),
        (&["-o", "t.txt"], "'t.txt' is not one of otlp, summary and FILE.jsonl"),
        (&["--endpoint", "localhost:4318"], "'localhost:4318' is not an http:// or https:// URL"),
        (&["--endpoint", "http://"], "--endpoint: 'http://'"),
        (&["--protocol", "http/json"], "'http/json' is not one of http/protobuf and grpc"),
        (&["-t"], "--trace-id"),
    ];
    for (flags, expected) in cases {
        let (output, stderr, has_run) = run(flags, &[]);
        assert_eq!(output.status.code(), Some(125), "{flags:?}: {stderr}");
        assert!(!has_run, "{flags:?}");
        assert!(output.stdout.is_empty());
        assert!(stderr.starts_with("process-tracer: ") && stderr.lines().count() == 1, "{flags:?}: {stderr}");
        assert!(stderr.contains(expected), "{flags:?}: {stderr}");
    }
}

#[test]
fn no_command_says_how_to_give_one() {
    for arguments in [&[][..], &["--"], &["make"]] {
        let output = process_tracer().args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125));
        assert!(stderr.contains("--") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn bad_variables_warn_and_are_skipped() {
    let cases = [
        ("PROCESS_TRACER_TRACE_ID", "zz"),
        ("PROCESS_TRACER_PARENT_ID", "00f067aa0ba902b7"),
        ("PROCESS_TRACER_ATTRIBUTE", "novalue"),
        ("PROCESS_TRACER_OUTPUT", "t.txt"),
        ("PROCESS_TRACER_ENDPOINT", "localhost:4318"),
        ("PROCESS_TRACER_PROTOCOL", "smoke"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
        ("TRACEPARENT", "nonsense"),
    ];
    for (name, value) in cases {
        let (output, stderr, has_run) = run(&[], &[(name, value)]);
        assert_eq!(output.status.code(), Some(0), "{name}: {stderr}");
        assert!(has_run);
        assert!(stderr.contains(&format!("process-tracer: warning: {name} is ignored: ")), "{name}: {stderr}");
    }
}

#[test]
fn a_variable_that_names_what_cannot_be_written_breaks_no_job() {
    let (output, stderr, has_run) = run(&[], &[("PROCESS_TRACER_OUTPUT", "/no/such/folder/t.jsonl,summary")]);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(has_run && stderr.contains("warning: an output is left out: cannot write '/no/such/"), "{stderr}");
    assert!(stderr.contains("touch"), "the other output is kept: {stderr}");

    let mut command = process_tracer();
    let not_utf8 = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
    let output = command.args(["--", "true"]).env("PROCESS_TRACER_TRACE_ID", not_utf8).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("PROCESS_TRACER_TRACE_ID is ignored: it is not UTF-8"), "{stderr}");
}

#[test]
fn a_trace_file_that_was_there_before_becomes_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(process_tracer().arg("-o").arg(&file).args(["--", "true"]).status().unwrap().success());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Trace::read(&file).spans.len(), 1);
}

#[test]
fn every_flag_has_its_variable() {
    let help = process_tracer().arg("--help").output().unwrap();
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    for line in help.lines().map(str::trim).filter(|line| line.starts_with('-')) {
        let flag = line.split_whitespace().find_map(|word| word.strip_prefix("--")).unwrap();
        if !["help", "version"].contains(&flag) {
            let variable = format!("[env: PROCESS_TRACER_{}", flag.to_uppercase().replace('-', "_"));
            assert!(help.contains(&variable), "{variable} is not in {help}");
        }
    }
}

#[test]
fn variables_do_what_their_flags_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let variables = [
        ("PROCESS_TRACER_TRACE_ID", "0AF7651916CD43DD8448EB211C80319C"),
        ("PROCESS_TRACER_PARENT_ID", "00f067aa0ba902b7"),
        ("PROCESS_TRACER_ATTRIBUTE", "a=1\nb=\"x\""),
        ("PROCESS_TRACER_OUTPUT", file.to_str().unwrap()),
        ("PROCESS_TRACER_QUIET", "1"),
    ];
    let output = process_tracer().envs(variables).args(["--", "true"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let trace = Trace::read(&file);
    let root = trace.root();
    assert_eq!(root.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(root.parent_id, "00f067aa0ba902b7");
    assert_eq!((root.attribute("a"), root.attribute("b")), ("1", "x"));
}

#[test]
fn commands_that_cannot_run_are_126_and_127() {
    for (command, code) in [("/no/such/command", 127), ("no-such-command", 127), ("/etc/passwd", 126), ("/", 126)] {
        let output = process_tracer().args(["--", command]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(&format!("process-tracer: cannot run '{command}': ")), "{stderr}");
    }
}

#[test]
fn the_trace_context_comes_in_and_goes_out() {
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.arg("-o").arg(&file).args(["--", "sh", "-c", "echo $TRACEPARENT $TRACESTATE"]);
    let output = command.env("TRACEPARENT", caller).env("TRACESTATE", "vendor=1").output().unwrap();
    let trace = Trace::read(&file);
    let root = trace.root();
    assert_eq!(
        (root.trace_id.as_str(), root.parent_id.as_str()),
        ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    );
    let expected = format!("00-{}-{}-01 vendor=1\n", root.trace_id, root.span_id);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);

    // A trace of our own is not the caller's: neither its parent nor its state belongs to it.
    let own = "ab".repeat(16);
    let output = process_tracer()
        .args(["-q", "-t", &own, "--", "sh", "-c", "echo $TRACEPARENT $TRACESTATE"])
        .env("TRACEPARENT", caller)
        .env("TRACESTATE", "vendor=1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.starts_with(&format!("00-{own}-")) && stdout.trim_end().ends_with("-01"), "{stdout}");
}

#[test]
fn without_a_collector_there_is_a_summary() {
    let output = process_tracer()
        .args(["--", "sh", "-c", "echo out; /bin/true; exit 3"])
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(lines[0].ends_with("  sh  exit 3"), "{stderr}");
    assert!(lines[1].ends_with("  └─ true"), "{stderr}");
    assert!(lines[2].starts_with("process-tracer: trace ") && lines[2].ends_with(", 2 spans, complete"), "{stderr}");
    assert!(!stderr.contains('\x1b'));
}

#[test]
fn quiet_is_silent() {
    let output = process_tracer().args(["-q", "--", "true"]).output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty() && output.stdout.is_empty());
}

#[test]
fn a_trace_file_is_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    assert!(process_tracer().arg("-o").arg(&file).args(["--", "true"]).status().unwrap().success());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_full_disk_is_told_and_the_command_unharmed() {
    let folder = tempfile::tempdir().unwrap();
    let full = folder.path().join("full.jsonl");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let output = process_tracer().arg("-o").arg(&full).args(["--", "sh", "-c", "exit 3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("1 of 1 spans did not reach") && stderr.contains("No space left"), "{stderr}");
    assert!(stderr.contains("incomplete: not all delivered"), "{stderr}");
}

#[test]
fn a_trace_says_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=ci%2Ftest,service.name=weak");
    command.env("OTEL_SERVICE_NAME", "strong").arg("-o").arg(&file).args(["--", "true"]);
    assert!(command.status().unwrap().success());
    let data: serde_json::Value =
        serde_json::from_str(fs::read_to_string(&file).unwrap().lines().next().unwrap()).unwrap();
    let resource = &data["resourceSpans"][0]["resource"]["attributes"];
    let value = |key: &str| {
        let pair = resource.as_array().unwrap().iter().find(|pair| pair["key"] == key);
        pair.unwrap_or_else(|| panic!("no {key} in {resource}"))["value"]["stringValue"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("service.name"), "strong");
    assert_eq!(value("deployment.environment.name"), "ci/test");
    assert_eq!(value("os.type"), "linux");
    let host = nix::unistd::gethostname().unwrap();
    assert_eq!(value("host.name"), host.to_string_lossy());
    assert!(!value("host.arch").is_empty() && !value("os.description").is_empty());
}

#[test]
fn what_a_command_line_holds_does_not_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let evil = folder.path().join("a\x1b[31mb");
    fs::copy("/bin/true", &evil).unwrap();
    let run = trace_script(&["-o", "summary"], &format!("'{}'", evil.display()));
    assert!(!run.stderr.contains('\x1b') && run.stderr.contains("\\u{1b}[31mb"), "{}", run.stderr);
}

/// A copy of process-tracer where an ordinary user can reach it, with these file capabilities, run by such a user: a
/// script, into a trace.
fn trace_as_nobody(capabilities: Option<&str>, script: &str) -> (Output, Trace) {
    // /tmp may be mounted such that file capabilities do not count.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = folder.path().join("process-tracer");
    fs::copy(PROCESS_TRACER, &binary).unwrap();
    if let Some(capabilities) = capabilities {
        assert!(Command::new("setcap").arg(capabilities).arg(&binary).status().unwrap().success());
    }
    let file = folder.path().join("t.jsonl");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary).arg("-o").arg(&file);
    let output = command.args(["--", "sh", "-c", script]).output().unwrap();
    (output, Trace::read(&file))
}

#[test]
fn without_privileges_the_command_runs_and_its_own_span_is_kept() {
    let (output, trace) = trace_as_nobody(None, "/bin/true; exit 3");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("only the command itself is traced") && stderr.contains("sudo setcap"), "{stderr}");
    trace.assert_sound();
    let root = trace.root();
    assert_eq!((trace.spans.len(), root.name.as_str(), root.attribute("process.exit.code")), (1, "sh", "3"));
    assert_eq!(root.attribute("process_tracer.complete"), "false");
    assert!(root.attribute("process_tracer.unobserved").contains("CAP_BPF"));
}

#[test]
fn strictly_the_command_does_not_run_untraced() {
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([PROCESS_TRACER, "--strict", "--", "echo", "ran"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{stderr}");
    assert!(stderr.contains("as --strict asks: missing CAP_BPF"), "{stderr}");
}

#[test]
fn the_command_runs_as_another_user_with_all_that_goes_with_it() {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let show =
        "id; env | grep -E '^(HOME|USER|LOGNAME|SHELL)=' | sort; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status";
    let expected = Command::new("setpriv")
        .args(["--reuid=nobody", "--regid", &nobody.gid.to_string(), "--init-groups", "sh", "-c", show])
        .env("HOME", &nobody.dir)
        .envs([("USER", "nobody"), ("LOGNAME", "nobody")])
        .env("SHELL", &nobody.shell)
        .output()
        .unwrap();
    assert!(expected.status.success());
    let uid = nobody.uid.to_string();
    for user in ["nobody", &uid, "invoker"] {
        let mut command = process_tracer();
        command.args(["-q", "--user", user, "--", "sh", "-c", show]).env("SUDO_UID", &uid);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&expected.stdout));
    }
    let (output, stderr, has_run) = run(&[], &[("PROCESS_TRACER_USER", "no-such-user")]);
    assert_eq!((output.status.code(), has_run), (Some(125), false), "{stderr}");
    for (user, reason) in [("no-such-user", "there is no user 'no-such-user'"), ("invoker", "SUDO_UID is not set")] {
        let output = process_tracer().args(["-u", user, "--", "true"]).env_remove("SUDO_UID").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125));
        assert!(stderr.contains("--user: ") && stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn file_capabilities_are_enough_and_the_command_gets_none() {
    let (output, trace) = trace_as_nobody(Some("cap_bpf,cap_perfmon=ep"), "/bin/true; grep Cap /proc/self/status");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(stdout.contains(&format!("{set}:\t0000000000000000")), "{stdout}");
    }
    trace.assert_complete();
    assert_eq!(trace.spans.len(), 3, "{trace:#?}");
}
