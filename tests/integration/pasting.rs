//! Command lines of reports in shells: they start the same program, in the same folder, with the same bytes.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tempfile::TempDir;

use crate::{harness::process_tracer, trace::Trace};

/// Appends its folder and its arguments to the file RECORD, and fails.
const PROGRAM: &str = "#!/bin/sh\nprintf '%s\\0' \"$PWD\" \"$0\" \"$@\" >> \"$RECORD\"\nexit 3\n";

/// Bytes that are not UTF-8, also at the end, before a newline, and beside special characters of shells.
const ARGUMENTS: [&[u8]; 9] = [
    b"a\xffb",
    b"\xc3",
    b"-\xe2\x82\n\n",
    b"100 %\xf0'\"\\!$HOME`id`\t",
    "ü \u{fffd} 語".as_bytes(),
    b"\xed\xa0\x80\xc0\xaf",
    b"\x01\x7f\x80=\r",
    b"",
    b"x=\xfe",
];

/// A folder and a program whose names are not UTF-8.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(scene.place()).unwrap();
        let program = scene.place().join(OsStr::from_bytes(b"fail\xe9"));
        crate::harness::write_program(program, PROGRAM);
        scene
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join(OsStr::from_bytes(b"caf\xe9 '\xff"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Traces the program.
    fn trace(&self, arguments: &[&[u8]], flags: &[&str], locale: &str) -> Output {
        let mut command = process_tracer();
        command.current_dir(self.place()).env("LC_ALL", locale).env("RECORD", self.path("record"));
        command.env("GITHUB_STEP_SUMMARY", self.path("summary.md")).args(flags);
        command.arg("-o").arg(self.path("t.jsonl")).arg("-o").arg(self.path("t.parquet"));
        // The program is not the root. So the report shows its command line as the cause of the failure.
        command.args(["--", "sh", "-c", "\"$@\"; exit $?", "sh"]);
        command.arg(OsStr::from_bytes(b"./fail\xe9")).args(arguments.iter().map(|bytes| OsStr::from_bytes(bytes)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        output
    }

    /// What the program appends if the shell runs this line.
    fn recorded(&self, shell: &str, locale: &str, line: &str) -> Vec<u8> {
        fs::remove_file(self.path("record")).unwrap_or_default();
        let mut command = Command::new(shell);
        command.env("LC_ALL", locale).env("RECORD", self.path("record")).current_dir("/").arg("-c").arg(line);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{shell}: {line}: {output:?}");
        fs::read(self.path("record")).unwrap()
    }
}

fn report(file: &Path, locale: &str, format: &str) -> String {
    let output = process_tracer().env("LC_ALL", locale).arg("report").arg(file).args(["-o", format]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The command line in a report. It has a change of folder.
fn command_line(report: &str) -> &str {
    let mut lines = report.lines().map(|line| line.trim().trim_matches('`'));
    let line = lines.find(|line| line.starts_with('(') && line.contains("cd "));
    line.unwrap_or_else(|| panic!("no command line in {report}"))
}

#[test]
fn shells_run_the_command_line_of_each_report_with_the_same_bytes() {
    for source in ["ebpf", "ptrace"] {
        for (locale, format) in [("C", "summary"), ("C.UTF-8", "tree")] {
            let scene = Scene::new();
            fs::write(scene.path("summary.md"), "").unwrap();
            let output = scene.trace(&ARGUMENTS, &["--source", source, "-o", format], locale);
            let expected = fs::read(scene.path("record")).unwrap();
            assert!(expected.ends_with(b"\0x=\xfe\0"), "{}", expected.escape_ascii());
            let shown = String::from_utf8(output.stderr).unwrap();
            let markdown = fs::read_to_string(scene.path("summary.md")).unwrap();
            let saved = ["t.jsonl", "t.parquet"].map(|file| report(&scene.path(file), locale, format));
            for text in [&shown, &markdown, &saved[0], &saved[1]] {
                let line = command_line(text);
                assert!(locale != "C" || text == &markdown || line.is_ascii(), "{line}");
                assert!(!text.contains("not exact"), "{text}");
                for shell in ["sh", "bash", "dash"] {
                    let recorded = scene.recorded(shell, locale, line);
                    let [recorded, expected] = [&recorded, &expected].map(|bytes| bytes.escape_ascii().to_string());
                    assert_eq!(recorded, expected, "{source}, {shell}: {line}");
                }
            }
        }
    }
}

#[test]
fn bytes_beside_a_secret_stay_and_those_of_the_secret_do_not() {
    for source in ["ebpf", "ptrace"] {
        let scene = Scene::new();
        let arguments = [&b"a\xffb"[..], b"--password=\xfehunter2", b"--token", b"hunter2\xff"];
        let output = scene.trace(&arguments, &["--source", source, "-o", "summary"], "C.UTF-8");
        let shown = String::from_utf8(output.stderr).unwrap();
        let line = command_line(&shown);
        assert!(line.ends_with(r#" "$(printf 'a\377b')" '--password=***' --token '***')"#), "{line}");
        let saved = report(&scene.path("t.jsonl"), "C.UTF-8", "summary");
        assert_eq!(command_line(&saved), line);
        // The secret is in no attribute, neither as text nor in base64.
        let trace = Trace::read(&scene.path("t.jsonl"));
        let span = trace.spans.iter().find(|span| span.name.starts_with("fail")).unwrap();
        let attributes = [&span.attributes].into_iter().chain(span.events.iter().map(|event| &event.attributes));
        for attributes in attributes {
            let bytes = BASE64_STANDARD.decode(&attributes["process_tracer.args.raw"]).unwrap();
            assert!(bytes.ends_with(b"\0a\xffb\0--password=***\0--token\0***\0"), "{}", bytes.escape_ascii());
        }
        assert!(!fs::read_to_string(scene.path("t.jsonl")).unwrap().contains("hunter2"));
    }
}

#[test]
fn arguments_that_are_not_exported_have_no_bytes_either() {
    let scene = Scene::new();
    let have_bytes = |flags: &[&str]| {
        scene.trace(&ARGUMENTS, flags, "C.UTF-8");
        let trace = Trace::read(&scene.path("t.jsonl"));
        let keys = ["process_tracer.args.raw", "process_tracer.working_directory.raw"];
        keys.map(|key| trace.spans.iter().any(|span| span.has(key)))
    };
    assert_eq!(have_bytes(&["--args", "all"]), [true, true]);
    assert_eq!(have_bytes(&["--args", "none"]), [false, true]);
    // The user replaces the text, perhaps because it has a secret.
    assert_eq!(have_bytes(&["-a", "process.command_args=[args[0]]"]), [false, true]);
    assert_eq!(have_bytes(&["-a", "process.working_directory=\"/\""]), [true, false]);
}

#[test]
fn a_cut_command_line_says_that_it_is_not_exact() {
    let scene = Scene::new();
    let long = vec![b'\xff'; 100_000];
    let output = scene.trace(&[&long, &long], &["-o", "summary"], "C.UTF-8");
    let note = "not exact: the end of the arguments is missing";
    assert!(String::from_utf8(output.stderr).unwrap().contains(note));
    assert!(report(&scene.path("t.jsonl"), "C.UTF-8", "summary").contains(note));
}
