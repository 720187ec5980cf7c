//! Low limits on files and processes. The command runs and ends as without process-tracer, even if not everything can be
//! traced.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::harness::{PROCESS_TRACER, process_tracer};

/// Runs `limit` in a shell, and then traces a command that ends with status 7. Returns stdout and stderr.
fn run(mut shell: Command, tracer: &str, limit: &str) -> (String, String) {
    let script = format!("{limit} && exec {tracer} -- sh -c 'echo ran; ulimit -n; exit 7'");
    let output = shell.args(["bash", "-c", &script]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{limit}: {stderr}");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

/// The program `env`, which runs its arguments as the user of the test.
fn env() -> Command {
    let mut command = Command::new("env");
    command.env(
        "XDG_STATE_HOME",
        process_tracer().get_envs().find(|(name, _)| *name == "XDG_STATE_HOME").unwrap().1.unwrap(),
    );
    command.env_remove("TRACEPARENT");
    command
}

#[test]
fn a_low_limit_on_open_files_does_not_stop_the_command() {
    for files in [4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 40, 64] {
        let (stdout, stderr) = run(env(), &format!("{PROCESS_TRACER} -q"), &format!("ulimit -n {files}"));
        assert_eq!(stdout, format!("ran\n{files}\n"), "{stderr}");
        assert!(!stderr.contains("--buffer-size") && stderr.lines().count() <= 2, "{stderr}");
    }
}

#[test]
fn one_line_says_that_a_limit_leaves_no_room_for_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let flags = ["".to_owned(), "--source ptrace".to_owned(), format!("-o {}", file.display())];
    let mut untraced = 0;
    for files in 4..=12 {
        for flags in &flags {
            let (_, stderr) = run(env(), &format!("{PROCESS_TRACER} {flags}"), &format!("ulimit -n {files}"));
            if stderr.contains("the command runs without a trace") {
                assert_eq!(stderr.lines().count(), 1, "{files} {flags}: {stderr}");
                untraced += 1;
            }
        }
    }
    assert!(untraced > 0);
}

#[test]
fn a_command_without_a_trace_gets_the_trace_context_of_the_caller() {
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut untraced = 0;
    for files in 4..=12 {
        for context in ["", &format!("export TRACEPARENT={caller} TRACESTATE=a=b;")] {
            let command = "sh -c 'echo [$TRACEPARENT $TRACESTATE]'";
            let script = format!("{context} ulimit -n {files} && exec {PROCESS_TRACER} -q -- {command}");
            let output = env().args(["bash", "-c", &script]).output().unwrap();
            if String::from_utf8_lossy(&output.stderr).contains("the command runs without a trace") {
                let expected = if context.is_empty() { "[ ]\n" } else { &format!("[{caller} a=b]\n") };
                assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{script}");
                untraced += 1;
            }
        }
    }
    assert!(untraced > 0);
}

#[test]
fn a_low_soft_limit_on_open_files_is_raised_for_process_tracer_alone() {
    let (stdout, stderr) = run(env(), PROCESS_TRACER, "ulimit -Sn 12");
    assert_eq!(stdout.lines().take(2).collect::<Vec<_>>(), ["ran", "12"]);
    assert!(stderr.contains(", complete"), "{stdout}{stderr}");
    assert!(!stderr.contains("ptrace observes"), "{stderr}");
}

#[test]
fn ptrace_observes_because_of_the_limit_on_open_files() {
    for files in [24, 36, 40] {
        let (_, stderr) = run(env(), PROCESS_TRACER, &format!("ulimit -n {files}"));
        let reason = "eBPF is impossible: process-tracer has reached the limit of open files, see 'ulimit -n'\n";
        assert!(stderr.contains(reason), "{files}: {stderr}");
    }
}

#[test]
fn a_low_limit_on_processes_does_not_stop_the_command() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let tracer = folder.path().join("process-tracer");
    crate::harness::copy_program(PROCESS_TRACER, &tracer);
    let mut told = String::new();
    for processes in 1..=8 {
        // The limit counts all processes of a user. No other process has this user id.
        let mut shell = Command::new("setpriv");
        shell.args(["--reuid=54321", "--regid=54321", "--clear-groups"]).env("XDG_STATE_HOME", folder.path());
        let (stdout, stderr) = run(shell, tracer.to_str().unwrap(), &format!("ulimit -u {processes}"));
        assert!(stdout.starts_with("ran\n"), "{stdout}");
        told += &stderr;
    }
    assert!(told.contains("the command runs without a trace: the user has reached the limit of processes"), "{told}");
    assert!(told.contains("1 span"), "{told}");
}

#[test]
fn a_small_stack_does_not_stop_the_command() {
    for size in [64, 128, 512] {
        let (stdout, stderr) = run(env(), &format!("{PROCESS_TRACER} -q"), &format!("ulimit -s {size}"));
        assert!(stdout.starts_with("ran\n"), "{size}: {stderr}");
    }
}

#[test]
fn with_strict_a_low_limit_stops_the_command() {
    let script = format!("ulimit -n 5; exec {PROCESS_TRACER} --strict -- sh -c 'echo ran'");
    let output = env().args(["bash", "-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), &b""[..]));
}
