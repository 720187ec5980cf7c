//! The first minutes of a user: a mistake on the command line prints the right command line.

use crate::harness::process_tracer;

/// Returns the exit status and stderr.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = process_tracer().args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_command_without_dashes_gets_the_right_command_line() {
    for (arguments, right) in [
        (&["make", "-j2"][..], "process-tracer -- make -j2"),
        (&["-q", "-o", "a b.jsonl", "make", "all"], "process-tracer -q -o 'a b.jsonl' -- make all"),
        (&["-o", "make.jsonl", "make", "make.jsonl"], "process-tracer -o make.jsonl -- make make.jsonl"),
        (&["--live", "make", "x"], "process-tracer --live -- make x"),
        (&["-q", "sh", "-c", "echo $PATH"], "process-tracer -q -- sh -c 'echo $PATH'"),
        (&["-q", "make", "--", "-j2"], "process-tracer -q -- make -- -j2"),
    ] {
        let (code, stderr) = run(arguments);
        assert_eq!(code, Some(125), "{stderr}");
        assert_eq!(stderr, format!("process-tracer: put the command after `--`: {right}\n"));
    }
    // This is not a command.
    for arguments in [&["doctor", "make"][..], &["-q", "--no-such-flag", "make"], &["--live=make"]] {
        let (code, stderr) = run(arguments);
        assert!(code == Some(125) && !stderr.contains("put the command"), "{stderr}");
    }
}
