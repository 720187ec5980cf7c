//! Programs that need ptrace(2) themselves give the same results with and without our tracer.

use std::{fs, path::Path, process::Command};

use nix::{sys::ptrace, unistd::Pid};

use crate::tracer::{AtExec, Programs, Setting, bare, give, traced};
use tracer_ptrace::{aside::Aside, exe::Exe};

/// The tracer of these tests leaves each program that needs ptrace(2), and notes it.
fn leave() -> AtExec {
    let aside = std::cell::RefCell::new(Aside::default());
    Box::new(move |pid: Pid| {
        let read = |name| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        match aside.borrow_mut().at_exec(&Exe::of(pid), &read("cmdline"), &read("environ")) {
            None => (None, false),
            Some(need) => {
                ptrace::detach(pid, None).unwrap();
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                (Some(format!("{} {need:?}", name.trim())), true)
            }
        }
    })
}

fn in_directory(directory: &Path) -> Setting<'_> {
    Setting { directory, prepare: &|| (), become_user: &|| () }
}

/// Checks that the output has the line `wanted`, with and without the tracer, and that the status is the same.
#[track_caller]
fn assert_same(directory: &Path, command: &[&str], wanted: &str, notes: &str) {
    let setting = in_directory(directory);
    let expected = bare(&setting, command);
    assert!(expected.output.contains(wanted), "without a tracer: {expected:?}");
    let (run, noted) = traced(&setting, command, &leave);
    assert!(run.output.contains(wanted), "{run:?}");
    assert_eq!((run.status, &*noted), (expected.status, notes), "{run:?}");
}

const LEAK: &str = "SUMMARY: ";

#[test]
fn leak_sanitizer_finds_the_same_leak() {
    let programs = Programs::new();
    let variants: [(&str, &[&str]); 3] = [
        ("address", &["-fsanitize=address"]),
        ("leak", &["-fsanitize=leak"]),
        ("static-address", &["-fsanitize=address", "-static-libasan"]),
    ];
    for (name, flags) in variants {
        programs.compile("leak.c", name, flags);
        let command = format!("make -f /dev/null -s --eval 'all: ; ./{name}' all; echo $?");
        assert_same(programs.path(), &["sh", "-c", &command], LEAK, &format!("{name} LeakSanitizer\n"));
    }
}

#[test]
fn preloaded_leak_sanitizer_is_recognised() {
    let programs = Programs::new();
    programs.compile("leak.c", "plain", &[]);
    let library = Command::new("gcc").arg("-print-file-name=liblsan.so").output().unwrap().stdout;
    let library = fs::canonicalize(String::from_utf8(library).unwrap().trim()).unwrap();
    let variable = format!("LD_PRELOAD={}", library.display());
    let command = ["env", &variable, "./plain"];
    assert_same(programs.path(), &command, LEAK, "plain LeakSanitizer\n");
}

#[test]
fn sanitizers_that_do_not_search_leaks_stay_traced() {
    let programs = Programs::new();
    for name in ["thread", "undefined"] {
        programs.compile("leak.c", name, &[&format!("-fsanitize={name}")]);
        assert_same(programs.path(), &[&format!("./{name}")], "", "");
    }
    programs.compile("leak.c", "address", &["-fsanitize=address"]);
    assert_same(programs.path(), &["env", "ASAN_OPTIONS=detect_leaks=0", "./address"], "", "");
}

#[test]
fn debuggers_and_tracers_work() {
    let programs = Programs::new();
    programs.compile("leak.c", "plain", &["-g"]);
    let directory = programs.path();
    let gdb = [
        "gdb",
        "-q",
        "-nx",
        "-batch",
        "-ex",
        "set debuginfod enabled off",
        "-ex",
        "break main",
        "-ex",
        "run",
        "./plain",
    ];
    assert_same(directory, &gdb, "Breakpoint 1, main", "gdb Ptrace\n");
    assert_same(
        directory,
        &["sh", "-c", "strace -f sh -c '/bin/true; exit 5'; echo $?"],
        "exited with 5",
        "strace Ptrace\n",
    );
}

#[test]
fn known_names_are_recognised_by_the_file_not_by_the_link() {
    let programs = Programs::new();
    let plain = programs.compile("leak.c", "dlv", &["-static"]);
    std::os::unix::fs::symlink(&plain, programs.path().join("link")).unwrap();
    assert_same(programs.path(), &["./dlv"], "", "dlv Ptrace\n");
    assert_same(programs.path(), &["./link"], "", "link Ptrace\n");
    fs::copy(&plain, programs.path().join("plain")).unwrap();
    std::os::unix::fs::symlink("plain", programs.path().join("rr")).unwrap();
    assert_same(programs.path(), &["./rr"], "", "");
}

#[test]
fn ordinary_programs_stay_traced() {
    let programs = Programs::new();
    let script = "make --version; gcc --version; ls; git --version; python3 -c 1; perl -e 1; bash -c :; tar --version";
    assert_same(programs.path(), &["sh", "-c", script], "", "");
    let setting = in_directory(programs.path());
    let (_, notes) = traced(&setting, &["sh", "-c", "sudo -V; perf --version"], &leave);
    assert_eq!(notes, "");
}

#[test]
fn file_is_read_again_after_a_change() {
    let programs = Programs::new();
    let plain = programs.compile("leak.c", "plain", &[]);
    programs.compile("leak.c", "leaky", &["-fsanitize=leak"]);
    give(&plain, 0, 0, 0o755);
    // cp writes into the same inode.
    let command = "./plain; cp leaky plain; ./plain; ./plain";
    let (_, notes) = traced(&in_directory(programs.path()), &["sh", "-c", command], &leave);
    assert_eq!(notes, "plain LeakSanitizer\nplain LeakSanitizer\n");
}
