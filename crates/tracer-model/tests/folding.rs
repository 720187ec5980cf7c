//! Processes without a span: the rules or `min_duration` leave them out.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod story;

use std::{sync::Arc, time::Duration};

use story::{ROOT_SPAN, Story, Trace, connect, settings};
use tracer_model::{
    Settings, Value,
    event::Change,
    expression::Failure,
    judge::{Fate, Group, Judge, Lineage, Rules, Ruling, Subject},
};

/// Judges by the name of the program.
#[derive(Debug)]
struct ByName;

impl Judge for ByName {
    fn judge(&mut self, subject: &Subject<'_>) -> Ruling {
        let drop = |always, nanoseconds: Option<u64>| Ruling {
            fate: Fate::Drop { always, shorter_than: nanoseconds.map(Duration::from_nanos) },
            ..Ruling::default()
        };
        let has_make_above = subject.lineage.0.first().is_some_and(|bits| *bits == 1);
        match subject.image.name() {
            "drop" => drop(false, None),
            "always" => drop(true, None),
            "short" => drop(false, Some(100)),
            "named" => Ruling {
                name: Some(format!("named {}", subject.pid).into()),
                group: Some(Group { name: "g".into(), has_children: true }),
                attributes: vec![("below_make".to_owned(), Value::Bool(has_make_above))],
                ..Ruling::default()
            },
            "alone" => Ruling { group: Some(Group { name: "a".into(), has_children: false }), ..Ruling::default() },
            _ => Ruling::default(),
        }
    }

    fn judges_forks(&self) -> bool {
        true
    }

    fn may_drop(&self) -> bool {
        true
    }

    fn needs_environment(&self) -> bool {
        false
    }

    fn lineage_of(&self, names: &[String]) -> Lineage {
        names.iter().fold(Lineage::default(), |lineage, name| self.extend(&lineage, name))
    }

    fn extend(&self, above: &Lineage, name: &str) -> Lineage {
        if name == "make" { Lineage(Arc::new([1])) } else { above.clone() }
    }

    fn failures(&self) -> Vec<Failure<'_>> {
        Vec::new()
    }
}

fn judged() -> Story {
    let rules = Rules { judge: Some(Box::new(ByName)), ..Rules::default() };
    Story::of(Settings { rules, ..settings(&[]) }).root(2).exec(2, "/bin/sh")
}

fn with_min_duration(nanoseconds: u64) -> Story {
    let rules = Rules { min_duration: Duration::from_nanos(nanoseconds), ..Rules::default() };
    Story::of(Settings { rules, ..settings(&[]) }).root(2).exec(2, "/bin/sh")
}

/// The pid of each span that counts processes without a span, and their number.
fn folded(trace: &Trace) -> Vec<(u32, u64)> {
    let processes = trace.spans.iter().filter_map(|span| span.process());
    processes.map(|process| (process.pid, process.folded.processes)).filter(|(_, count)| *count > 0).collect()
}

#[test]
fn children_of_a_dropped_process_hang_under_the_nearest_kept_one() {
    let trace = judged()
        .fork(2, 3)
        .exec(3, "/bin/make")
        .fork(3, 4)
        .exec(4, "/bin/drop")
        .fork(4, 5)
        .exec(5, "/bin/drop")
        .fork(5, 6)
        .exec(6, "/bin/cc")
        .connection(5, 1, Change::Opened, connect("10.0.0.1:80"))
        .exit(6, 0)
        .exit(5, 0)
        .connection(5, 1, Change::Closed, connect("10.0.0.1:80"))
        .exit(4, 0)
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ make exit=0\n   ├─ connect 10.0.0.1:80\n   └─ cc exit=0");
    assert_eq!(folded(&trace), [(3, 2)]);
    assert_eq!(trace.root().certificate.as_ref().unwrap().processes, 3);
}

#[test]
fn a_dropped_process_that_fails_is_a_leaf_unless_it_is_always_dropped() {
    let trace = judged()
        .fork(2, 3)
        .exec(3, "/bin/drop")
        .fork(3, 4)
        .exec(4, "/bin/cc")
        .exit(4, 1)
        .exit(3, 1)
        .fork(2, 5)
        .exec(5, "/bin/always")
        .exit(5, 1)
        .exit(2, 1)
        .finish();
    assert_eq!(trace.tree(), "sh exit=1\n├─ drop exit=1\n└─ cc exit=1");
    assert_eq!(folded(&trace), [(2, 1)]);
    let origin = trace.root().certificate.as_ref().unwrap().failure.as_ref().unwrap().span_id;
    assert!(trace.spans.iter().any(|span| span.span_id == origin));
}

#[test]
fn a_short_process_has_no_span_unless_it_failed_or_has_exported_spans_below_it() {
    let story = with_min_duration(50)
        .fork(2, 3)
        .exec(3, "/bin/quick")
        .exit(3, 0)
        .fork(2, 4)
        .exec(4, "/bin/failed")
        .exit(4, 1)
        .fork(2, 5)
        .exec(5, "/bin/parent")
        .fork(5, 6)
        .exec(6, "/bin/failed")
        .exit(6, 1)
        .exit(5, 0)
        .fork(2, 7)
        .exec(7, "/bin/slow")
        .fork(7, 8)
        .exit(8, 0)
        .exec(7, "/bin/slow")
        .exit(7, 0);
    let trace = story.exit(2, 0).finish();
    let tree = "sh exit=0\n├─ failed exit=1\n├─ parent exit=0\n│  └─ failed exit=1\n└─ slow exit=0";
    assert_eq!(trace.tree(), tree);
    assert_eq!(folded(&trace), [(7, 1), (2, 1)]);
}

#[test]
fn a_child_that_outlives_its_parent_hangs_under_a_span_that_exists() {
    let mut story =
        with_min_duration(1_000).fork(2, 3).exec(3, "/bin/quick").fork(3, 4).exec(4, "/bin/daemon").exit(3, 0);
    // The model remembers few ended processes.
    for pid in 10_000..20_000 {
        story = story.fork(2, pid).exec(pid, "/bin/true").exit(pid, 0);
    }
    let trace = story.connection(4, 1, Change::Opened, connect("10.0.0.1:80")).exit(4, 0).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ daemon exit=0\n   └─ connect 10.0.0.1:80 unfinished");
    assert_eq!(folded(&trace), [(2, 10_001)]);
}

#[test]
fn a_process_with_exported_spans_below_it_is_kept_when_a_later_image_would_be_dropped() {
    let trace = judged()
        .fork(2, 3)
        .exec(3, "/bin/make")
        .fork(3, 4)
        .exec(4, "/bin/cc")
        .exit(4, 0)
        .exec(3, "/bin/always")
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ always exit=0\n   └─ cc exit=0");
}

#[test]
fn a_rule_limits_its_drop_to_short_processes() {
    let story = judged().fork(2, 3).exec(3, "/bin/short").exit(3, 0).fork(2, 4).exec(4, "/bin/short");
    let (story, _) = story.wait(1);
    let trace = story.exit(4, 0).exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ short exit=0");
    assert_eq!(folded(&trace), [(2, 1)]);
}

#[test]
fn the_root_is_never_dropped() {
    let rules = Rules { judge: Some(Box::new(ByName)), min_duration: Duration::from_secs(1), ..Rules::default() };
    let story = Story::of(Settings { rules, ..settings(&[]) }).root(2).exec(2, "/bin/always");
    let trace = story.exit(2, 0).finish();
    assert_eq!((trace.tree().as_str(), trace.spans[0].span_id), ("always exit=0", ROOT_SPAN));
}

#[test]
fn a_ruling_names_and_groups_processes_and_their_forks() {
    let trace = judged()
        .fork(2, 3)
        .exec(3, "/bin/make")
        .fork(3, 4)
        .exec(4, "/bin/named")
        .fork(4, 5)
        .fork(4, 6)
        .exec(6, "/bin/other")
        .exit(6, 0)
        .exit(5, 0)
        .exit(4, 0)
        .fork(3, 7)
        .exec(7, "/bin/alone")
        .fork(7, 8)
        .exec(8, "/bin/child")
        .exit(8, 0)
        .exit(7, 0)
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    let group = |name: &str| trace.process(name).group.as_deref().map(str::to_owned);
    assert_eq!(group("named 4").as_deref(), Some("g"));
    assert_eq!(group("named 5").as_deref(), Some("g"));
    assert_eq!(group("other").as_deref(), Some("g"));
    assert_eq!(group("alone").as_deref(), Some("a"));
    assert_eq!((group("child"), group("make")), (None, None));
    assert_eq!(trace.attribute("named 4", "below_make"), Some(Value::Bool(true)));
}
