//! The command line: invalid flags and variables, messages, outputs.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    process::Output,
};

use expect_test::expect_file;
use tempfile::TempDir;

use crate::{
    harness::{process_tracer, trace_script},
    snapshots::path,
    trace::Trace,
};

/// Runs a command that creates a file. Returns the output, its stderr, and whether the command ran.
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
fn an_invalid_flag_prints_one_line_and_exits_with_125_without_a_command() {
    let zeros = "0".repeat(32);
    let short = "a".repeat(31);
    let cases: [&[&str]; 23] = [
        &["--no-such-flag"],
        &["-t", &short],
        &["-t", &zeros],
        &["-t", "zz"],
        &["-p", "00f067aa0ba902b7"],
        &["--parent", "me"],
        &["-a", "novalue"],
        &["-a", "pod=env[\"X"],
        &["-a", "stage=prod"],
        &["-o", "/no/such/folder/t.jsonl"],
        &["-o", "t.txt"],
        &["--live=x"],
        &["--endpoint", "collector:4318"],
        &["--endpoint", "http://localhost:99999"],
        &["--endpoint", "http://localhost:4318/?a=1"],
        &["--endpoint", "http://"],
        &["--protocol", "http/xml"],
        &["-t"],
        &["--wait", "forever"],
        &["--buffer-size", "3M"],
        &["--peer-name", "db"],
        &["--redact", "a b"],
        &["--redact", "a", "--no-redact"],
    ];
    let mut messages = String::new();
    for flags in cases {
        let (output, stderr, has_run) = run(flags, &[]);
        assert_eq!(output.status.code(), Some(125), "{flags:?}: {stderr}");
        assert!(!has_run, "{flags:?}");
        assert!(output.stdout.is_empty());
        // Below the message of an invalid expression are the expression and a caret.
        let lines = stderr.lines().filter(|line| !line.starts_with(" | ")).count();
        assert!(stderr.starts_with("process-tracer: ") && lines == 1, "{flags:?}: {stderr}");
        messages += &format!("$ process-tracer {} -- touch mark\n{stderr}", flags.join(" "));
    }
    expect_file![path("invalid-flags.txt")].assert_eq(&messages);
}

#[test]
fn an_invalid_expression_is_shown_with_a_caret_and_a_similar_name() {
    let (output, stderr, has_run) = run(&["-a", "n=len(arg)"], &[]);
    assert_eq!((output.status.code(), has_run), (Some(125), false), "{stderr}");
    assert!(stderr.contains("names 'arg' at column 5") && stderr.contains("did you mean 'args'?"), "{stderr}");
    assert!(stderr.ends_with("\n | len(arg)\n |     ^\n"), "{stderr}");
}

#[test]
fn one_line_is_printed_if_no_command_follows_the_dashes() {
    for arguments in [&[][..], &["--"], &["make"]] {
        let output = process_tracer().args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125));
        assert!(stderr.contains("--") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn an_invalid_variable_prints_a_warning_and_is_ignored() {
    let cases = [
        ("PROCESS_TRACER_TRACE_ID", "zz"),
        ("PROCESS_TRACER_PARENT_ID", "00f067aa0ba902b7"),
        ("PROCESS_TRACER_PARENT", "me"),
        ("PROCESS_TRACER_ATTRIBUTE", "novalue"),
        ("PROCESS_TRACER_OUTPUT", "t.txt"),
        ("PROCESS_TRACER_OUTPUT", "t.txt,tree"),
        ("PROCESS_TRACER_LIVE", "x"),
        ("PROCESS_TRACER_ENDPOINT", "collector:4318"),
        ("PROCESS_TRACER_PROTOCOL", "smoke"),
        ("PROCESS_TRACER_PEER_NAME", "db"),
        ("PROCESS_TRACER_WAIT", "forever"),
        ("PROCESS_TRACER_FLUSH_TIMEOUT", "soon"),
        ("PROCESS_TRACER_BUFFER_SIZE", "3M"),
        ("PROCESS_TRACER_MAX_PROCESSES", "0"),
        ("PROCESS_TRACER_ARGS", "some"),
        ("PROCESS_TRACER_REDACT", "a b"),
        ("PROCESS_TRACER_NO_REDACT", "a b"),
        ("PROCESS_TRACER_NO_REDACT", "disabled"),
        ("PROCESS_TRACER_STRICT", "enabled"),
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/?a=1"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/passwd"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/etc/passwd"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/etc/passwd"),
        ("PROCESS_TRACER_ATTRIBUTES", "a=1"),
        ("OTEL_CONFIG_FILE", "/etc/otel.yaml"),
        ("OTEL_BSP_SCHEDULE_DELAY", "500"),
        ("OTEL_EXPORTER_OTLP_HEADER", "a=1"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_EXPORTER", "zipkin,console"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
        ("TRACEPARENT", "nonsense"),
    ];
    let mut messages = String::new();
    for (name, value) in cases {
        let (output, stderr, has_run) = run(&[], &[(name, value)]);
        assert_eq!(output.status.code(), Some(0), "{name}: {stderr}");
        assert!(has_run);
        let warnings: Vec<_> = stderr.lines().filter(|line| line.starts_with("process-tracer: warning: ")).collect();
        assert_eq!(warnings.len(), 1, "{name}: {stderr}");
        let effect = if name == "OTEL_SDK_DISABLED" { "counts as false" } else { "is ignored" };
        assert!(warnings[0].contains(&format!("{name} {effect}: ")), "{name}: {stderr}");
        messages += &format!("$ {name}={value} process-tracer -- touch mark\n{}\n", warnings[0]);
    }
    expect_file![path("invalid-variables.txt")].assert_eq(&messages);
}

#[test]
fn a_file_without_a_certificate_is_an_error_only_if_a_flag_asks_for_an_export_over_tls() {
    let certificate = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/passwd");
    let (output, stderr, has_run) = run(&["--endpoint", "https://127.0.0.1:9"], &[certificate]);
    assert_eq!((output.status.code(), has_run), (Some(125), false), "{stderr}");
    assert!(stderr.contains("OTEL_EXPORTER_OTLP_CERTIFICATE: '/etc/passwd'"), "{stderr}");
    let (output, stderr, has_run) = run(&[], &[certificate, ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:9")]);
    assert_eq!((output.status.code(), has_run), (Some(0), true), "{stderr}");
    assert!(stderr.contains("an output is left out: OTEL_EXPORTER_OTLP_CERTIFICATE: "), "{stderr}");
}

#[test]
fn a_variable_with_an_output_that_cannot_be_written_does_not_stop_the_command() {
    let (output, stderr, has_run) = run(&[], &[("PROCESS_TRACER_OUTPUT", "/no/such/folder/t.jsonl,summary")]);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(has_run && stderr.contains("warning: an output is left out: cannot write '/no/such/"), "{stderr}");
    assert!(stderr.contains("touch"), "the other output is kept: {stderr}");

    // The command also starts if flags name another output.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases: [(&[&str], _, _); 2] = [
        (&["-o", "summary"], "PROCESS_TRACER_LIVE", port.as_str()),
        (
            &["--endpoint", "http://127.0.0.1:9", "--flush-timeout", "0", "--spool", "none"],
            "PROCESS_TRACER_OUTPUT",
            "/no/such/folder/t.jsonl",
        ),
    ];
    for (flags, name, value) in cases {
        let (output, stderr, has_run) = run(flags, &[(name, value)]);
        assert!(output.status.success() && has_run, "{name}: {stderr}");
        assert!(stderr.contains("warning: an output is left out: "), "{name}: {stderr}");
    }

    let mut command = process_tracer();
    let not_utf8 = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
    let output = command.args(["--", "true"]).env("PROCESS_TRACER_TRACE_ID", not_utf8).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("PROCESS_TRACER_TRACE_ID is ignored: it is not UTF-8"), "{stderr}");
}

#[test]
fn only_the_owner_can_read_an_overwritten_trace_file() {
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
    let help = process_tracer().args(["--help", "all"]).output().unwrap();
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    let mut flags = 0;
    for line in help.lines().map(str::trim).filter(|line| line.starts_with('-')) {
        let flag = line.split_whitespace().find_map(|word| word.strip_prefix("--")).unwrap();
        // The value of `--live[=ADDR]` is optional.
        let flag = flag.split('[').next().unwrap();
        if !["help", "version"].contains(&flag) {
            let variable = format!("[env: PROCESS_TRACER_{}", flag.to_uppercase().replace('-', "_"));
            assert!(help.contains(&variable), "{variable} is not in {help}");
            flags += 1;
        }
    }
    assert!(flags > 20, "{help}");
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
fn commands_that_cannot_run_exit_with_126_or_127() {
    for (command, code) in [("/no/such/command", 127), ("no-such-command", 127), ("/etc/passwd", 126), ("/", 126)] {
        let output = process_tracer().args(["--", command]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(&format!("process-tracer: cannot run '{command}': ")), "{stderr}");
    }
}

#[test]
fn the_trace_context_is_read_and_passed_on() {
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

    // With another trace id than the caller's, the command does not get the caller's TRACESTATE.
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
fn without_a_collector_a_summary_is_printed() {
    let output = process_tracer()
        .args(["--", "sh", "-c", "echo out; /bin/true; exit 3"])
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 5, "{stderr}");
    assert_eq!(lines[0], "sh -c 'echo out; /bin/true; exit 3'");
    assert!(lines[1].starts_with("  exit 3 after ") && lines[1].ends_with("s: 2 processes (1 failed)"), "{stderr}");
    assert!(lines[2].ends_with("  sh echo out; /bin/true; exit 3  exit 3"), "{stderr}");
    assert!(lines[3].ends_with("  └─ true"), "{stderr}");
    assert!(lines[4].starts_with("process-tracer: trace ") && lines[4].ends_with(", 2 spans, complete"), "{stderr}");
    assert!(!stderr.contains('\x1b'));
}

#[test]
fn with_quiet_nothing_is_printed() {
    let output = process_tracer().args(["-q", "--", "true"]).output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty() && output.stdout.is_empty());
}

#[test]
fn only_the_owner_can_read_a_new_trace_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    assert!(process_tracer().arg("-o").arg(&file).args(["--", "true"]).status().unwrap().success());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_run_of_a_ci_system_can_be_the_parent() {
    let run = |variables: &[(&str, &str)], parent: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.jsonl");
        let mut command = process_tracer();
        command.env_remove("GITHUB_RUN_ID").envs(variables.iter().copied()).args(["--parent", parent, "-o"]).arg(&file);
        let output = command.args(["--", "true"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let ids = file
            .exists()
            .then(|| Trace::read(&file))
            .map(|trace| (trace.root().trace_id.clone(), trace.root().parent_id.clone()));
        (output.status.code(), stderr, ids)
    };
    let github = [("GITHUB_RUN_ID", "42"), ("GITHUB_RUN_ATTEMPT", "1")];
    let (_, stderr, ids) = run(&github, "ci");
    assert_eq!(
        ids.unwrap(),
        ("0330c15a8d3e153086738dd3191a6497".to_owned(), "e93171e2ef746fb5".to_owned()),
        "{stderr}"
    );
    let caller = ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let (_, _, ids) = run(&[github[0], github[1], caller], "ci");
    assert_eq!(ids.unwrap().1, "b7ad6b7169203331", "TRACEPARENT has priority over --parent");
    let (code, stderr, ids) = run(&[], "ci");
    assert!(code == Some(0) && stderr.contains("warning: --parent ci") && ids.unwrap().1.is_empty(), "{stderr}");
    let (code, stderr, _) = run(&[], "me");
    assert!(code == Some(125) && stderr.contains("--parent: 'me' is not ci"), "{stderr}");
}

#[test]
fn a_full_disk_is_reported_and_does_not_harm_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let full = folder.path().join("full.jsonl");
    symlink("/dev/full", &full).unwrap();
    let output = process_tracer().arg("-o").arg(&full).args(["--", "sh", "-c", "exit 3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("1 of 1 span did not reach") && stderr.contains("No space left"), "{stderr}");
    assert!(stderr.contains("incomplete: not all delivered"), "{stderr}");
}

#[test]
fn the_resource_names_service_host_and_system() {
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
    for key in ["telemetry.sdk.name", "telemetry.distro.name"] {
        assert_eq!(value(key), "process-tracer");
    }
    for key in ["telemetry.sdk.version", "telemetry.distro.version"] {
        assert_eq!(value(key), env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(value("telemetry.sdk.language"), "rust");
    let schema = "https://opentelemetry.io/schemas/1.44.0";
    assert_eq!(data["resourceSpans"][0]["schemaUrl"], schema);
    assert_eq!(data["resourceSpans"][0]["scopeSpans"][0]["schemaUrl"], schema);
    let host = nix::unistd::gethostname().unwrap();
    assert_eq!(value("host.name"), host.to_string_lossy());
    assert!(!value("host.arch").is_empty() && !value("os.description").is_empty());
}

#[test]
fn files_of_other_users_are_not_changed() {
    const OTHER: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let [target, link, file] = ["target", "link.jsonl", "file.jsonl"].map(|name| folder.path().join(name));
    fs::write(&target, "precious").unwrap();
    symlink(&target, &link).unwrap();
    lchown(&link, Some(OTHER), None).unwrap();
    fs::write(&file, "theirs").unwrap();
    chown(&file, Some(OTHER), None).unwrap();
    for (path, content, reason) in [
        (&link, "precious", "is a symbolic link of another user"),
        (&file, "theirs", "the file belongs to another user"),
    ] {
        let (output, stderr, has_run) = run(&["-o", path.to_str().unwrap()], &[]);
        assert_eq!((output.status.code(), has_run), (Some(125), false), "{stderr}");
        assert!(stderr.contains("cannot write '") && stderr.contains(reason), "{stderr}");
        assert_eq!(fs::read_to_string(path).unwrap(), content);
    }
    // The user's own links are followed.
    lchown(&link, Some(nix::unistd::geteuid().as_raw()), None).unwrap();
    assert!(process_tracer().arg("-o").arg(&link).args(["--", "true"]).status().unwrap().success());
    assert_eq!(Trace::read(&target).spans.len(), 1);
}

#[test]
fn under_sudo_the_trace_file_belongs_to_the_user_who_called_sudo() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    for _ in 0..2 {
        let mut command = process_tracer();
        command.env("SUDO_UID", "65534").env("SUDO_GID", "65534").arg("-o").arg(&file).args(["--", "true"]);
        assert!(command.status().unwrap().success());
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (65534, 65534, 0o600));
    }
}

#[test]
fn background_processes_continue_and_are_waited_for_on_request() {
    for (flags, is_waited_for) in [(&[][..], false), (&["--wait", "tree"], true)] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("(sleep 3; touch {}) >/dev/null 2>&1 & exit 3", mark.display());
        let run = trace_script(flags, &script);
        assert_eq!((run.code(), mark.exists()), (Some(3), is_waited_for), "{}", run.stderr);
        run.trace.assert_complete();
        let unfinished = run.trace.spans.iter().filter(|span| span.has("process_tracer.unfinished")).count();
        assert_eq!(unfinished > 0, !is_waited_for, "{:#?}", run.trace);
        let mut left = 100;
        while !mark.exists() {
            left -= 1;
            assert!(left > 0, "the background process has disappeared");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let mut command = process_tracer();
    command.args(["--wait", "tree", "-o"]).arg(&file).args(["--", "sh", "-c", "sleep 60 & echo $!; exit 3"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let sleeper = nix::unistd::Pid::from_raw(line.trim().parse().unwrap());
    // Long enough for the command to end. Otherwise the signal ends it with another status.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let trace = Trace::read(&file);
    trace.assert_complete();
    assert!(trace.spans.iter().any(|span| span.name == "sleep" && span.has("process_tracer.unfinished")));
    nix::sys::signal::kill(sleeper, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn verbose_prints_the_cost_of_tracing() {
    let run = trace_script(&["-v"], "exit 3");
    let lines: Vec<_> = run.stderr.lines().filter_map(|line| line.strip_prefix("process-tracer: ")).collect();
    let attached = lines.iter().find_map(|line| line.strip_prefix("eBPF programs attached in ")).expect(&run.stderr);
    let (whole, steps) = attached.split_once(": ").unwrap();
    let ms = |text: &str| text.strip_suffix(" ms").unwrap().parse::<f64>().unwrap();
    let names = ["object ", "types and maps ", "programs "];
    let steps: f64 = steps.split(", ").zip(names).map(|(step, name)| ms(step.strip_prefix(name).unwrap())).sum();
    assert!(steps > 0.0 && steps < ms(whole) + 0.2, "{attached}");
    let ended = lines.iter().find_map(|line| line.strip_suffix(" to finish the trace")).expect(&run.stderr);
    assert!(ms(ended) > 0.0);
    assert_eq!(run.output.status.code(), Some(3));
}

/// Runs `sh -c 'echo of the command >&2'`. Returns the exit status, and what is on stderr.
fn stderr_with(flags: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = process_tracer();
    command.args(flags).envs(variables.iter().copied()).args(["--", "sh", "-c", "echo of the command >&2"]);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_log_gets_all_messages_and_stderr_only_the_messages_of_the_command() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let path = log.to_str().unwrap();
    // An invalid variable prints a warning before the options are known.
    let invalid = ("PROCESS_TRACER_WAIT", "never");
    assert_eq!(stderr_with(&["--log", path, "-o", "tree"], &[invalid]), (Some(0), "of the command\n".to_owned()));
    let first = fs::read_to_string(&log).unwrap();
    assert!(first.starts_with("process-tracer: warning: PROCESS_TRACER_WAIT is ignored: "), "{first}");
    assert!(first.contains(" sh echo of the command >&2\n") && first.ends_with(", 1 span, complete\n"), "{first}");
    let metadata = fs::metadata(&log).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

    let by_variable = stderr_with(&["-o", "tree"], &[("PROCESS_TRACER_LOG", path)]);
    assert_eq!(by_variable, (Some(0), "of the command\n".to_owned()));
    let both = fs::read_to_string(&log).unwrap();
    assert!(both.starts_with(&first) && both[first.len()..].ends_with(", 1 span, complete\n"), "{both}");
}

#[test]
fn a_log_that_cannot_be_written_is_refused_or_ignored() {
    let (code, stderr) = stderr_with(&["--log", "/nowhere/log"], &[]);
    assert_eq!(code, Some(125), "{stderr}");
    assert_eq!(stderr, "process-tracer: --log: cannot write '/nowhere/log': No such file or directory (os error 2)\n");
    let (code, stderr) = stderr_with(&["-q"], &[("PROCESS_TRACER_LOG", "/nowhere/log")]);
    assert_eq!(code, Some(0), "{stderr}");
    let warning = "process-tracer: warning: PROCESS_TRACER_LOG is ignored: cannot write '/nowhere/log': No such file or \
                   directory (os error 2)\n";
    assert_eq!(stderr, warning.to_owned() + "of the command\n");
}
