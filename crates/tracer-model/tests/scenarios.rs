//! The rules of a trace. Each test is a short history.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod story;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use story::{CALLER_SPAN, ROOT_SPAN, Story, accept, connect, flow, ns, string};
use tracer_model::{
    Anchor, Event, ExitStatus, Identity, Ktime, Losses, Settings, SpanId, TraceId, Tracer, Value,
    context::SpanContext,
    event::{Change, Connection, Direction, Flow, Image, Names, Namespaces, Strings, Visibility},
    losses::Cause,
    redact::{Extent, Policy},
    semconv::{Description, KeyValues, Kind, describe},
    span::Subject,
};

/// An expected value, made from a literal.
struct Told(Value);

impl From<&str> for Told {
    fn from(text: &str) -> Self {
        Self(Value::String(text.to_owned()))
    }
}

impl From<i64> for Told {
    fn from(number: i64) -> Self {
        Self(Value::Int(number))
    }
}

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

impl story::Trace {
    fn attribute_of_root(&self, key: &str) -> Option<Value> {
        let description = describe(self.spans.last().unwrap());
        description.attributes.into_iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }
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
fn long_arguments_are_complete_on_the_span_and_cut_on_its_event() {
    let trace = Story::new().exec_with(2, "/bin/cc", &["cc", &"x".repeat(10_000)]).exit(2, 0).finish();
    let lengths = |attributes: &KeyValues| {
        let arguments = attributes.iter().find(|(key, _)| key == "process.command_args").map(|(_, value)| value);
        let Some(Value::Strings(arguments)) = arguments else { panic!("no arguments in {attributes:?}") };
        arguments.iter().map(String::len).collect::<Vec<_>>()
    };
    let description = trace.describe("sh");
    assert_eq!(lengths(&description.attributes), [2, 10_000]);
    assert_eq!(lengths(&description.events[1].attributes), [2, 4096 - 3]);
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
        .reparented(4, story::OUTSIDE)
        .exec(4, "/bin/orphan")
        .exit(4, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ parent exit=0\n   └─ orphan exit=0");
    assert_eq!(trace.attribute("orphan", "process.parent_pid"), Some(Value::Int(3)));
}

#[test]
fn a_lost_fork_is_repaired_by_later_events() {
    let story = Story::new().lost_fork(2, 3);
    let start = story.identity(3).start;
    let trace = story.exec(3, "/bin/found").exit(3, 0).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ found exit=0 repaired");
    assert_eq!(ns(trace.span("found").start), start.0, "its identity says when it began");
    assert_eq!(trace.attribute("found", "process_tracer.repaired"), Some(Value::Bool(true)));
    assert_eq!(trace.attribute("found", "process.parent_pid"), Some(Value::Int(2)));
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
fn a_process_with_only_an_exit_has_a_span() {
    Story::new().lost_fork(2, 3).exit(3, 5).exit(2, 0).expect_tree("sh exit=0\n└─ unknown exit=5 repaired");
}

#[test]
fn a_lost_exit_leaves_a_span_that_ends_with_the_trace() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/lost")
        .exit(2, 0)
        .losses(Losses { exits: 1, ..Losses::default() })
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ lost unfinished repaired");
    assert_eq!(trace.attribute("sh", "process_tracer.complete"), Some(Value::Bool(false)));
    assert_eq!(trace.attribute("sh", "process_tracer.lost.exits"), Some(Value::Int(1)));
}

#[test]
fn a_lost_exit_of_the_root_leaves_a_span_too() {
    let lost = Losses { exits: 1, ..Losses::default() };
    Story::new().losses(lost.clone()).expect_tree("sh unfinished repaired");
    Story::new().exit(2, 0).losses(lost).expect_tree("sh exit=0");
    Story::new().expect_tree("sh unfinished");
}

#[test]
fn a_lost_exec_leaves_the_parents_name_and_an_incomplete_trace() {
    let losses = Losses { execs: 1, ..Losses::default() };
    let trace = Story::new().fork(2, 3).exit(3, 4).exit(2, 0).losses(losses).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ sh exit=4");
    assert!(!trace.root().certificate.as_ref().unwrap().is_complete);
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
fn a_trace_without_events_has_a_root() {
    let trace = Story::without_root(&[]).finish();
    assert_eq!(trace.tree(), "command unfinished repaired");
    assert_eq!(trace.attribute("command", "process_tracer.complete"), Some(Value::Bool(false)));
}

#[test]
fn every_loss_is_in_the_certificate() {
    let losses = Losses {
        forks: 1,
        execs: 2,
        texts: 3,
        exits: 4,
        connections: 5,
        untracked_processes: 6,
        untracked_connections: 7,
        unreadable_arguments: 8,
        undecodable: 9,
        missed: 10,
        undelivered: 11,
        lookups: 12,
        failed_execs: 13,
        flows: 14,
        unix_connects: 15,
        privileged_programs: 16,
        tracing_programs: 17,
        traced_targets: 18,
        lost_privileges: 19,
        unreadable_programs: 20,
        io_uring_queues: 21,
        unreadable_environments: 22,
        unreadable_paths: 23,
        // The model counts them itself.
        cut_arguments: 0,
        cut_environments: 0,
        // The last line of a run has them.
        programs: vec![(Cause::Tracing, "gdb".to_owned())],
        unobserved: Some("why".to_owned()),
    };
    let trace = Story::new().exit(2, 0).losses(losses).finish();
    let kinds = ["forks", "execs", "texts", "exits", "connections", "untracked_processes", "untracked_connections"];
    let others = [
        "unreadable_arguments",
        "undecodable",
        "missed",
        "undelivered",
        "lookups",
        "failed_execs",
        "flows",
        "unix_connects",
    ];
    let left = ["privileged_programs", "tracing_programs", "traced_targets", "lost_privileges", "unreadable_programs"];
    let left = left.into_iter().chain(["io_uring_queues", "unreadable_environments", "unreadable_paths"]);
    let kinds = kinds.into_iter().chain(others).chain(left);
    for (kind, count) in kinds.zip(1..) {
        let key = format!("process_tracer.lost.{kind}");
        assert_eq!(trace.attribute("sh", &key), Some(Value::Int(count)), "{key}");
    }
    assert_eq!(trace.attribute("sh", "process_tracer.unobserved"), string("why"));
    assert_eq!(trace.attribute("sh", "process_tracer.complete"), Some(Value::Bool(false)));
}

#[test]
fn truncated_arguments_are_counted_and_have_their_size() {
    let arguments = Strings { bytes: b"long\0xx".to_vec(), size: 500_000 };
    let image = Image { file: "/bin/long".into(), arguments, argument_count: 9, ..Image::default() };
    let trace = Story::new().fork(2, 3).exec_image(3, image).exit(3, 0).exit(2, 0).finish();
    assert_eq!(trace.attribute("long", "process_tracer.args.size"), Some(Value::Int(500_000)));
    assert_eq!(trace.attribute("long", "process.args_count"), Some(Value::Int(9)));
    assert_eq!(trace.attribute("sh", "process_tracer.lost.cut_arguments"), Some(Value::Int(1)));
    assert_eq!(trace.attribute("sh", "process_tracer.lost.cut_environments"), None);
    assert_eq!(trace.attribute("sh", "process_tracer.complete"), Some(Value::Bool(false)));
}

#[test]
fn an_image_executed_by_descriptor_has_the_name_of_its_file() {
    for (file, name) in [
        ("/dev/fd/7", "dash"),
        ("/dev/fd/7/bin/tool", "tool"),
        ("/proc/self/exe", "dash"),
        ("/proc/17/exe", "dash"),
        ("/proc/self/fd/7", "dash"),
        ("./exe", "exe"),
        ("/proc/17/task/18/exe", "dash"),
        ("/proc/17/root/bin/exe", "exe"),
        ("/proc/self/fd/3/tool", "tool"),
    ] {
        let image = Image { file: file.into(), executable: Some("/usr/bin/dash".into()), ..Image::default() };
        let story = Story::new().fork(2, 3).exec_image(3, image).exit(3, 0).exit(2, 0);
        story.expect_tree(&format!("sh exit=0\n└─ {name} exit=0"));
    }
}

#[test]
fn a_script_keeps_its_name_when_env_executes_its_interpreter() {
    let script = Image {
        file: "/x/tsc".into(),
        executable: Some("/usr/bin/env".into()),
        arguments: ["/usr/bin/env", "node", "/x/tsc"].into_iter().collect(),
        is_script: true,
        ..Image::default()
    };
    let story = Story::new().fork(2, 4).exec_image(4, script).exec_with(4, "/usr/bin/node", &["node", "/x/tsc"]);
    // A child that calls the interpreter itself is not the script.
    let story = story.fork(4, 3).exec_with(3, "/usr/bin/node", &["node", "/x/tsc"]).exit(3, 0).exit(4, 0);
    let trace = story.exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ tsc exit=0\n   └─ node exit=0");
    assert_eq!(trace.attribute("tsc", "process_tracer.script"), string("/x/tsc"));
    assert_eq!(trace.attribute("tsc", "process.executable.path"), string("/mapped/usr/bin/node"));
    assert_eq!(trace.attribute("node", "process_tracer.script"), None);
}

#[test]
fn a_script_keeps_its_name_if_no_arguments_are_exported() {
    let mut settings = story::settings(&[]);
    settings.arguments = Policy { extent: Extent::None, ..Policy::default() };
    let mut tracer = Tracer::new(settings);
    let process = Identity { tgid: 2, start: Ktime(10) };
    let parent = Identity { tgid: 1, start: Ktime(5) };
    tracer.handle(Event::Fork { process, parent, is_root: true });
    for (at, file, is_script, arguments) in [
        (20, "/x/tsc", true, &["/usr/bin/env", "node", "/x/tsc"][..]),
        (30, "/usr/bin/node", false, &["node", "/x/tsc"]),
    ] {
        let image = Image { file: file.into(), is_script, arguments: arguments.iter().collect(), ..Image::default() };
        let (image, environment) = (Arc::new(image), None);
        tracer.handle(Event::Exec { at: Ktime(at), process, parent, image, environment, context: None });
    }
    tracer.finish(Ktime(40), Losses::default());
    let span = tracer.poll_span().unwrap();
    let described = describe(&span).attributes;
    assert_eq!(span.name(), "tsc");
    assert!(described.contains(&("process_tracer.script".into(), Value::String("/x/tsc".to_owned()))));
    assert!(described.iter().all(|(key, _)| key != "process.command_args"), "{described:?}");
}

#[test]
fn a_span_has_a_name_even_if_text_was_lost() {
    let mapped = Image { executable: Some("/usr/bin/ls".into()), ..Image::default() };
    Story::new()
        .fork(2, 3)
        .exec_image(3, mapped)
        .fork(2, 4)
        .exec_image(4, Image::default())
        .exit(3, 0)
        .exit(4, 0)
        .exit(2, 0)
        .expect_tree("sh exit=0\n├─ ls exit=0\n└─ unknown exit=0");
    Story::without_root(&[]).root(2).exec_image(2, Image::default()).exit(2, 0).expect_tree("command exit=0");
}

#[test]
fn a_creation_time_is_never_before_the_epoch() {
    let anchor = Anchor { ktime: Ktime(1_000), wall: SystemTime::UNIX_EPOCH };
    let mut tracer = Tracer::new(Settings { anchor, ..story::settings(&[]) });
    let process = Identity { tgid: 2, start: Ktime(10) };
    tracer.handle(Event::Fork { process, parent: process, is_root: true });
    tracer.finish(Ktime(2_000), Losses::default());
    let span = tracer.poll_span().unwrap();
    let created = describe(&span).attributes.into_iter().find(|(key, _)| key == "process.creation.time").unwrap().1;
    assert_eq!(created, Value::String("1970-01-01T00:00:00.000000Z".to_owned()));
    assert_eq!(ns(span.end), 1_000);
}

#[test]
fn the_real_user_is_recorded_if_it_differs() {
    let image = |user_id| Image {
        file: format!("/bin/as{user_id}"),
        directory: Some("/".into()),
        user_id,
        real_user_id: 1000,
        ..Image::default()
    };
    let trace =
        Story::new().exec_image(2, image(0)).fork(2, 3).exec_image(3, image(1000)).exit(3, 0).exit(2, 0).finish();
    assert_eq!(trace.attribute("sh", "process.user.id"), Some(Value::Int(0)));
    assert_eq!(trace.attribute("sh", "process.real_user.id"), Some(Value::Int(1000)));
    assert_eq!(trace.attribute("as1000", "process.real_user.id"), None);
}

#[test]
fn users_and_groups_have_names_from_the_mount_namespace_of_the_root_or_from_the_source() {
    let image = |file: &str, mount| Image {
        file: file.into(),
        directory: Some("/".into()),
        user_id: 0,
        real_user_id: 1000,
        group_id: 5,
        real_group_id: 6,
        nice: -3,
        is_script: true,
        namespaces: Namespaces { mount, ..Namespaces::default() },
        ..Image::default()
    };
    let read = Names { user: Some("inner".into()), ..Names::default() };
    let story = Story::new().exec_image(2, image("/bin/here", 0)).fork(2, 3).exec_image(3, image("/bin/there", 70));
    let story = story.fork(2, 4).exec_image(4, Image { names: read, ..image("/bin/inside", 71) });
    let trace = story.exit(3, 0).exit(4, 0).exit(2, 0).finish();
    assert_eq!(trace.attribute("inside", "process.user.name"), string("inner"));
    assert_eq!(trace.attribute("inside", "process.real_user.name"), None);
    let int = |value| Some(Value::Int(value));
    for name in ["sh", "there"] {
        assert_eq!(trace.attribute(name, "process_tracer.group.id"), int(5));
        assert_eq!(trace.attribute(name, "process_tracer.real_group.id"), int(6));
        assert_eq!(trace.attribute(name, "process_tracer.nice"), int(-3));
        assert_eq!(trace.attribute(name, "process_tracer.namespace.pid"), None);
    }
    assert_eq!(trace.attribute("sh", "process.user.name"), string("root"));
    assert_eq!(trace.attribute("sh", "process.real_user.name"), string("someone"));
    assert_eq!(trace.attribute("sh", "process_tracer.group.name"), string("staff"));
    assert_eq!(trace.attribute("sh", "process_tracer.real_group.name"), None);
    assert_eq!(trace.attribute("sh", "process_tracer.script"), string("/bin/here"));
    assert_eq!(trace.attribute("sh", "process_tracer.namespace.mount"), None);
    assert_eq!(trace.attribute("there", "process.user.name"), None);
    assert_eq!(trace.attribute("there", "process_tracer.namespace.mount"), int(70));
}

#[test]
fn a_withheld_process_has_no_facts_from_other_processes() {
    // The command is a setuid program. It runs one program as the user who traces, and another one that is hidden.
    let image = |file: &str, visibility, mount| Image {
        file: file.into(),
        arguments: [file].iter().collect(),
        vpid: 7,
        visibility,
        namespaces: Namespaces { mount, ..Namespaces::default() },
        ..Image::default()
    };
    let trace = Story::without_root(&[])
        .root(2)
        .exec_image(2, Image { cgroup: Some("0::/here".into()), ..image("/bin/sudo", Visibility::Public, 0) })
        .fork(2, 3)
        .exec_image(3, image("/bin/own", Visibility::All, 70))
        .fork(3, 4)
        .exec_image(4, image("/bin/inner", Visibility::All, 71))
        .fork(2, 5)
        .exec_image(5, image("/bin/hidden", Visibility::Ids, 0))
        .exit_withheld(5)
        .finish();
    assert_eq!(trace.attribute("sudo", "process.user.id"), Some(Value::Int(0)));
    assert_eq!(trace.attribute("sudo", "process.user.name"), None);
    assert_eq!(trace.attribute("own", "process_tracer.namespace.mount"), None);
    assert_eq!(trace.attribute("inner", "process_tracer.namespace.mount"), Some(Value::Int(71)));
    for (name, cgroup) in [("sudo", Some("0::/here")), ("own", Some("0::/here")), ("hidden", None)] {
        assert_eq!(trace.attribute(name, "process.linux.cgroup"), cgroup.and_then(string), "{name}");
    }
    assert_eq!(trace.attribute("hidden", "process_tracer.exit.withheld"), Some(Value::Bool(true)));
    assert_eq!(trace.attribute("hidden", "process.exit.code"), None);
    assert!(trace.describe("hidden").error.is_none());
}

#[test]
fn the_attributes_of_the_last_exec_count() {
    let trace = Story::with_attributes(&[r#"pod=env["POD"]"#, "tool=args[0]"])
        .fork(2, 3)
        .environment(&["POD=first"])
        .exec(3, "/bin/a")
        .fork(3, 4)
        .environment(&["POD=second"])
        .exec(3, "/bin/b")
        .environment(&[])
        .fork(2, 5)
        .exec(5, "/bin/c")
        .exit(4, 0)
        .exit(3, 0)
        .exit(5, 0)
        .exit(2, 0)
        .finish();
    assert_eq!((trace.attribute("b", "pod"), trace.attribute("b", "tool")), (string("second"), string("/bin/b")));
    assert_eq!(trace.attribute("a", "pod"), string("first"), "a fork runs its parent's image");
    assert_eq!(trace.attribute("c", "pod"), None, "nil is no attribute");
}

#[test]
fn an_attribute_of_the_user_replaces_ours_with_the_same_key() {
    let trace = Story::with_attributes(&["process.pid=0", "error.type=\"mine\""]).exit(2, 1).finish();
    for (key, value) in [("process.pid", Value::Int(0)), ("error.type", Value::String("mine".to_owned()))] {
        let attributes = trace.describe("sh").attributes;
        let found: Vec<_> = attributes.iter().filter(|(found, _)| found == key).map(|(_, value)| value).collect();
        assert_eq!(found, [&value], "{key}");
    }
}

#[test]
fn failed_expressions_are_in_the_certificate() {
    let trace = Story::with_attributes(&["bad=args[5]"]).exit(2, 0).finish();
    assert_eq!(trace.attribute("sh", "bad"), None);
    assert_eq!(trace.attribute("sh", "process_tracer.failed_expressions"), Some(Value::Int(1)));
}

#[test]
fn a_connection_lasts_from_syn_to_close() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .connection(3, 50, Change::Opened, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Established, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Closed, connect("10.0.0.9:80"))
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ curl exit=0\n   └─ connect 10.0.0.9:80");
    let description = trace.describe("connect 10.0.0.9:80");
    assert_eq!(description.kind, Kind::Client);
    assert_eq!(description.events.len(), 1);
    assert_eq!(description.events[0].name, "established");
    assert_eq!(description.error, None);
    let attribute = |key| trace.attribute("connect 10.0.0.9:80", key);
    assert_eq!(attribute("network.transport"), string("tcp"));
    assert_eq!(attribute("network.type"), string("ipv4"));
    assert_eq!(attribute("network.peer.address"), string("10.0.0.9"));
    assert_eq!(attribute("network.peer.port"), Some(Value::Int(80)));
    assert_eq!(attribute("network.local.address"), string("10.0.0.1"));
    assert_eq!(attribute("server.address"), string("10.0.0.9"));
    assert_eq!(attribute("server.port"), Some(Value::Int(80)));
    assert_eq!(attribute("process_tracer.tcp.bytes_sent"), Some(Value::Int(1)));
    assert_eq!(attribute("process_tracer.tcp.bytes_received"), Some(Value::Int(2)));
    assert_eq!(attribute("process_tracer.tcp.retransmits"), Some(Value::Int(3)));
    assert_eq!(attribute("process_tracer.tcp.round_trip_time"), Some(Value::Float(4e-6)));
}

#[test]
fn a_span_names_the_process_that_it_belongs_to() {
    let trace = Story::new()
        .fork(2, 3)
        .exec_image(3, Image { executable: Some("/usr/bin/curl-real".to_owned()), ..Image::default() })
        .connection(2, 50, Change::Opened, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Owned, connect("10.0.0.9:80"))
        .connection(3, 50, Change::Closed, connect("10.0.0.9:80"))
        .flow(3, 1, true, flow(60, "10.0.0.1:5", "10.0.0.9:6"))
        .dns(3, 1, "a.test", None)
        .dns(3, 1, "a.test", Some("10.0.0.8"))
        .unix_connect(3, "/run/bus", None)
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    for name in ["connect 10.0.0.9:80", "udp 10.0.0.9:6", "lookup a.test", "connect /run/bus"] {
        assert_eq!(trace.attribute(name, "process.pid"), Some(Value::Int(3)), "{name}");
        assert_eq!(trace.attribute(name, "process.executable.name"), string("curl-real"), "{name}");
    }
}

#[test]
fn a_connection_keeps_the_facts_about_its_dead_owner() {
    let mut settings = story::settings(&["tool=args[0]"]);
    settings.attributes = settings.attributes.on_all_spans(true);
    let trace = Story::of(settings)
        .root(2)
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .connection(3, 50, Change::Opened, connect("10.0.0.9:80"))
        .exit(3, 0)
        .connection(3, 50, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .finish();
    let attribute = |key| trace.attribute("connect 10.0.0.9:80", key);
    assert_eq!(attribute("process.pid"), Some(Value::Int(3)));
    assert_eq!(attribute("process.executable.name"), string("curl"));
    assert_eq!(attribute("tool"), string("/bin/curl"));
}

#[test]
fn without_process_spans_all_spans_belong_to_the_root() {
    let mut settings = story::settings(&[]);
    settings.captured.processes = false;
    let trace = Story::of(settings)
        .root(2)
        .exec(2, "/bin/sh")
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .dns(3, 1, "a.test", None)
        .dns(3, 1, "a.test", Some("10.0.0.9"))
        .connection(3, 90, Change::Opened, connect("10.0.0.9:80"))
        .exit(3, 0)
        .connection(3, 90, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n├─ lookup a.test NOERROR\n└─ connect a.test:80");
    assert_eq!(trace.attribute("connect a.test:80", "process.executable.name"), string("curl"));
    assert_eq!(trace.attribute("sh", "process_tracer.processes"), Some(Value::Int(1)));
    assert_eq!(trace.attribute("connect a.test:80", "process_tracer.repaired"), None);
}

#[test]
fn a_connection_names_its_network_namespace_if_the_root_has_another_one() {
    let image = Image {
        visibility: Visibility::All,
        namespaces: Namespaces { mount: 1, pid: 2, network: 3, user: 4 },
        ..Image::default()
    };
    let connection = |network_inode| Connection { network_inode, ..connect("10.0.0.9:80") };
    for (inode, expected) in [(3, None), (7, Some(Value::Int(7)))] {
        let trace = Story::without_root(&[])
            .root(2)
            .exec_image(2, image.clone())
            .connection(2, 50, Change::Opened, connection(inode))
            .connection(2, 50, Change::Closed, connection(inode))
            .exit(2, 0)
            .finish();
        assert_eq!(trace.attribute("connect 10.0.0.9:80", "process_tracer.namespace.network"), expected);
    }
}

#[test]
fn a_failed_connection_has_the_name_of_its_error() {
    for (errno, name) in [(111, "connection_refused"), (110, "timed_out"), (104, "connection_reset"), (5, "errno_5")] {
        let failed = Connection { error: Some(errno), ..connect("[::1]:80") };
        let trace = Story::new()
            .connection(2, 20, Change::Opened, connect("[::1]:80"))
            .connection(2, 20, Change::Closed, failed)
            .exit(2, 0)
            .finish();
        assert_eq!(trace.attribute("connect [::1]:80", "error.type"), string(name));
        assert_eq!(trace.attribute("connect [::1]:80", "network.type"), string("ipv6"));
        assert!(trace.describe("connect [::1]:80").events.is_empty());
        assert!(trace.describe("connect [::1]:80").error.is_some());
    }
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
        "the span in the environment of its parent is its own span"
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

#[test]
fn the_two_spans_of_a_connection_link_to_each_other() {
    let client = connect("10.0.0.9:80");
    let server = |peer, network_namespace| Connection {
        direction: Direction::Accept,
        local: client.peer,
        peer,
        network_namespace,
        ..client
    };
    let trace = Story::new()
        .connection(2, 10, Change::Opened, client)
        .connection(2, 20, Change::Established, server("10.0.0.1:40001".parse().unwrap(), 1))
        .connection(2, 30, Change::Established, server(client.local, 2))
        .connection(2, 10, Change::Established, client)
        .connection(2, 30, Change::Closed, server(client.local, 2))
        .connection(2, 10, Change::Closed, client)
        .finish();
    let spans: Vec<_> = trace.spans.iter().filter(|span| matches!(span.subject, Subject::Connection(_))).collect();
    let links: Vec<Vec<_>> = spans.iter().map(|span| span.links.iter().map(|link| link.span_id).collect()).collect();
    assert_eq!(links, [vec![spans[1].span_id], vec![spans[0].span_id], vec![]]);
}

#[test]
fn a_lookup_lasts_from_question_to_answer_and_names_later_connections() {
    let story = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .fork(2, 4)
        .exec(4, "/bin/other")
        .dns(3, 1, "a.test", None)
        .dns(3, 2, "b.test", None)
        .dns(3, 1, "a.test", None)
        .dns(3, 1, "a.test", Some("10.0.0.9"))
        .dns(4, 7, "c.test", None)
        .dns(4, 7, "c.test", Some("10.0.0.9"));
    let trace = story
        .connection(3, 50, Change::Opened, connect("10.0.0.9:80"))
        .connection(2, 60, Change::Opened, connect("10.0.0.9:81"))
        .connection(2, 70, Change::Opened, connect("10.0.0.8:82"))
        .exit(3, 0)
        .exit(4, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(
        trace.tree(),
        "sh exit=0\n\
         ├─ curl exit=0\n\
         │  ├─ connect a.test:80 unfinished\n\
         │  ├─ lookup a.test NOERROR\n\
         │  └─ lookup b.test\n\
         ├─ other exit=0\n\
         │  └─ lookup c.test NOERROR\n\
         ├─ connect c.test:81 unfinished\n\
         └─ connect 10.0.0.8:82 unfinished"
    );
    let lookup = trace.span("lookup a.test");
    assert_eq!((ns(lookup.start), ns(lookup.end)), (70, 100));
    assert_eq!(trace.attribute("lookup a.test", "process_tracer.dns.attempts"), Some(Value::Int(2)));
    assert_eq!(trace.attribute("lookup b.test", "error.type"), string("no_answer"));
    assert_eq!(trace.attribute("sh", "process_tracer.lookups"), Some(Value::Int(3)));
}

#[test]
fn an_answer_counts_only_for_the_name_in_the_question() {
    let trace = Story::new()
        .dns(2, 1, "a.test", None)
        .dns(2, 1, "b.test", None)
        .dns(2, 1, "A.test", Some("10.0.0.9"))
        .dns(2, 1, "B.test", Some("10.0.0.8"))
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n├─ lookup a.test\n└─ lookup b.test NOERROR");
    assert_eq!(trace.attribute("lookup b.test", "dns.answers"), Some(Value::Strings(vec!["10.0.0.8".into()])));
}

#[test]
fn an_answer_without_a_question_names_nothing() {
    let trace = Story::new()
        .dns(2, 1, "asked.test", None)
        .dns(2, 2, "forged.test", Some("10.0.0.9"))
        .dns(2, 1, "forged.test", Some("10.0.0.9"))
        .dns(2, 1, "asked.test", Some("10.0.0.8"))
        .dns(2, 1, "asked.test", Some("10.0.0.9"))
        .connection(2, 50, Change::Opened, connect("10.0.0.8:80"))
        .connection(2, 60, Change::Opened, connect("10.0.0.9:80"))
        .finish();
    let names: Vec<_> = trace.spans.iter().map(|span| span.name().into_owned()).collect();
    assert!(names.contains(&"connect asked.test:80".to_owned()), "{names:?}");
    assert!(names.contains(&"connect 10.0.0.9:80".to_owned()), "{names:?}");
}

#[test]
fn the_number_of_remembered_names_is_limited() {
    // Each process finds another thousand addresses. The names of the first ones are forgotten.
    let mut story = Story::new();
    let address = |pid: u32, number: u16| format!("10.{pid}.{}.{}", number / 256, number % 256);
    for pid in 3..33 {
        story = story.fork(2, pid);
        for number in 0..1000 {
            story = story.dns(pid, number, "x.test", None).dns(pid, number, "x.test", Some(&address(pid, number)));
        }
    }
    for pid in [3, 32] {
        let id = pid.into();
        story = story.connection(pid, id, Change::Opened, connect(&format!("{}:80", address(pid, 0))));
    }
    let trace = story.finish();
    let mut connects: Vec<_> =
        trace.spans.iter().map(|span| span.name().into_owned()).filter(|name| name.starts_with("connect")).collect();
    connects.sort_unstable();
    assert_eq!(connects, ["connect 10.3.0.0:80", "connect x.test:80"]);
}

#[test]
fn an_unreadable_answer_is_not_a_missing_answer() {
    let trace = Story::new()
        .dns(2, 1, "a.test", None)
        .dns(2, 2, "b.test", None)
        .dns(3, 3, "c.test", None)
        .unread_answer(2)
        .dns(2, 2, "b.test", Some("10.0.0.8"))
        .unread_answer(2)
        .dns(2, 4, "d.test", None)
        .unread_answer(2)
        .dns(2, 4, "d.test", None)
        .exit(2, 0)
        .exit(3, 0)
        .finish();
    // It can be the answer to any of the two questions.
    assert_eq!(trace.attribute("lookup a.test", "error.type"), None);
    assert_eq!(trace.attribute("lookup a.test", "process_tracer.dns.response_code"), None);
    assert_eq!(trace.attribute("lookup b.test", "process_tracer.dns.response_code"), string("NOERROR"));
    // An answer to another process, and a question that was asked again.
    for name in ["lookup c.test", "lookup d.test"] {
        assert_eq!(trace.attribute(name, "error.type"), string("no_answer"));
    }
}

#[test]
fn a_flow_lasts_from_first_to_last_datagram_and_names_its_peer() {
    let quic = flow(60, "10.0.0.1:40000", "10.0.0.9:443");
    let story = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/curl")
        .dns(3, 1, "a.test", None)
        .dns(3, 1, "a.test", Some("10.0.0.9"))
        .flow(3, 0, false, Flow { datagrams_sent: 0, ..quic })
        .flow(2, 1, false, flow(80, "[fe80::1]:5000", "[fe80::2]:6000"));
    let trace = story.flow(3, 0, true, quic).flow(3, 0, true, quic).exit(3, 0).exit(2, 0).finish();
    assert_eq!(
        trace.tree(),
        "sh exit=0\n\
         ├─ curl exit=0\n\
         │  ├─ lookup a.test NOERROR\n\
         │  └─ udp a.test:443 1:2\n\
         └─ udp [fe80::2]:6000 1:2 unfinished"
    );
    let span = trace.span("udp a.test:443");
    assert_eq!((ns(span.start), ns(span.end), span.links.len()), (60, 90, 0));
    let Description { kind, attributes, error, .. } = trace.describe("udp a.test:443");
    assert_eq!((kind, error), (Kind::Client, None));
    let expected: KeyValues = [
        ("process.pid", 3.into()),
        ("process.executable.name", "curl".into()),
        ("network.transport", "quic".into()),
        ("network.protocol.name", "quic".into()),
        ("network.type", "ipv4".into()),
        ("network.peer.address", "10.0.0.9".into()),
        ("network.peer.port", 443.into()),
        ("network.local.address", "10.0.0.1".into()),
        ("network.local.port", 40000.into()),
        ("server.address", "a.test".into()),
        ("server.port", 443.into()),
        ("process_tracer.udp.datagrams_sent", 1.into()),
        ("process_tracer.udp.datagrams_received", 2.into()),
        ("process_tracer.udp.bytes_sent", 10.into()),
        ("process_tracer.udp.bytes_received", 200.into()),
    ]
    .map(|(key, value): (&'static str, Told)| (key.into(), value.0))
    .into();
    assert_eq!(attributes, expected);
    let other = "udp [fe80::2]:6000";
    assert_eq!(trace.attribute(other, "network.protocol.name"), None);
    assert_eq!(trace.attribute(other, "network.transport"), string("udp"));
    assert_eq!(trace.attribute(other, "server.address"), string("fe80::2"));
    assert_eq!(ns(trace.span(other).end), 81, "a single datagram lasts a nanosecond");
    assert_eq!(trace.attribute("sh", "process_tracer.flows"), Some(Value::Int(2)));
    assert_eq!(trace.attribute("sh", "process_tracer.connections"), Some(Value::Int(0)));
}

#[test]
fn a_unix_connect_is_a_span_of_one_nanosecond() {
    let story = Story::new().fork(2, 3).exec(3, "/bin/x").unix_connect(3, "/run/a.sock", None);
    let trace = story.unix_connect(3, "@b", Some(111)).exit(3, 0).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ x exit=0\n   ├─ connect /run/a.sock\n   └─ connect unix errno=111");
    let span = trace.span("connect /run/a.sock");
    assert_eq!(span.end, span.start + Duration::from_nanos(1));
    assert_eq!(trace.describe("connect /run/a.sock").kind, Kind::Client);
    assert_eq!(trace.attribute("connect unix", "network.transport"), string("unix"));
    assert_eq!(trace.attribute("connect unix", "network.peer.address"), string("@b"));
    assert_eq!(trace.attribute("connect unix", "server.address"), string("@b"));
    let error = trace.describe("connect unix").error.unwrap();
    assert_eq!((error.status_message(None), error.status_message(Some(5))), ("", "connection refused"));
    assert_eq!(trace.attribute("connect unix", "error.type"), string("connection_refused"));
    assert_eq!(trace.attribute("sh", "process_tracer.unix_connects"), Some(Value::Int(2)));
}

#[test]
fn the_root_of_a_trace_that_is_cut_off_is_known_before_the_end() {
    let root = Story::new().fork(2, 3).exec(3, "/bin/x").exit(3, 0).cut_off_root().unwrap();
    assert_eq!((root.span_id, root.parent_id), (ROOT_SPAN, Some(CALLER_SPAN)));
    assert!(root.name() == "sh" && root.is_unfinished && root.end > root.start);
    let attributes = describe(&root).attributes;
    let value = |key| attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
    assert_eq!(value("process_tracer.complete"), Some(Value::Bool(false)));
    assert_eq!(value("process_tracer.cut_off"), Some(Value::Bool(true)));
    assert_eq!(value("process_tracer.unfinished"), Some(Value::Bool(true)));
    assert_eq!(value("process_tracer.version"), string("1.2.3"));
    assert_eq!(value("process.pid"), Some(Value::Int(2)));
    // These numbers would be wrong.
    for key in ["process_tracer.processes", "process_tracer.connections", "process_tracer.lookups", "process.exit.code"]
    {
        assert_eq!(value(key), None, "{key}");
    }
    assert!(Story::without_root(&[]).cut_off_root().is_none());
    let ended = Story::new().exit(2, 7).cut_off_root().unwrap();
    assert!(describe(&ended).attributes.contains(&("process.exit.code".into(), Value::Int(7))));
    let finished = Story::new().exit(2, 0).finish();
    assert_eq!(finished.attribute("sh", "process_tracer.cut_off"), None);
}

#[test]
fn a_span_name_has_no_ephemeral_port() {
    let mut story = Story::new();
    for (number, connection, change) in [
        (20, connect("10.0.0.9:443"), Change::Opened),
        (21, connect("10.0.0.9:32767"), Change::Opened),
        (22, connect("10.0.0.9:32768"), Change::Opened),
        (23, connect("10.0.0.7:54581"), Change::Opened),
        (24, connect("[::1]:65535"), Change::Opened),
        (25, accept("10.0.0.1:8080"), Change::Established),
        (26, accept("10.0.0.1:54581"), Change::Established),
    ] {
        story = story.connection(2, number, change, connection);
    }
    let trace = story
        .flow(2, 0, true, flow(80, "10.0.0.1:4000", "10.0.0.9:4433"))
        .flow(2, 1, true, flow(90, "10.0.0.1:4000", "10.0.0.9:40000"))
        .exit(2, 0)
        .finish();
    let mut names: Vec<_> = trace.spans.iter().map(|span| span.name().into_owned()).collect();
    names.sort();
    let expected = [
        "accept",
        "accept :8080",
        "connect 10.0.0.7",
        "connect 10.0.0.9",
        "connect 10.0.0.9:32767",
        "connect 10.0.0.9:443",
        "connect ::1",
        "sh",
        "udp 10.0.0.9",
        "udp 10.0.0.9:4433",
    ];
    assert_eq!(names, expected);
    assert_eq!(trace.attribute("connect 10.0.0.7", "server.port"), Some(Value::Int(54_581)));
    assert_eq!(trace.attribute("accept", "server.port"), Some(Value::Int(54_581)));
    assert_eq!(trace.attribute("udp 10.0.0.9", "network.peer.port"), Some(Value::Int(40_000)));
}

#[test]
fn the_name_of_a_unix_connect_has_no_temporary_path_and_no_abstract_name() {
    let mut story = Story::new();
    let paths =
        ["/run/a.sock", "app.sock", "@name", "/tmp/ssh-x1/agent.7", "/var/tmp/x", "/dev/shm/x", "@/tmp/dbus-x1"];
    for path in paths {
        story = story.unix_connect(2, path, None);
    }
    let trace = story.exit(2, 0).finish();
    let names: Vec<_> = trace.spans.iter().map(|span| span.name().into_owned()).collect();
    let temporary = "connect unix";
    let expected =
        ["connect /run/a.sock", "connect app.sock", temporary, temporary, temporary, temporary, temporary, "sh"];
    assert_eq!(names, expected);
    let attributes = describe(&trace.spans[2]).attributes;
    assert!(attributes.contains(&("network.peer.address".into(), Value::String(paths[2].to_owned()))));
}

#[test]
fn the_two_spans_of_a_flow_link_to_each_other() {
    let (one, other) = ("127.0.0.1:5000", "127.0.0.1:6000");
    let elsewhere = Flow { network_namespace: 2, ..flow(30, other, one) };
    let trace = Story::new()
        .flow(2, 0, false, flow(10, one, other))
        .flow(2, 1, false, elsewhere)
        .flow(2, 2, false, flow(30, other, one))
        .flow(2, 2, true, flow(30, other, one))
        .flow(2, 0, true, flow(10, one, other))
        // A new flow with the same ends.
        .flow(2, 3, false, flow(70, one, other))
        .exit(2, 0)
        .finish();
    let spans: Vec<_> = trace.spans.iter().filter(|span| matches!(span.subject, Subject::Flow(_))).collect();
    let links: Vec<Vec<_>> = spans.iter().map(|span| span.links.iter().map(|link| link.span_id).collect()).collect();
    assert_eq!(links, [vec![spans[1].span_id], vec![spans[0].span_id], vec![], vec![]]);
}

#[test]
fn a_name_of_the_hosts_file_counts_if_the_arguments_have_it() {
    let elsewhere = |mount| Image {
        file: "/bin/apart".to_owned(),
        arguments: ["apart", "db.test"].iter().collect(),
        namespaces: Namespaces { mount, ..Namespaces::default() },
        ..Image::default()
    };
    let trace = Story::without_root(&[])
        .root(2)
        .exec_image(2, Image { file: "/bin/sh".to_owned(), ..elsewhere(1) })
        .fork(2, 3)
        .exec_image(3, Image { file: "/bin/psql".to_owned(), ..elsewhere(1) })
        .connection(3, 10, Change::Opened, connect("10.0.0.7:5432"))
        .flow(3, 0, false, flow(70, "10.0.0.1:5000", "10.0.0.7:443"))
        .fork(3, 7)
        .exec_image(3, Image { file: "/bin/psql".to_owned(), arguments: Strings::default(), ..elsewhere(1) })
        .connection(3, 50, Change::Opened, connect("10.0.0.7:4"))
        .connection(7, 60, Change::Opened, connect("10.0.0.7:5"))
        .fork(2, 4)
        .exec_image(4, Image { file: "/bin/psql".to_owned(), arguments: Strings::default(), ..elsewhere(1) })
        .connection(4, 20, Change::Opened, connect("10.0.0.7:1"))
        .fork(2, 5)
        .exec_image(5, elsewhere(2))
        .connection(5, 30, Change::Opened, connect("10.0.0.7:2"))
        .fork(2, 6)
        .exec_image(6, elsewhere(1))
        .dns(6, 1, "other.test", None)
        .dns(6, 1, "other.test", Some("10.0.0.7"))
        .connection(6, 40, Change::Opened, connect("10.0.0.7:3"))
        .finish();
    let mut names: Vec<_> =
        trace.spans.iter().filter(|span| span.name().contains(':')).map(|span| span.name()).collect();
    names.sort_unstable();
    let expected = [
        "connect 10.0.0.7:1",
        "connect 10.0.0.7:2",
        "connect 10.0.0.7:4",
        "connect db.test:5",
        "connect db.test:5432",
        "connect other.test:3",
        "udp db.test:443",
    ];
    assert_eq!(names, expected);
    assert_eq!(trace.attribute("connect db.test:5432", "server.address"), string("db.test"));
}

#[test]
fn the_number_of_unanswered_questions_is_limited() {
    let mut story = Story::new();
    for id in 0..5000 {
        story = story.dns(2, id, "x.test", None);
    }
    let trace = story.exit(2, 0).finish();
    assert_eq!(trace.spans.len(), 5001);
    assert!(trace.spans[0].end < trace.spans[4000].end, "the oldest were given up first");
}

#[test]
fn ends_on_loopback_match_only_in_the_same_network_namespace() {
    let end = |direction, local: &str, peer: &str, network_namespace| Connection {
        direction,
        local: local.parse().unwrap(),
        peer: peer.parse().unwrap(),
        network_namespace,
        ..connect("127.0.0.1:80")
    };
    for (network, count) in [(1, 2), (2, 0)] {
        let trace = Story::new()
            .connection(2, 10, Change::Established, end(Direction::Connect, "127.0.0.1:4000", "127.0.0.1:80", 1))
            .connection(2, 20, Change::Established, end(Direction::Accept, "127.0.0.1:80", "127.0.0.1:4000", network))
            .finish();
        assert_eq!(trace.spans.iter().map(|span| span.links.len()).sum::<usize>(), count);
    }
}

#[test]
fn an_accepted_connection_moves_to_the_worker_that_uses_it() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/worker")
        .connection(2, 30, Change::Established, accept("10.0.0.1:8080"))
        .connection(3, 30, Change::Owned, accept("10.0.0.1:8080"))
        .connection(3, 30, Change::Closed, accept("10.0.0.1:8080"))
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ worker exit=0\n   └─ accept :8080");
    assert_eq!(trace.describe("accept :8080").kind, Kind::Server);
    let attribute = |key| trace.attribute("accept :8080", key);
    assert_eq!(attribute("server.port"), Some(Value::Int(8080)));
    assert_eq!(attribute("client.address"), string("10.0.0.2"));
    assert_eq!(attribute("client.port"), Some(Value::Int(50000)));
    let span = trace.span("accept :8080");
    assert_eq!(trace.describe("accept :8080").events[0].at, span.start, "it starts when it is established");
}

#[test]
fn a_connection_may_close_after_the_death_of_its_owner() {
    let story = Story::new().fork(2, 3).exec(3, "/bin/curl").connection(3, 50, Change::Opened, connect("10.0.0.9:80"));
    let owner = story.identity(3);
    story
        .exit(3, 0)
        .connection_of(owner, 50, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ curl exit=0\n   └─ connect 10.0.0.9:80");
}

#[test]
fn a_connection_with_a_lost_beginning_is_repaired() {
    let trace = Story::new().connection(2, 15, Change::Closed, connect("10.0.0.9:80")).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ connect 10.0.0.9:80 repaired");
    assert_eq!(ns(trace.span("connect 10.0.0.9:80").start), 15);
}

#[test]
fn an_accepted_connection_first_reported_at_its_use_is_repaired() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/worker")
        .connection(3, 35, Change::Owned, accept("[::1]:8080"))
        .connection(3, 35, Change::Closed, accept("[::1]:8080"))
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ worker exit=0\n   └─ accept :8080 repaired");
    assert_eq!(ns(trace.span("accept :8080").start), 35, "its identity says when it was opened");
    assert!(trace.describe("accept :8080").events.is_empty());
}

#[test]
fn a_late_event_does_not_reopen_a_connection() {
    Story::new()
        .connection(2, 20, Change::Opened, connect("10.0.0.9:80"))
        .connection(2, 20, Change::Closed, connect("10.0.0.9:80"))
        .connection(2, 20, Change::Established, connect("10.0.0.9:80"))
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ connect 10.0.0.9:80");
}

#[test]
fn a_connection_with_an_unknown_owner_is_a_child_of_the_root() {
    Story::new()
        .connection(77, 20, Change::Opened, connect("10.0.0.9:80"))
        .connection(77, 20, Change::Closed, connect("10.0.0.9:80"))
        .exit(2, 0)
        .expect_tree("sh exit=0\n└─ connect 10.0.0.9:80 repaired");
}

#[test]
fn a_closed_socket_keeps_its_ends() {
    let forgotten = Connection { local: "0.0.0.0:0".parse().unwrap(), ..connect("10.0.0.9:80") };
    let trace = Story::new()
        .connection(2, 20, Change::Established, connect("10.0.0.9:80"))
        .connection(2, 20, Change::Closed, forgotten)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.attribute("connect 10.0.0.9:80", "network.local.port"), Some(Value::Int(40000)));
}

#[test]
fn a_socket_that_was_never_bound_has_no_local_address() {
    let unbound = Connection { local: "0.0.0.0:0".parse().unwrap(), ..connect("10.0.0.9:80") };
    let trace = Story::new().connection(2, 20, Change::Opened, unbound).exit(2, 0).finish();
    for key in ["network.local.address", "network.local.port"] {
        assert_eq!(trace.attribute("connect 10.0.0.9:80", key), None);
    }
}

#[test]
fn events_after_the_end_are_ignored() {
    let mut tracer = story::tracer(&[]);
    let process = Identity { tgid: 2, start: Ktime(10) };
    tracer.handle(Event::Fork { process, parent: process, is_root: true });
    tracer.finish(Ktime(20), Losses::default());
    tracer.handle(Event::Exit {
        at: Ktime(30),
        process,
        parent: process,
        status: ExitStatus::Code(1),
        is_oom_victim: false,
        usage: None,
    });
    tracer.finish(Ktime(40), Losses::default());
    let spans: Vec<_> = std::iter::from_fn(|| tracer.poll_span()).collect();
    assert_eq!(spans.len(), 1);
    assert_eq!(ns(spans[0].end), 20);
}

#[test]
fn memory_depends_on_live_subjects_only() {
    let mut tracer = story::tracer(&[]);
    let root = Identity { tgid: 2, start: Ktime(1) };
    tracer.handle(Event::Fork { process: root, parent: root, is_root: true });
    for i in 0..20_000 {
        let process = Identity { tgid: 3 + i % 100, start: Ktime(10 + u64::from(i)) };
        tracer.handle(Event::Fork { process, parent: root, is_root: false });
        let at = Ktime(10 + u64::from(i));
        tracer.handle(Event::Exit {
            at,
            process,
            parent: root,
            status: ExitStatus::Code(0),
            is_oom_victim: false,
            usage: None,
        });
        assert!(tracer.poll_span().is_some());
        assert_eq!(tracer.live_processes(), 1);
    }
}
