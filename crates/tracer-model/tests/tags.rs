//! Tags: attributes that a command of the user gives to processes and their descendants.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod story;

use std::sync::{Arc, Mutex};

use story::{Story, Trace, settings};
use tracer_model::{
    Event, Identity, Ktime, Losses, Settings, Span, Tracer, Value,
    event::Image,
    expression::Failure,
    judge::{Fate, Judge, Lineage, Rules, Ruling, Subject},
    tags::{PREFIX, Snapshot, Tagged},
};

/// The tags of a process, as `key=value`.
fn tags(trace: &Trace, pid: u32) -> Vec<String> {
    let is_it = |span: &&Span| span.process().is_some_and(|process| process.pid == pid);
    let span = trace.spans.iter().find(is_it).expect("a span");
    let tags = span.attributes.iter().filter_map(|(key, value)| match value {
        Value::String(value) => Some(format!("{}={value}", key.strip_prefix(PREFIX)?)),
        _ => None,
    });
    tags.collect()
}

#[test]
fn a_tag_belongs_to_a_process_and_its_descendants() {
    let trace = Story::new()
        .fork(2, 3)
        .exec(3, "/bin/make")
        .fork(3, 4)
        .tags(&[(3, "app", "shop"), (3, "team", "a"), (4, "app", "cart"), (99, "app", "none")])
        .fork(4, 5)
        .exec(5, "/bin/cc")
        .exit(4, 0)
        .fork(5, 6)
        .exit(6, 0)
        .exit(5, 0)
        // Later tags replace those of the same process.
        .tags(&[(3, "app", "shop2")])
        .fork(3, 7)
        .exit(7, 0)
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(tags(&trace, 4), ["app=cart", "team=a"]);
    assert_eq!(tags(&trace, 5), ["app=cart", "team=a"]);
    assert_eq!(tags(&trace, 6), ["app=cart", "team=a"]);
    assert_eq!(tags(&trace, 7), ["app=shop2"]);
    assert_eq!(tags(&trace, 3), ["app=shop2"]);
    assert_eq!(tags(&trace, 2), [""; 0]);
}

#[test]
fn tags_come_with_the_users_attributes() {
    let trace = Story::with_attributes(&["team='x'"]).tags(&[(2, "app", "shop")]).exit(2, 0).finish();
    assert_eq!(trace.attribute("sh", "team"), story::string("x"));
    assert_eq!(trace.attribute("sh", "process_tracer.tag.app"), story::string("shop"));
}

#[test]
fn pids_of_another_namespace_tag_nothing() {
    let mut tracer = Tracer::new(settings(&[]));
    let root = Identity { tgid: 2, start: Ktime(10) };
    let parent = Identity { tgid: 1, start: Ktime(0) };
    tracer.handle(Event::Fork { process: root, parent, is_root: true });
    let processes = vec![Tagged { pid: 2, tags: vec![("app".to_owned(), "shop".to_owned())] }];
    tracer.tag(Snapshot { at: Ktime(20), root_pid: 7, processes });
    assert!(tracer.has_foreign_tags());
    tracer.finish(Ktime(30), Losses::default());
    assert!(tracer.poll_span().expect("the root").attributes.is_empty());
}

#[test]
fn a_reused_pid_has_no_tags_of_its_former_process() {
    let trace = Story::new()
        .fork(2, 3)
        .tags(&[(3, "app", "shop")])
        .exit(3, 0)
        .fork(2, 3)
        .exec(3, "/bin/new")
        .exit(3, 0)
        .exit(2, 0)
        .finish();
    let new = trace.span("new");
    assert!(new.attributes.is_empty(), "{new:#?}");
}

/// Drops processes that have no tag `app`. It keeps the environment of each process that it judges.
#[derive(Debug, Default)]
struct Tagless(Arc<Mutex<Vec<Option<String>>>>);

impl Judge for Tagless {
    fn judge(&mut self, subject: &Subject<'_>) -> Ruling {
        let fate_without_tags = Fate::Drop { always: true, shorter_than: None };
        let fate = match subject.tags {
            Some(tags) if tags.iter().all(|(key, _)| key != "process_tracer.tag.app") => fate_without_tags,
            _ => Fate::Keep,
        };
        let environment = subject.environment.map(|variables| variables.iter().collect::<Vec<_>>().join(" "));
        self.0.lock().unwrap().push(environment);
        let name = subject.tags.map(|tags| format!("{} tags", tags.len()).into());
        Ruling { name, fate, fate_without_tags, ..Ruling::default() }
    }

    fn judges_forks(&self) -> bool {
        false
    }

    fn judges_tags(&self) -> bool {
        true
    }

    fn may_drop(&self) -> bool {
        true
    }

    fn needs_environment(&self) -> bool {
        true
    }

    fn lineage_of(&self, _: &[String]) -> Lineage {
        Lineage::default()
    }

    fn extend(&self, above: &Lineage, _: &str) -> Lineage {
        above.clone()
    }

    fn failures(&self) -> Vec<Failure<'_>> {
        Vec::new()
    }
}

#[test]
fn a_rule_over_tags_decides_at_the_exit() {
    let judged = Arc::default();
    let rules = Rules { judge: Some(Box::new(Tagless(Arc::clone(&judged)))), ..Rules::default() };
    let trace = Story::of(Settings { rules, ..settings(&[]) })
        .root(2)
        .exec(2, "/bin/sh")
        .fork(2, 3)
        .exec(3, "/bin/a")
        .fork(2, 4)
        .exec(4, "/bin/b")
        .fork(2, 5)
        .exec(5, "/bin/c")
        .tags(&[(3, "app", "shop"), (5, "app", "shop")])
        .exit(3, 0)
        .exit(4, 0)
        .exit(2, 0)
        .finish();
    assert_eq!(trace.tree(), "sh exit=0\n├─ 1 tags exit=0\n└─ 1 tags unfinished");
    assert_eq!(trace.root().folded.processes, 1);
    // Only the two processes with tags are judged twice.
    assert_eq!(judged.lock().unwrap().len(), 4 + 2);
}

#[test]
fn the_environment_of_a_former_image_does_not_count() {
    let judged = Arc::default();
    let rules = Rules { judge: Some(Box::new(Tagless(Arc::clone(&judged)))), ..Rules::default() };
    let story = Story::of(Settings { rules, ..settings(&[]) }).root(2).environment(&["STAGE=prod"]).exec(2, "/bin/sh");
    let (process, parent) = (story.identity(2), story.identity(1));
    let image = Arc::new(Image { file: "/bin/su".to_owned(), ..Image::default() });
    let unreadable = Event::Exec { at: Ktime(1000), process, parent, image, environment: None, context: None };
    story.handle(unreadable).tags(&[(2, "app", "shop")]).exit(2, 0).finish();
    assert_eq!(*judged.lock().unwrap(), [Some("STAGE=prod".to_owned()), None, None]);
}
