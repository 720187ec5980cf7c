//! Where a failure began, and which spans are errors. Each test is a short history.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod story;

use story::{ROOT_SPAN, Story, Trace, string};
use tracer_model::{Value, event::Image};

impl Trace {
    /// The span that the root links to.
    fn linked_by_root(&self) -> Option<&str> {
        let root = self.spans.last().unwrap();
        let link = root.links.first()?;
        assert_eq!((root.links.len(), link.trace_id), (1, root.trace_id));
        let linked = self.spans.iter().find(|span| span.span_id == link.span_id).expect("a span of the trace");
        Some(linked.process().unwrap().name.as_str())
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
