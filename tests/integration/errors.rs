//! Which failed processes are errors, and where a failure began.

use std::fs;

use tempfile::TempDir;

use crate::harness::{Run, trace_with};
use crate::trace::{STATUS_ERROR, Span};

/// A script that looks for things that do not exist, as configure scripts do. It succeeds.
const CONFIGURE: &str = "#!/bin/sh
if grep -q missing Makefile; then echo found; fi
yes | head -n 1 > /dev/null
if sh -c 'exit 3'; then echo worked; fi
echo '#error no' > probe.c
cc -c -o probe.o probe.c 2> /dev/null || echo no > result
";

/// The first compile works, the second one fails.
const MAKEFILE: &str = "all: good.o bad.o
%.o: %.c
	cc -c -o $@ $<
";

/// Configures and makes a small project whose compile fails.
fn failed_build(flags: &[&str]) -> Run {
    let folder = TempDir::new().unwrap();
    let files = [
        ("configure", CONFIGURE),
        ("Makefile", MAKEFILE),
        ("good.c", "int good;\n"),
        ("bad.c", "#error bad\n"),
        ("build.sh", "cd \"$(dirname \"$0\")\" && sh ./configure && make\n"),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let script = folder.path().join("build.sh");
    let run = trace_with(flags, &["sh", script.to_str().unwrap()]);
    run.trace.assert_complete();
    assert_eq!(run.code(), Some(2), "{}", run.stderr);
    run
}

fn errors(run: &Run) -> Vec<&Span> {
    let mut errors: Vec<_> = run.trace.spans.iter().filter(|span| span.status == STATUS_ERROR).collect();
    errors.sort_by_key(|span| span.start);
    errors
}

fn names<'a>(spans: &[&'a Span]) -> Vec<&'a str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// Checks that the root names `cc1`, the compiler itself, below the failed compile step of make.
fn assert_failure_is_named(run: &Run) {
    let root = run.trace.root();
    let id = root.attribute("process_tracer.failure.span_id");
    assert_eq!(root.links, [(root.trace_id.clone(), id.to_owned())]);
    let origin = run.trace.spans.iter().find(|span| span.span_id == id).unwrap();
    assert_eq!(root.attribute("process_tracer.failure.name"), origin.name);
    assert_eq!(root.attribute("process_tracer.failure.pid"), origin.attribute("process.pid"));
    assert_eq!(root.attribute("process_tracer.failure.type"), "1");
    let arguments = root.attribute("process_tracer.failure.command_args");
    assert!(arguments.contains("bad.c") && arguments == origin.attribute("process.command_args"), "{arguments}");
    assert!(run.trace.children_of(origin).all(|child| child.attribute("process.exit.code") == "0"));
}

#[test]
fn each_failed_process_is_an_error_by_default() {
    let run = failed_build(&[]);
    let names = names(&errors(&run));
    for name in ["grep", "yes", "make"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_failure_is_named(&run);
}

#[test]
fn only_failures_that_reach_their_parent_are_errors_on_request() {
    for source in ["ebpf", "ptrace"] {
        let run = failed_build(&["--errors", "unhandled", "--source", source]);
        let errors = errors(&run);
        // The root, make, and the processes of the second compile.
        let names = names(&errors);
        assert_eq!(names[..2], ["sh build.sh", "make"], "{source}: {names:?}");
        for pair in errors.windows(2) {
            assert_eq!(pair[1].parent_id, pair[0].span_id, "{source}: {names:?}");
        }
        assert_eq!(errors.last().unwrap().span_id, run.trace.root().attribute("process_tracer.failure.span_id"));
        assert_failure_is_named(&run);
        // The others keep the facts, but have neither a status nor an error type.
        for (name, key, value) in [("grep", "process.exit.code", "1"), ("yes", "process_tracer.exit.signal", "SIGPIPE")]
        {
            let span = run.trace.named(name);
            assert_eq!((span.status, span.attribute(key), span.has("error.type")), (0, value, false), "{source}");
            assert_eq!(span.status_message, "");
        }
    }
}

#[test]
fn a_script_that_succeeds_has_no_errors_on_request() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("Makefile"), MAKEFILE).unwrap();
    let script = format!("cd {}; {CONFIGURE}", folder.path().display());
    let run = trace_with(&["--errors", "unhandled"], &["sh", "-c", &script]);
    run.trace.assert_complete();
    assert_eq!(run.code(), Some(0));
    assert!(errors(&run).is_empty(), "{:#?}", errors(&run));
    assert!(run.trace.root().links.is_empty() && !run.trace.root().has("process_tracer.failure.name"));
}
