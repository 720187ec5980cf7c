//! Where a failure began, and which spans are errors. Each test is a short history.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod story;

use story::{ROOT_SPAN, Story, Trace, connect, string};
use tracer_model::{
    Value,
    event::{Change, Connection, Image},
    semconv,
};

impl Trace {
    /// The span that the root links to.
    fn linked_by_root(&self) -> Option<&str> {
        let root = self.spans.last().unwrap();
        let link = root.links.first()?;
        assert_eq!((root.links.len(), link.trace_id), (1, root.trace_id));
        let linked = self.spans.iter().find(|span| span.span_id == link.span_id).expect("a span of the trace");
        Some(linked.process().unwrap().name.as_str())
    }

    /// The names of the spans with the status ERROR, in the order of their starts.
    fn errors(&self) -> Vec<String> {
        let mut failed: Vec<_> = self.spans.iter().filter(|span| semconv::error(span).is_some()).collect();
        failed.sort_by_key(|span| span.start);
        failed.iter().map(|span| span.name().into_owned()).collect()
    }

    fn failure(&self, key: &str) -> Option<Value> {
        let root = self.spans.last().unwrap().name().into_owned();
        self.attribute(&root, &format!("process_tracer.failure.{key}"))
    }
}

#[test]
fn the_root_names_the_process_where_the_failure_began() {
    let trace = Story::new()
        .exec_with(2, "/usr/bin/make", &["make"])
        .fork(2, 3)
        .exec_with(3, "/bin/true", &["true"])
        .exit(3, 0)
        .fork(2, 4)
        .exec_with(4, "/usr/bin/gcc", &["gcc", "-c", "a.c"])
        .fork(4, 5)
        .exec_with(5, "/usr/lib/cc1", &["cc1", "a.c"])
        .exit(5, 1)
        .exit(4, 1)
        .exit(2, 2)
        .finish();
    assert_eq!(trace.linked_by_root(), Some("cc1"));
    let cc1 = trace.span("cc1").span_id.to_string();
    assert_eq!(trace.failure("span_id"), string(&cc1));
    assert_eq!(trace.failure("name"), string("cc1"));
    assert_eq!(trace.failure("pid"), Some(Value::Int(5)));
    assert_eq!(trace.failure("type"), string("1"));
    let arguments = Value::Strings(vec!["cc1".to_owned(), "a.c".to_owned()]);
    assert_eq!(trace.failure("command_args"), Some(arguments));
}

#[test]
fn a_command_of_a_trap_is_not_where_the_failure_began() {
    let trace = Story::new()
        .exec_with(2, "/bin/dash", &["sh", "-c", "trap 'grep x log' EXIT; gcc"])
        .fork(2, 3)
        .exec_with(3, "/usr/bin/gcc", &["gcc"])
        .exit(3, 1)
        .fork(2, 4)
        .exec_with(4, "/bin/grep", &["grep", "x", "log"])
        .exit(4, 1)
        .exit(2, 1)
        .finish();
    assert_eq!(trace.linked_by_root(), Some("gcc"));
}

#[test]
fn a_root_that_failed_by_itself_names_itself() {
    let trace = Story::new().fork(2, 3).exec(3, "/bin/true").exit(3, 0).killed(2, 11).finish();
    assert_eq!(trace.linked_by_root(), None);
    assert_eq!(trace.failure("span_id"), string(&ROOT_SPAN.to_string()));
    assert_eq!(trace.failure("name"), string("sh"));
    assert_eq!(trace.failure("type"), string("SIGSEGV"));
}

#[test]
fn a_root_that_succeeded_names_no_failure() {
    let trace = Story::new().fork(2, 3).exec(3, "/bin/grep").exit(3, 1).exit(2, 0).finish();
    assert_eq!((trace.linked_by_root(), trace.failure("name")), (None, None));
    let trace = Story::new().fork(2, 3).exec(3, "/bin/grep").exit(3, 1).finish();
    assert_eq!((trace.linked_by_root(), trace.failure("name")), (None, None), "the root is still alive");
}

#[test]
fn a_failure_after_the_end_of_the_root_is_not_its_cause() {
    let trace = Story::new().fork(2, 3).exec(3, "/bin/daemon").exit(2, 1).exit(3, 1).finish();
    assert_eq!((trace.linked_by_root(), trace.failure("name")), (None, string("sh")));
}

#[test]
fn the_failure_shows_no_arguments_that_the_user_has_replaced() {
    let trace = Story::with_attributes(&["process.command_args=args[0] == \"sh\" ? nil : \"***\""])
        .fork(2, 3)
        .exec_with(3, "/bin/curl", &["curl", "secret"])
        .exit(3, 22)
        .exit(2, 22)
        .finish();
    assert_eq!(trace.failure("name"), string("curl"));
    assert_eq!(trace.failure("command_args"), None);
}

#[test]
fn the_arguments_of_a_failure_are_limited() {
    let long = Image { arguments: ["cc", &"x".repeat(10_000)].into_iter().collect(), ..Image::default() };
    let trace = Story::new().fork(2, 3).exec_image(3, long).exit(3, 1).exit(2, 1).finish();
    let Some(Value::Strings(arguments)) = trace.failure("command_args") else { panic!("no arguments") };
    assert_eq!(arguments.iter().map(String::len).collect::<Vec<_>>(), [2, 4096 - 3]);
}

#[test]
fn a_failure_is_forgotten_when_its_parent_succeeds() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/configure")
        .fork(3, 4)
        .exec(4, "/bin/grep")
        .exit(4, 1)
        .exit(3, 0)
        .fork(2, 5)
        .exec(5, "/bin/make")
        .exit(5, 2)
        .exit(2, 2)
        .finish();
    assert_eq!(trace.linked_by_root(), Some("make"));
}

/// A process starts, executes this file, and exits.
trait Runs {
    fn runs(self, parent: u32, pid: u32, file: &str, code: u8) -> Self;
}

impl Runs for Story {
    fn runs(self, parent: u32, pid: u32, file: &str, code: u8) -> Self {
        self.fork(parent, pid).exec(pid, file).exit(pid, code)
    }
}

#[test]
fn each_failure_is_an_error_by_default() {
    let trace = Story::new().runs(2, 3, "/bin/grep", 1).exit(2, 0).finish();
    assert_eq!(trace.errors(), ["grep"]);
}

#[test]
fn a_failure_is_handled_if_its_parent_succeeds() {
    let trace = Story::of_unhandled_errors()
        .runs(2, 3, "/bin/grep", 1)
        .fork(2, 4)
        .exec(4, "/bin/yes")
        .killed(4, 13)
        .exit(2, 0)
        .finish();
    assert!(trace.errors().is_empty(), "{:?}", trace.errors());
    let grep = trace.describe("grep");
    assert!(grep.attributes.iter().all(|(key, _)| key != "error.type"), "{grep:?}");
    assert_eq!(trace.attribute("grep", "process.exit.code"), Some(Value::Int(1)));
}

#[test]
fn a_failure_that_reaches_the_root_is_an_error_at_each_step() {
    let trace = Story::of_unhandled_errors()
        .runs(2, 3, "/bin/grep", 1)
        .fork(2, 4)
        .exec(4, "/usr/bin/make")
        .fork(4, 5)
        .exec(5, "/usr/bin/gcc")
        .runs(5, 6, "/usr/lib/cc1", 1)
        .exit(5, 1)
        .exit(4, 2)
        .exit(2, 2)
        .finish();
    assert_eq!(trace.errors(), ["sh", "make", "gcc", "cc1"]);
    assert_eq!(trace.linked_by_root(), Some("cc1"));
}

#[test]
fn a_failure_that_its_parent_handled_is_no_error_although_the_root_failed() {
    let trace = Story::of_unhandled_errors()
        .fork(2, 3)
        .exec(3, "/src/configure")
        .runs(3, 4, "/bin/grep", 1)
        .fork(3, 5)
        .exec(5, "/bin/cc")
        .runs(5, 6, "/lib/cc1", 1)
        .exit(5, 1)
        .exit(3, 0)
        .runs(2, 7, "/bin/false", 1)
        .exit(2, 1)
        .finish();
    assert_eq!(trace.errors(), ["sh", "false"], "the failure of cc1 reached only cc");
}

#[test]
fn a_shell_fails_because_of_the_last_child_with_the_same_exit_code() {
    let script = || Story::of_unhandled_errors().runs(2, 3, "/bin/grep", 1).runs(2, 4, "/bin/cc", 1);
    assert_eq!(script().runs(2, 5, "/bin/rm", 2).exit(2, 1).finish().errors(), ["sh", "cc"]);
    // A script with an exit code of its own, for example `exit 77`.
    assert_eq!(script().exit(2, 77).finish().errors(), ["sh", "cc"]);
}

#[test]
fn each_failed_child_of_make_is_an_error_if_make_fails() {
    // make -k goes on after a failure. A make below it exits with 2, as make itself does.
    let trace = Story::of_unhandled_errors()
        .exec(2, "/usr/bin/make")
        .runs(2, 3, "/bin/cc", 1)
        .runs(2, 4, "/bin/true", 0)
        .runs(2, 5, "/usr/bin/gmake", 2)
        .exit(2, 2)
        .finish();
    assert_eq!(trace.errors(), ["sh", "cc", "gmake"]);
}

#[test]
fn a_failure_does_not_reach_a_parent_that_was_killed() {
    let killed = |signal| Story::of_unhandled_errors().runs(2, 3, "/bin/grep", 1).killed(2, signal).finish();
    assert_eq!(killed(15).errors(), ["sh"]);
    assert_eq!(killed(6).errors(), ["sh", "grep"], "the parent may abort because of the child");
}

#[test]
fn a_failure_after_the_end_of_its_parent_is_no_error() {
    let trace = Story::of_unhandled_errors()
        .fork(2, 3)
        .exec(3, "/bin/daemonize")
        .fork(3, 4)
        .exec(4, "/bin/daemon")
        .exit(3, 1)
        .exit(4, 1)
        .exit(2, 1)
        .finish();
    assert_eq!(trace.errors(), ["sh", "daemonize"]);
}

#[test]
fn a_failure_is_an_error_if_the_end_of_its_parent_is_not_known() {
    let alive = Story::of_unhandled_errors().runs(2, 3, "/bin/grep", 1).finish();
    assert_eq!(alive.errors(), ["grep"]);
    let withheld = Story::of_unhandled_errors()
        .fork(2, 3)
        .exec(3, "/bin/sudo")
        .runs(3, 4, "/bin/grep", 1)
        .exit_withheld(3)
        .exit(2, 0)
        .finish();
    assert_eq!(withheld.errors(), ["grep"]);
    // The pid is in use again. So the exit of the parent was lost.
    let lost = Story::of_unhandled_errors()
        .fork(2, 3)
        .exec(3, "/bin/make")
        .runs(3, 4, "/bin/cc", 1)
        .runs(2, 3, "/bin/other", 0)
        .exit(2, 0)
        .finish();
    assert_eq!(lost.errors(), ["cc"]);
    let orphan = Story::of_unhandled_errors().lost_fork(99, 4).exec(4, "/bin/cc").exit(4, 1).exit(2, 0).finish();
    assert_eq!(orphan.errors(), ["cc"], "its parent is not known");
}

#[test]
fn a_failed_span_waits_at_most_30_seconds() {
    let story = Story::of_unhandled_errors().runs(2, 3, "/bin/grep", 1);
    let (story, early) = story.wait(29);
    assert!(early.is_empty(), "{early:?}");
    let (story, late) = story.runs(2, 4, "/bin/sed", 1).wait(1);
    assert_eq!(late, ["grep"]);
    assert_eq!(story.exit(2, 0).finish().errors(), ["grep"]);
}

#[test]
fn at_most_10_000_failed_spans_wait() {
    let mut story = Story::of_unhandled_errors();
    for pid in 3..10_004 {
        story = story.runs(2, pid, "/bin/grep", 1);
    }
    let (story, early) = story.wait(0);
    assert_eq!(early.len(), 1);
    let trace = story.exit(2, 0).finish();
    assert_eq!((trace.spans.len(), trace.errors().len()), (10_002, 1));
}

#[test]
fn a_failed_connection_is_an_error_if_its_process_fails() {
    let refused = Connection { error: Some(111), ..connect("10.0.0.9:80") };
    let tried = |code| {
        Story::of_unhandled_errors()
            .fork(2, 3)
            .exec(3, "/bin/curl")
            .connection(3, 7, Change::Opened, refused)
            .connection(3, 7, Change::Closed, refused)
            .exit(3, code)
            .exit(2, code)
            .finish()
    };
    assert!(tried(0).errors().is_empty());
    assert_eq!(tried(7).errors(), ["connect 10.0.0.9:80", "sh", "curl"]);
}
