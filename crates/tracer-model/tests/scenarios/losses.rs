//! Lost events, the certificate, and the end of a trace.

use tracer_model::{
    Event, ExitStatus, Identity, Ktime, Losses, Value,
    event::{Image, Strings},
    losses::Cause,
    semconv::describe,
};

use crate::story::{CALLER_SPAN, ROOT_SPAN, Story, ns, string};

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
        // These names are in the last line of a run, but not in the trace.
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
fn events_after_the_end_are_ignored() {
    let mut tracer = crate::story::tracer(&[]);
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
    let mut tracer = crate::story::tracer(&[]);
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
