//! Inputs and outputs of `report` other than one plain file: several runs of a trace, stdin, compressed files, JSON and
//! CSV.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{PROCESS_TRACER, process_tracer},
    reports::look_at,
};

/// Runs of one trace, as steps of a CI job.
const STEPS: [(&str, &str); 3] =
    [("a.jsonl.gz", "/bin/true; :"), ("b.jsonl.zst", "/bin/true; exit 3"), ("c.jsonl", "/bin/true; true")];

/// Traces the steps into files of this folder.
fn run_steps(folder: &Path) {
    let id = "a".repeat(32);
    for (file, script) in STEPS {
        let mut command = process_tracer();
        let status = command.arg("-o").arg(folder.join(file)).args(["-t", &id, "--", "sh", "-c", script]).status();
        assert_eq!(status.unwrap().code(), Some(if script.contains("exit") { 3 } else { 0 }));
    }
}

/// `report` in this folder, with a file as stdin.
fn report(folder: &Path, arguments: &[&str], stdin: Option<&str>) -> Output {
    let stdin = stdin.map_or(Stdio::null(), |file| fs::File::open(folder.join(file)).unwrap().into());
    let mut command = Command::new(PROCESS_TRACER);
    command.arg("report").args(arguments).current_dir(folder).env("LC_ALL", "C.UTF-8").stdin(stdin).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_steps_of_a_job_are_one_report() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    run_steps(folder);
    let all = ["a.jsonl.gz", "b.jsonl.zst", "-"];
    let with = |outputs: &[&'static str]| [&all[..], outputs].concat();

    let summary = stdout(&report(folder, &all, Some("c.jsonl")));
    assert!(summary.starts_with("3 runs\n  1 of 3 runs failed after "), "{summary}");
    for (command, verdict) in
        [("sh -c '/bin/true; :'", ""), ("sh -c '/bin/true; exit 3'", "exit 3"), ("sh -c '/bin/true; true'", "")]
    {
        let line = summary.lines().find(|line| line.trim().starts_with(command)).expect(&summary);
        assert!(verdict.is_empty() || line.ends_with(verdict), "{line}");
    }
    let json = stdout(&report(folder, &with(&["-o", "json"]), Some("c.jsonl")));
    let json: Value = serde_json::from_str(&json).unwrap();
    let runs = json["runs"].as_array().unwrap();
    assert!(runs.len() == 3 && runs.iter().all(|run| run["complete"] == true), "{runs:?}");
    let processes = json["processes"].as_array().unwrap();
    assert_eq!(processes.iter().filter(|process| process["parent_span_id"].is_null()).count(), 3);
    let failed: Vec<_> = processes.iter().filter(|process| process["exit_code"] != 0).collect();
    assert!(failed.len() == 1 && failed[0]["command"] == "sh -c '/bin/true; exit 3'", "{failed:?}");

    // Compressed output, read by another program; and a file beside stdout.
    let outputs = ["-o", "csv", "-o", "t.csv.gz", "-o", "t.html", "-o", "t.json.zst"];
    let csv = stdout(&report(folder, &with(&outputs), Some("c.jsonl")));
    assert_eq!(csv.lines().count(), 1 + processes.len());
    let unpacked = Command::new("gzip").args(["-dc", "t.csv.gz"]).current_dir(folder).output().unwrap();
    assert!(unpacked.status.success() && unpacked.stdout == csv.as_bytes(), "{unpacked:?}");
    assert_eq!(fs::read(folder.join("t.json.zst")).unwrap()[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    let told = look_at(&folder.join("t.html"));
    assert!(told.contains("each of 3 runs has its verdict"), "{told}");

    // A copy joins the files, and gives the same report.
    let copied = stdout(&report(folder, &with(&["-o", "all.jsonl.gz"]), Some("c.jsonl")));
    assert_eq!((copied.as_str(), stdout(&report(folder, &["all.jsonl.gz", "-o", "csv"], None))), ("", csv));

    // With a filter, the report needs its input twice, so it keeps the content of stdin.
    let tree = stdout(&report(folder, &with(&["--only-failed"]), Some("c.jsonl")));
    assert!(tree.contains("exit 3  exit 3") && !tree.contains("─ true"), "{tree}");
    let output = report(folder, &["c.jsonl", "--depth", "1", "-o", "summary"], None);
    assert!(String::from_utf8_lossy(&output.stderr).contains("change only the tree and the page"), "{output:?}");

    // Another trace, and a reader that goes away.
    let other = process_tracer().arg("-o").arg(folder.join("d.jsonl")).args(["--", "true"]).status().unwrap();
    let output = report(folder, &["c.jsonl", "d.jsonl"], None);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(other.success() && output.status.code() == Some(125), "{stderr}");
    assert!(stderr.contains("the files have 2 traces; choose one with --trace-id ID: "), "{stderr}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(PROCESS_TRACER);
    command.arg("report").arg(folder.join("c.jsonl")).args(["-o", "json", "-o", "csv"]).stdout(writer);
    assert_eq!(command.status().unwrap().code(), Some(0));
}

#[test]
fn compressed_files_are_as_safe_as_plain_ones() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    run_steps(folder);
    for file in ["a.jsonl.gz", "b.jsonl.zst"] {
        let whole = fs::read(folder.join(file)).unwrap();
        // A command that does not start leaves the old file as it was.
        let status = process_tracer().arg("-o").arg(folder.join(file)).args(["--", "/no/such/command"]).status();
        assert_eq!(status.unwrap().code(), Some(127));
        assert!(fs::read(folder.join(file)).unwrap() == whole, "{file}");
        // A killed run leaves a file without its end.
        fs::write(folder.join(file), &whole[..whole.len() - 3]).unwrap();
        let output = report(folder, &[file], None);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stdout.starts_with("sh -c "), "{output:?}");
        assert!(stderr.contains(&format!("'{file}' is cut off")), "{stderr}");
        let mut send = Command::new(PROCESS_TRACER);
        let sent = send.arg("send").arg(folder.join(file)).args(["--endpoint", "http://127.0.0.1:1"]).output().unwrap();
        assert!(String::from_utf8_lossy(&sent.stderr).contains("the file is compressed"), "{sent:?}");
    }
    for (output, said) in [("json", "use -o FILE.processes.json"), ("t.html.gz", "is not one of")] {
        let run = process_tracer().args(["-o", output, "--", "true"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.code() == Some(125) && stderr.contains(said), "{stderr}");
    }
    let full = folder.join("full.jsonl.gz");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let run = process_tracer().arg("-o").arg(&full).args(["--", "sh", "-c", "exit 5"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.code() == Some(5) && stderr.contains("No space left on device"), "{stderr}");
}
