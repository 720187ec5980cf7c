//! Processes: their tree, names, ends and execs.

use std::time::SystemTime;

use tracer_model::{
    Anchor, Event, Identity, Ktime, Losses, Settings, SpanId, TraceId, Tracer, Value,
    context::SpanContext,
    event::{Change, Image},
    semconv::describe,
};

use crate::story::{CALLER_SPAN, ROOT_SPAN, Story, connect, ns, string};

#[test]
fn a_command_and_its_children_are_a_tree() {
    Story::new()
        .fork(2, 3)
        .exec(3, "/bin/cc")
        .fork(3, 4)
        .exec(4, "/lib/cc1")
        .exit(4, 0)
        .exit(3, 0)
        .fork(2, 5)
        .exec(5, "/bin/ld")
        .exit(5, 1)
        .exit(2, 2)
        .expect_tree("sh exit=2\n├─ cc exit=0\n│  └─ cc1 exit=0\n└─ ld exit=1");
}

#[test]
fn the_root_span_comes_last_and_its_parent_is_the_caller() {
    let trace = Story::new().exit(2, 0).fork(2, 3).exec(3, "/bin/late").exit(3, 0).finish();
    let root = trace.spans.last().unwrap();
    assert_eq!((root.span_id, root.parent_id), (ROOT_SPAN, Some(CALLER_SPAN)));
    let certificate = trace.root().certificate.as_ref().unwrap();
    assert!(certificate.is_complete);
    assert_eq!((certificate.processes, certificate.connections), (2, 0));
    assert_eq!(trace.attribute("sh", "process_tracer.version"), string("1.2.3"));
    assert!(trace.process("late").certificate.is_none());
}

#[test]
fn a_span_lasts_from_fork_to_exit() {
    let story = Story::new().fork(2, 3);
    let forked = story.identity(3).start;
    let trace = story.exec(3, "/bin/true").exit(3, 0).exit(2, 0).finish();
    let span = trace.span("true");
    assert_eq!((ns(span.start), ns(span.end)), (forked.0, forked.0 + 20));
}

#[test]
fn a_fork_without_exec_has_the_name_of_its_parent() {
    let trace = Story::new().fork(2, 3).fork(3, 4).exit(4, 0).exit(3, 7).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ sh exit=7\n   └─ sh exit=0");
    let fork = trace.spans.iter().find(|span| span.parent_id == Some(ROOT_SPAN)).unwrap();
    let description = describe(fork);
    assert!(description.attributes.contains(&("process_tracer.fork".into(), Value::Bool(true))));
    assert!(description.events.is_empty());
    assert_eq!(trace.attribute_of_root("process_tracer.fork"), None);
}

#[test]
fn a_child_forked_before_its_parents_exec_keeps_the_old_name() {
    Story::new()
        .fork(2, 3)
        .fork(3, 4)
        .exec(3, "/bin/cat")
        .exit(3, 0)
        .exit(4, 0)
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ cat exit=0\n   └─ sh exit=0");
}

#[test]
fn a_chain_of_execs_is_one_span_named_by_the_last() {
    let trace = Story::new()
        .fork(2, 3)
        .exec_with(3, "/bin/sh", &["sh", "-c", "x"])
        .exec_with(3, "/usr/bin/env", &["env", "python3"])
        .exec_with(3, "/usr/bin/python3", &["python3"])
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ python3 exit=0");
    let description = trace.describe("python3");
    let paths: Vec<_> = description.events.iter().map(|event| (event.name, event.attributes[0].1.clone())).collect();
    let exec = |path: &str| ("exec", Value::String(path.to_owned()));
    assert_eq!(paths, [exec("/mapped/bin/sh"), exec("/mapped/usr/bin/env"), exec("/mapped/usr/bin/python3")]);
    assert!(description.events.is_sorted_by_key(|event| event.at));
    assert_eq!(trace.attribute("python3", "process.executable.name"), string("python3"));
    assert_eq!(trace.attribute("python3", "process.command"), string("python3"));
    assert_eq!(trace.attribute("python3", "process.args_count"), Some(Value::Int(1)));
    assert_eq!(trace.attribute("python3", "process.working_directory"), string("/work"));
}

#[test]
fn execs_beyond_the_limit_of_a_span_are_counted() {
    let mut story = Story::new();
    for i in 0..200 {
        story = story.exec(2, &format!("/bin/link{i}"));
    }
    let trace = story.exit(2, 0).finish();
    let description = trace.describe("sh");
    assert_eq!((description.events.len(), description.dropped_events), (128, 73));
}

#[test]
fn exit_codes_and_signals_are_those_of_a_shell() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/three")
        .exit(3, 3)
        .fork(2, 4)
        .exec(4, "/bin/crash")
        .killed(4, 11)
        .fork(2, 5)
        .exec(5, "/bin/killed")
        .killed(5, 9)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.attribute("three", "process.exit.code"), Some(Value::Int(3)));
    assert_eq!(trace.attribute("three", "error.type"), string("3"));
    assert_eq!(trace.describe("three").error.unwrap().message, "exit code 3");
    assert_eq!(trace.attribute("crash", "process.exit.code"), Some(Value::Int(139)));
    assert_eq!(trace.attribute("crash", "process_tracer.exit.signal"), string("SIGSEGV"));
    assert_eq!(trace.attribute("crash", "process_tracer.exit.core_dumped"), Some(Value::Bool(true)));
    assert_eq!(trace.attribute("crash", "error.type"), string("SIGSEGV"));
    assert_eq!(trace.attribute("killed", "process_tracer.exit.core_dumped"), Some(Value::Bool(false)));
    assert_eq!(trace.describe("sh").error, None);
    assert_eq!(trace.attribute("sh", "error.type"), None);
}

#[test]
fn reused_pid_starts_a_new_span() {
    Story::new()
        .fork(2, 3)
        .exec(3, "/bin/first")
        .exit(3, 1)
        .fork(2, 3)
        .exec(3, "/bin/second")
        .exit(3, 2)
        .exit(2, 0)
        .expect_tree("sh exit=0\n├─ first exit=1\n└─ second exit=2");
}

#[test]
fn reused_pid_ends_the_former_process_whose_exit_was_lost() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/first")
        .fork(2, 3)
        .exec(3, "/bin/second")
        .exit(3, 0)
        .exit(2, 0)
        .losses(Losses { exits: 1, ..Losses::default() })
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n├─ first repaired\n└─ second exit=0");
    assert_eq!(trace.span("first").end, trace.span("second").start);
}

#[test]
fn an_orphan_keeps_its_dead_parent() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/parent")
        .fork(3, 4)
        .exit(3, 0)
        .reparented(4, crate::story::OUTSIDE)
        .exec(4, "/bin/orphan")
        .exit(4, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ parent exit=0\n   └─ orphan exit=0");
    assert_eq!(trace.attribute("orphan", "process.parent_pid"), Some(Value::Int(3)));
}

#[test]
fn a_process_with_an_unknown_parent_is_a_child_of_the_root() {
    Story::new()
        .lost_fork(9, 3)
        .exec(3, "/bin/stray")
        .exit(3, 0)
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ stray exit=0 repaired");
}

#[test]
fn subjects_alive_at_the_end_are_unfinished() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/daemon")
        .connection(3, 1, Change::Opened, connect("10.0.0.9:80"))
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ daemon unfinished\n   └─ connect 10.0.0.9:80 unfinished");
    assert_eq!(ns(trace.span("daemon").end), trace.end);
    assert_eq!(trace.attribute("daemon", "process_tracer.unfinished"), Some(Value::Bool(true)));
    assert_eq!(trace.describe("daemon").error, None);
    assert_eq!(ns(trace.span("connect 10.0.0.9:80").end), trace.end);
    assert_eq!(trace.describe("connect 10.0.0.9:80").error, None);
    assert_eq!(trace.attribute("connect 10.0.0.9:80", "process_tracer.unfinished"), Some(Value::Bool(true)));
    // Only the end of a connection has its counters.
    for counter in ["bytes_sent", "bytes_received", "retransmits"] {
        let key = format!("process_tracer.tcp.{counter}");
        assert_eq!(trace.attribute("connect 10.0.0.9:80", &key), None, "{key}");
    }
    assert_eq!(trace.attribute("sh", "process_tracer.complete"), Some(Value::Bool(true)));
}

#[test]
fn late_and_repeated_events_change_nothing() {
    let story = Story::new().fork(2, 3).exec(3, "/bin/once").exit(3, 1);
    let (process, parent) = (story.identity(3), story.identity(2));
    story
        .handle(Event::Fork { process, parent, is_root: false })
        .exec(3, "/bin/again")
        .exit(3, 2)
        .exit(2, 0)
        .exit(2, 9)
        .expect_tree("sh exit=0\n└─ once exit=1");
}

#[test]
fn an_exec_of_the_dead_root_is_ignored() {
    let trace = Story::new().exit(2, 1).exec(2, "/bin/again").finish();
    assert_eq!(trace.tree(), "sh exit=1");
    assert_eq!(trace.root().executions.len(), 1);
}

#[test]
fn an_exec_reported_twice_is_one_event() {
    let process = Identity { tgid: 2, start: Ktime(10) };
    let exec = |at| Event::Exec {
        at: Ktime(at),
        process,
        parent: process,
        image: Image { file: "/bin/x".into(), ..Image::default() }.into(),
        environment: None,
        context: None,
    };
    let trace = Story::new().handle(exec(50)).handle(exec(50)).handle(exec(40)).exit(2, 0).finish();
    assert_eq!(trace.root().executions.len(), 2);
}

#[test]
fn an_exec_before_its_fork_is_not_a_repair() {
    let story = Story::new().lost_fork(2, 3).exec(3, "/bin/early");
    let (process, parent) = (story.identity(3), story.identity(2));
    story
        .handle(Event::Fork { process, parent, is_root: false })
        .exit(3, 0)
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ early exit=0");
}

#[test]
fn the_root_may_be_reported_last() {
    let story = Story::without_root(&[]).lost_fork(1, 2).exec(2, "/bin/sh").fork(2, 3).exec(3, "/bin/true").exit(3, 0);
    let process = story.identity(2);
    let parent = Identity { tgid: 1, start: Ktime(0) };
    let trace = story.handle(Event::Fork { process, parent, is_root: true }).exit(2, 0).finish();
    assert_eq!(trace.spans.iter().filter(|span| span.span_id == ROOT_SPAN).count(), 1);
    assert_eq!(trace.root().name, "sh");
}

#[test]
fn a_creation_time_is_never_before_the_epoch() {
    let anchor = Anchor { ktime: Ktime(1_000), wall: SystemTime::UNIX_EPOCH };
    let mut tracer = Tracer::new(Settings { anchor, ..crate::story::settings(&[]) });
    let process = Identity { tgid: 2, start: Ktime(10) };
    tracer.handle(Event::Fork { process, parent: process, is_root: true });
    tracer.finish(Ktime(2_000), Losses::default());
    let span = tracer.poll_span().unwrap();
    let created = describe(&span).attributes.into_iter().find(|(key, _)| key == "process.creation.time").unwrap().1;
    assert_eq!(created, Value::String("1970-01-01T00:00:00.000000Z".to_owned()));
    assert_eq!(ns(span.end), 1_000);
}

#[test]
fn the_span_in_the_environment_of_a_process_is_its_parent() {
    let context = |trace: u8, span: u8| {
        let context = SpanContext { trace_id: TraceId([trace; 16]), span_id: SpanId([span; 8]) };
        (context, format!("TRACEPARENT={context}"))
    };
    let root = format!("TRACEPARENT={}", SpanContext { trace_id: TraceId([0x11; 16]), span_id: ROOT_SPAN });
    let (step, named) = context(0x11, 0x77);
    let (elsewhere, foreign) = context(0x22, 0x88);
    let trace = Story::new()
        .environment(&[&root])
        .exec(2, "/bin/sh")
        .fork(2, 3)
        .exec(3, "/bin/as-before")
        .fork(2, 4)
        .environment(&["A=1", &named])
        .exec(4, "/bin/instrumented")
        .fork(4, 5)
        .exec(5, "/bin/below")
        .fork(5, 6)
        .environment(&[])
        .exec(6, "/bin/without")
        .fork(2, 7)
        .environment(&[&foreign])
        .exec(7, "/bin/foreign")
        .finish();
    let (sh, adopted) = (trace.span("sh").span_id, trace.span("instrumented"));
    assert_eq!(trace.span("sh").parent_id, Some(CALLER_SPAN));
    assert_eq!((trace.span("as-before").parent_id, trace.span("as-before").links.as_slice()), (Some(sh), &[][..]));
    assert_eq!((adopted.parent_id, trace.process("instrumented").forked_by), (Some(step.span_id), Some(sh)));
    assert_eq!(adopted.links, [SpanContext { span_id: sh, ..step }]);
    assert_eq!(
        trace.span("below").parent_id,
        Some(adopted.span_id),
        "a child that inherits TRACEPARENT stays below its parent"
    );
    assert_eq!(trace.span("without").parent_id, Some(trace.span("below").span_id));
    assert_eq!((trace.span("foreign").parent_id, trace.span("foreign").links.as_slice()), (Some(sh), &[elsewhere][..]));
}

#[test]
fn a_span_that_an_inner_run_sets_in_the_environment_is_not_a_parent() {
    let root_of_inner = SpanContext { trace_id: TraceId([0x11; 16]), span_id: SpanId([0x77; 8]) };
    let elsewhere = SpanContext { trace_id: TraceId([0x22; 16]), ..root_of_inner };
    let step = SpanContext { span_id: SpanId([0x88; 8]), ..root_of_inner };
    let trace = Story::new()
        .environment(&[])
        .fork(2, 3)
        .exec(3, "/opt/bin/process-tracer")
        .fork(3, 4)
        .environment(&[&format!("TRACEPARENT={root_of_inner}")])
        .exec(4, "/bin/inner")
        .fork(4, 5)
        .exec(5, "/bin/below")
        .fork(4, 6)
        .environment(&[&format!("TRACEPARENT={step}")])
        .exec(6, "/bin/instrumented")
        .fork(3, 7)
        .environment(&[&format!("TRACEPARENT={elsewhere}")])
        .exec(7, "/bin/foreign")
        .finish();
    let (tracer, inner) = (trace.span("process-tracer").span_id, trace.span("inner"));
    assert_eq!((inner.parent_id, inner.links.as_slice()), (Some(tracer), &[][..]));
    assert_eq!(trace.span("below").parent_id, Some(inner.span_id));
    assert_eq!(trace.span("instrumented").parent_id, Some(step.span_id));
    assert_eq!(
        (trace.span("foreign").parent_id, trace.span("foreign").links.as_slice()),
        (Some(tracer), &[elsewhere][..])
    );
}

#[test]
fn failed_execs_are_events_and_a_search_along_path_is_one_event() {
    let failed = |story: Story, file: &str, error| story.fail_to_exec(3, file, error);
    let mut story = Story::new().fork(2, 3);
    for (file, error) in [("/a/cc", 2), ("/b/cc", 2), ("/c/cc", 13), ("/c/ld", 2)] {
        story = failed(story, file, error);
    }
    let trace = failed(story.exec(3, "/d/ld"), "/e/ld", 2).exit(3, 127).exit(2, 0).finish();
    let events: Vec<_> = trace
        .describe("ld")
        .events
        .into_iter()
        .filter(|event| event.name == "exec_failed")
        .map(|event| event.attributes.into_iter().map(|(_, value)| value).collect::<Vec<_>>())
        .collect();
    let event = |file: &str, error: &str| vec![Value::String(file.into()), Value::String(error.into())];
    let mut search = event("/b/cc", "ENOENT");
    search.push(Value::Int(2));
    assert_eq!(events, [search, event("/c/cc", "EACCES"), event("/c/ld", "ENOENT"), event("/e/ld", "ENOENT")]);
}
