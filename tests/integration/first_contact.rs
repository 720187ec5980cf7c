//! The first minutes of a user: a mistake on the command line prints the right command line.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    harness::{PROCESS_TRACER, process_tracer, python, write_program},
    trace::Trace,
};

/// Returns the exit status and stderr.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = process_tracer().args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Runs the command line at the end of a message, in a shell that finds process-tracer. Returns its stdout.
fn paste(message: &str) -> String {
    let folder = TempDir::new().unwrap();
    symlink(PROCESS_TRACER, folder.path().join("process-tracer")).unwrap();
    let (_, command) = message.trim_end().split_once(": process-tracer ").unwrap();
    let (_, command) = command.rsplit_once(": ").unwrap_or(("", command));
    let command = format!("process-tracer {}", command.trim_start_matches("process-tracer "));
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh").args(["-c", &command]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_command_without_dashes_gets_the_right_command_line() {
    for (arguments, right) in [
        (&["make", "-j2"][..], "process-tracer -- make -j2"),
        (&["-q", "-o", "a b.jsonl", "make", "all"], "process-tracer -q -o 'a b.jsonl' -- make all"),
        (&["-o", "make.jsonl", "make", "make.jsonl"], "process-tracer -o make.jsonl -- make make.jsonl"),
        (&["--live", "make", "x"], "process-tracer --live -- make x"),
        (&["--live", "make", "-j2"], "process-tracer --live -- make -j2"),
        (&["-q", "sh", "-c", "echo $PATH"], "process-tracer -q -- sh -c 'echo $PATH'"),
        (&["-q", "make", "--", "-j2"], "process-tracer -q -- make -- -j2"),
        (&["sed", "s/send/sed/"], "process-tracer -- sed s/send/sed/"),
        (&["A=b c", "make"], "process-tracer -- sh -c \"A='b c' make\""),
        (&["-q", "cd", "/tmp"], "process-tracer -q -- sh -c 'cd /tmp'"),
        (&["make -j2"], "process-tracer -- sh -c 'make -j2'"),
    ] {
        let (code, stderr) = run(arguments);
        assert_eq!(code, Some(125), "{stderr}");
        assert_eq!(stderr, format!("process-tracer: put the command after `--`: {right}\n"));
    }
    // A typing error in the name of a subcommand.
    let (code, stderr) = run(&["reprot", "a.jsonl"]);
    let expected = "did you mean 'report'? Otherwise put the command after `--`: process-tracer -- reprot a.jsonl";
    assert_eq!((code, stderr), (Some(125), format!("process-tracer: {expected}\n")));
    // Here the mistake is not a missing `--`.
    for arguments in [
        &["doctor", "make"][..],
        &["-q", "--no-such-flag", "make"],
        &["--live=make"],
        &["--live", "99999", "--", "true"],
        &["--live", ":8123", "--", "true"],
        &["--live", "127.0.0.1", "--", "true"],
    ] {
        let (code, stderr) = run(arguments);
        assert!(code == Some(125) && !stderr.contains("put the command"), "{stderr}");
        assert!(!arguments.contains(&"true") || stderr.contains("port"), "{stderr}");
    }
    // The value of a flag is wrong, too.
    for (arguments, reason) in [
        (&["--live", "99999", "true"][..], "--live: '99999' is not a port: a port is at most 65535"),
        (&["--wait", "make", "make", "-j2"], "--wait: 'make' is not one of command and tree"),
    ] {
        assert_eq!(run(arguments), (Some(125), format!("process-tracer: {reason}\n")));
    }
}

#[test]
fn a_command_that_only_a_shell_knows_gets_the_right_command_line() {
    for (command, reason) in [
        (&["cd", "/tmp"][..], "'cd' is a builtin of the shell: process-tracer -- sh -c 'cd /tmp'"),
        (
            &["shopt", "-s", "nullglob"],
            "'shopt' is a builtin of the shell: process-tracer -- bash -c 'shopt -s nullglob'",
        ),
        (&["A=b c", "B=", "env"], "a shell sets variables: process-tracer -- sh -c \"A='b c' B= env\""),
        (&["echo a  b"], "it is a whole command line: process-tracer -- sh -c 'echo a  b'"),
        (&["ll", "-a"], "if it is an alias or a function, write out its text: process-tracer -- sh -c '…'"),
    ] {
        let (code, stderr) = run(&[&["--"], command].concat());
        assert_eq!(code, Some(127), "{stderr}");
        assert_eq!(stderr, format!("process-tracer: cannot run '{}': not in PATH; {reason}\n", command[0]));
    }
    let (_, message) = run(&["--", "A=b c", "env"]);
    assert!(paste(&message).lines().any(|line| line == "A=b c"), "{message}");
    let (_, message) = run(&["--", "type", "cd"]);
    assert!(paste(&message).contains("builtin"), "{message}");
    let (_, message) = run(&["--", "echo a  b"]);
    assert_eq!(paste(&message), "a b\n");
    let (code, stderr) = run(&["--", ""]);
    assert_eq!(
        (code, stderr.as_str()),
        (Some(127), "process-tracer: cannot run '': the name of the program is empty\n")
    );
    // A path is not searched for in PATH.
    let (code, stderr) = run(&["--", "./cd"]);
    assert_eq!((code, stderr.as_str()), (Some(127), "process-tracer: cannot run './cd': No such file or directory\n"));
}

#[test]
fn a_script_that_cannot_run_names_its_interpreter() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_program(path("missing"), b"#! /no/such/python -u\n");
    write_program(path("dos"), b"#!/bin/sh\r\necho hi\r\n");
    write_program(path("nested"), format!("#!{}\n", path("missing")).as_bytes());
    write_program(path("data"), b"#!/etc/passwd\n");
    for (name, reason) in [
        ("missing", "its interpreter '/no/such/python' does not exist".to_owned()),
        (
            "dos",
            format!(
                "its first line ends with CR and LF, so its interpreter is '/bin/sh\\r'; remove each CR: sed -i 's/\\r$//' {}",
                path("dos")
            ),
        ),
        (
            "nested",
            format!(
                "its interpreter '{}' needs the interpreter '/no/such/python', which does not exist",
                path("missing")
            ),
        ),
        ("data", "its interpreter '/etc/passwd' is not executable".to_owned()),
    ] {
        let (code, stderr) = run(&["--", &path(name)]);
        assert_eq!(code, Some(if name == "data" { 126 } else { 127 }), "{stderr}");
        assert_eq!(stderr, format!("process-tracer: cannot run '{}': {reason}\n", path(name)));
    }
    fs::write(path("plain"), "#!/bin/sh\n").unwrap();
    for (name, reason) in [
        (".", "it is a directory".to_owned()),
        ("plain", format!("the file is not executable: chmod +x {}", path("plain"))),
    ] {
        let (code, stderr) = run(&["--", &path(name)]);
        assert_eq!((code, stderr), (Some(126), format!("process-tracer: cannot run '{}': {reason}\n", path(name))));
    }
    // The same for a script in PATH.
    let search = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = process_tracer().args(["--", "missing"]).env("PATH", search).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "process-tracer: cannot run 'missing': its interpreter '/no/such/python' does not exist\n");
    // The remedy in the message works.
    assert!(Command::new("sed").args(["-i", r"s/\r$//", &path("dos")]).status().unwrap().success());
    assert_eq!(run(&["-q", "--", &path("dos")]), (Some(0), String::new()));
}

#[test]
fn a_program_whose_loader_is_missing_is_recognised() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("program");
    // The name of the loader is the first text in most programs.
    let mut bytes = fs::read(fs::canonicalize("/bin/sh").unwrap()).unwrap();
    let at = bytes.windows(4).position(|window| window == b"/ld-" || window == b"/ld6").unwrap();
    bytes[at + 1] = b'X';
    write_program(&program, &bytes);
    let (code, stderr) = run(&["--", program.to_str().unwrap()]);
    assert_eq!(code, Some(127), "{stderr}");
    let expected = "the file exists, but the loader that it needs does not exist; to see the loader's name, run: file ";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn the_live_page_accepts_its_address_in_each_form() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for arguments in [
        &["--live", &port.to_string()][..],
        &["--live", &format!("localhost:{port}")],
        &[&format!("--live=localhost:{port}")],
        &["--live", &format!("127.0.0.1:{port}")],
    ] {
        let (code, stderr) = run(&[arguments, &["-q", "--", "true"]].concat());
        assert!(code == Some(0) && stderr.contains(&format!("http://127.0.0.1:{port}/")), "{stderr}");
    }
    // Without an address the kernel chooses the port.
    for arguments in [&["--live", "--", "true"][..], &["--live", "-q", "--", "true"]] {
        let (code, stderr) = run(arguments);
        assert!(code == Some(0) && stderr.contains("http://127.0.0.1:"), "{stderr}");
    }
}

#[test]
fn a_user_without_an_entry_in_the_user_database_can_run_the_command() {
    let show = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME $SHELL";
    let output = process_tracer().args(["-q", "-u", "12345", "--", "sh", "-c", show]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "12345\n65534\n65534\n/ 12345 12345 /bin/sh\n", "{}", String::from_utf8_lossy(&output.stderr));
    let mut command = process_tracer();
    command.args(["-q", "-u", "invoker", "--", "sh", "-c", "id -u; id -G"]);
    let output = command.env("SUDO_UID", "12345").env("SUDO_GID", "54321").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "12345\n54321\n");
    // This number is no user for the kernel.
    let (code, stderr) = run(&["-u", &u32::MAX.to_string(), "--", "true"]);
    assert!(code == Some(125) && stderr.contains("there is no user '4294967295'"), "{stderr}");
}

/// The stdout of a command that succeeds, for a terminal of 80 columns.
fn stdout(arguments: &[&str]) -> String {
    let output = process_tracer().args(arguments).env("COLUMNS", "80").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_fits_on_one_screen_and_names_the_rest() {
    let help = stdout(&["--help"]);
    assert!(help.lines().count() < 24, "a prompt needs one line, too: {help}");
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    for word in
        ["-- COMMAND", "--output", "--live", "--endpoint", "--user", "--sudo", "doctor", "process-tracer --help all"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    for same in [&["-h"][..], &["help"]] {
        assert_eq!(stdout(same), help);
    }
    let all = stdout(&["--help", "all"]);
    let headings: Vec<_> = all.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
    let expected =
        ["Commands:", "Arguments:", "Options:", "Trace:", "Output:", "Export:", "Capture:", "Privileges:", "Examples:"];
    assert_eq!(headings, expected, "{all}");
    assert!(all.contains("--max-processes") && all.contains("PROCESS_TRACER_MAX_PROCESSES"), "{all}");
    assert_eq!(stdout(&["help", "all"]), all);
    assert_eq!(stdout(&["help", "report"]), stdout(&["report", "--help"]));
    // The command may have such arguments.
    let output = process_tracer().args(["-q", "--", "echo", "--help", "all"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "--help all\n");
}

#[test]
fn a_run_that_does_not_start_leaves_the_old_trace_alone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("k.jsonl");
    let path = file.to_str().unwrap();
    let failures: [(&[&str], _); 3] = [
        (&["-o", path, "--", "no-such-command"], 127),
        (&["-o", path, "-o", "/no/such/folder/t.html", "--", "true"], 125),
        (&["-o", path, "--strict", "--source", "none", "--", "true"], 125),
    ];
    for is_old in [false, true] {
        if is_old {
            fs::write(&file, "from yesterday").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        for (arguments, status) in failures {
            let (code, stderr) = run(arguments);
            assert_eq!(code, Some(status), "{stderr}");
            let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names.len(), usize::from(is_old), "{arguments:?}: {names:?}");
            if is_old {
                assert_eq!(fs::read_to_string(&file).unwrap(), "from yesterday", "{arguments:?}");
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
            }
        }
    }
    // A run that starts empties the file at once. Otherwise a reader could think that the old trace is the new one.
    let mut command = process_tracer();
    command.args(["-q", "-o", path, "--", "sh", "-c", "while [ -s \"$0\" ]; do sleep 0.01; done; echo empty", path]);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "empty\n");
    assert!(Trace::read(&file).root().name == "sh");
}

#[test]
fn a_trace_is_appended_to_a_file_that_the_shell_has_opened() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("out");
    symlink("/dev/stdout", folder.path().join("link.jsonl")).unwrap();
    let append = |command: &str| {
        let stdout = fs::File::options().create(true).append(true).open(&file).unwrap();
        let mut run = process_tracer();
        run.args(["-qo", "link.jsonl", "--", command, "early"]).current_dir(folder.path()).stdout(stdout);
        run.stderr(Stdio::null()).status().unwrap().code()
    };
    fs::write(&file, "from yesterday\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(append("no-such-command"), Some(127));
    assert_eq!(append("echo"), Some(0));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        matches!(lines[..], ["from yesterday", "early", trace] if trace.starts_with("{\"resourceSpans\"")),
        "{text}"
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
}

/// Starts a run that writes a report, and waits until its command runs. Returns it and the pid of its command.
fn start_report(report: &Path) -> (std::process::Child, String) {
    let mut command = process_tracer();
    command.arg("-o").arg(report).args(["--", "sleep", "60"]).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    loop {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
        let command = children.trim().to_owned();
        if fs::read_to_string(format!("/proc/{command}/comm")).is_ok_and(|name| name == "sleep\n") {
            return (run, command);
        }
        assert!(run.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(10));
    }
}

fn kill(process: &str) {
    assert!(Command::new("kill").arg(process).status().unwrap().success());
}

#[test]
fn the_next_run_removes_the_temporary_file_of_a_killed_run() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let drafts = || {
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".process-tracer-")).count()
    };
    let (mut killed, orphan) = start_report(&path("a.html"));
    let (mut running, sleeper) = start_report(&path("b.html"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    kill(&orphan);
    // Files with such a name that process-tracer did not create.
    fs::write(path(".process-tracer-notes"), "mine").unwrap();
    symlink("b.html", path(".process-tracer-0123456789abcdef")).unwrap();
    assert_eq!(drafts(), 4);
    assert!(process_tracer().arg("-qo").arg(path("c.html")).args(["--", "true"]).status().unwrap().success());
    assert_eq!(drafts(), 3, "the file of the run that still runs, the notes, and the link");
    kill(&sleeper);
    running.wait().unwrap();
    assert!(path("b.html").exists() && path("c.html").exists() && !path("a.html").exists());
    assert_eq!(fs::read_to_string(path(".process-tracer-notes")).unwrap(), "mine");
    assert_eq!(drafts(), 2);
}

const SAVED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/integration/snapshots/after.jsonl");

#[test]
fn a_dumb_terminal_gets_no_colours() {
    let show = |term: &str, arguments: &[&str]| {
        let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
        let mut command = Command::new(python());
        command
            .args(["-c", spawn, PROCESS_TRACER])
            .args(arguments)
            .env("TERM", term)
            .env_remove("NO_COLOR")
            .env("CI", "true");
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for arguments in [&["report", SAVED][..], &["report", SAVED, "-o", "tree"], &["diff", SAVED, SAVED], &["--help"]] {
        assert!(show("xterm", arguments).contains('\x1b'), "{arguments:?}");
        assert!(!show("dumb", arguments).contains('\x1b'), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [
        &["report", SAVED][..],
        &["diff", SAVED, SAVED],
        &["man"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["doctor"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = process_tracer().args(arguments).stdout(writer).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.is_empty(), "{arguments:?}: {:?} {stderr}", output.status);
    }
    // A full disk is an error.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = process_tracer().args(["report", SAVED]).stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(125) && stderr.contains("cannot write to stdout: No space left"), "{stderr}");
}

#[test]
fn counts_of_one_are_in_the_singular() {
    for (flags, words) in [
        (["-t", "a"], "'a': 1 character, expected 32 "),
        (["-a", "x=count()"], "expected at least 1 argument\n"),
        (["-a", "x=take([1])"], "take does not take 1 argument\n"),
    ] {
        let (code, stderr) = run(&[&flags[..], &["--", "true"]].concat());
        assert!(code == Some(125) && stderr.contains(words), "{stderr}");
    }
    let (_, stderr) = run(&["--spool=none", "--endpoint", "http://127.0.0.1:9", "--", "true"]);
    assert!(stderr.contains("warning: 1 of 1 span did not reach "), "{stderr}");
    let (_, stderr) = run(&["--spool=none", "--endpoint", "http://127.0.0.1:9", "--", "sh", "-c", "/bin/true; exit 0"]);
    assert!(stderr.contains("warning: 2 of 2 spans did not reach "), "{stderr}");
}
