//! The properties of any trace, even if most events are missing.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod story;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::Index};
use story::{CALLER_SPAN, ROOT_SPAN, accept, connect, dns, flow, settings};
use tracer_model::{
    Errors, Event, ExitStatus, Identity, Ktime, Losses, Settings, Span, SpanId, Tracer,
    calls::{Call, UnixConnectSpan},
    event::{Change, ConnectionId, FlowId, Image, Strings},
    expression::{Attribute, Attributes, Failure},
    judge::{self, Fate, Judge, Lineage, Rules, Ruling},
    semconv::{describe, error},
    span::Subject,
};

/// A process with one of a few pids. Each pid belongs to a few processes, one after the other.
fn identity() -> impl Strategy<Value = Identity> {
    (1_u32..8, 0_u64..4).prop_map(|(tgid, start)| Identity { tgid, start: Ktime(100 * start) })
}

fn time() -> impl Strategy<Value = Ktime> {
    (0_u64..1000).prop_map(Ktime)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![Just(Change::Opened), Just(Change::Established), Just(Change::Owned), Just(Change::Closed)]
}

fn event() -> impl Strategy<Value = Event> {
    let fork = (identity(), identity(), prop::bool::weighted(0.1)).prop_map(|(process, parent, is_root)| Event::Fork {
        process,
        parent,
        is_root,
    });
    let exec = (time(), identity(), identity(), "[a-c]{1,3}").prop_map(|(at, process, parent, file)| {
        let image = Image { file, ..Image::default() }.into();
        Event::Exec { at, process, parent, image, environment: None, context: None }
    });
    let exit = (time(), identity(), identity(), any::<u8>()).prop_map(|(at, process, parent, code)| Event::Exit {
        at,
        process,
        parent,
        status: ExitStatus::Code(code),
        is_oom_victim: false,
        usage: None,
    });
    let connection = (time(), 0_u64..4, time(), identity(), change(), any::<bool>()).prop_map(
        |(at, socket, opened, owner, change, is_accept)| {
            let connection = if is_accept { accept("10.0.0.1:80") } else { connect("10.0.0.1:80") };
            Event::Connection { at, id: ConnectionId { socket, opened }, owner, change, connection }
        },
    );
    let dns = (time(), identity(), 0_u16..3, "[ab]", prop::bool::ANY)
        .prop_map(|(at, asker, id, name, is_answer)| dns(at, asker, id, &name, is_answer.then_some("10.0.0.1")));
    let failed = (time(), identity(), identity(), "[ab]/[ab]")
        .prop_map(|(at, process, parent, file)| Event::FailedExec { at, process, parent, file, error: 2 });
    let udp = (time(), time(), 0_u32..4, identity(), any::<bool>(), any::<bool>()).prop_map(
        |(at, opened, slot, owner, is_over, is_answer)| {
            let (one, other) = ("10.0.0.1:80", "10.0.0.2:9000");
            let (local, peer) = if is_answer { (other, one) } else { (one, other) };
            let id = FlowId { slot, generation: 0 };
            Event::Flow { at, id, owner, is_over, flow: flow(opened.0, local, peer) }
        },
    );
    let unix = (time(), identity(), identity(), any::<bool>()).prop_map(|(at, process, parent, is_refused)| {
        let connect = UnixConnectSpan { path: "@x".to_owned(), error: is_refused.then_some(111) };
        Event::Call { at, process, parent, call: connect.into() }
    });
    prop_oneof![3 => fork, 2 => exec, 2 => exit, 3 => connection, 2 => dns, 1 => failed, 2 => udp, 1 => unix]
}

fn spans_of(events: &[Event], end: Ktime, losses: Losses) -> Vec<Span> {
    spans_with(Errors::All, events, end, losses)
}

fn spans_with(errors: Errors, events: &[Event], end: Ktime, losses: Losses) -> Vec<Span> {
    spans_by(Settings { errors, ..settings(&[]) }, events, end, losses)
}

fn spans_by(settings: Settings, events: &[Event], end: Ktime, losses: Losses) -> Vec<Span> {
    let mut tracer = Tracer::new(settings);
    let mut spans = Vec::new();
    for event in events {
        tracer.handle(event.clone());
        spans.extend(std::iter::from_fn(|| tracer.poll_span()));
    }
    tracer.finish(end, losses);
    spans.extend(std::iter::from_fn(|| tracer.poll_span()));
    spans
}

/// Checks that each span occurs once, has its parent and ends after it starts. No event is before the start. The root is
/// last, and its counts are right.
fn assert_consistent(spans: &[Span]) {
    let ids: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "a span id recurs");
    for span in spans {
        assert!(span.end > span.start, "{span:?} does not end after it starts");
        assert!(describe(span).events.iter().all(|event| event.at >= span.start), "an event precedes {span:?}");
        if span.span_id != ROOT_SPAN {
            assert!(span.parent_id.is_some_and(|parent| ids.contains(&parent)), "{span:?} has no parent");
        }
    }
    let parents: HashMap<SpanId, Option<SpanId>> = spans.iter().map(|span| (span.span_id, span.parent_id)).collect();
    for span in spans {
        let mut above = span.span_id;
        for _ in 0..spans.len() {
            above = parents.get(&above).copied().flatten().unwrap_or(above);
        }
        assert_eq!(above, CALLER_SPAN, "{span:?} hangs in a cycle");
    }
    let root = spans.last().unwrap();
    assert_eq!((root.span_id, root.parent_id), (ROOT_SPAN, Some(CALLER_SPAN)));
    let processes = spans.iter().filter(|span| matches!(span.subject, Subject::Process(_))).count() as u64;
    let certificates: Vec<_> = spans
        .iter()
        .filter_map(|span| match &span.subject {
            Subject::Process(process) => process.certificate.as_ref(),
            _ => None,
        })
        .collect();
    assert_eq!(certificates.len(), 1);
    let lookups = spans.iter().filter(|span| matches!(span.subject, Subject::Lookup(_))).count() as u64;
    let flows = spans.iter().filter(|span| matches!(span.subject, Subject::Flow(_))).count() as u64;
    let certificate = certificates[0];
    assert_eq!((certificate.processes, certificate.lookups, certificate.flows), (processes, lookups, flows));
    let unix_connects =
        spans.iter().filter(|span| matches!(span.subject, Subject::Call(Call::UnixConnect(_)))).count() as u64;
    assert_eq!(certificate.calls.unix_connects, unix_connects);
    assert_eq!(certificate.spans(), spans.len() as u64);
    assert_eq!(certificate.connections, spans.len() as u64 - processes - lookups - flows - unix_connects);
}

/// Checks that a process ends once: no two spans have the same pid and start.
fn assert_each_process_once(spans: &[Span]) {
    let mut seen = HashSet::new();
    for span in spans {
        if let Subject::Process(process) = &span.subject {
            assert!(seen.insert((process.pid, span.start)), "{span:?} is reported twice");
        }
    }
}

/// Drops processes by the first letter of their program.
#[derive(Debug)]
struct ByLetter;

impl Judge for ByLetter {
    fn judge(&mut self, subject: &judge::Subject<'_>) -> Ruling {
        let fate = match subject.image.name().chars().next() {
            Some('a') => Fate::Drop { always: true, shorter_than: None },
            Some('b') => Fate::Drop { always: false, shorter_than: None },
            _ => Fate::Drop { always: false, shorter_than: Some(Duration::from_nanos(300)) },
        };
        Ruling { fate, ..Ruling::default() }
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

    fn lineage_of(&self, _: &[String]) -> Lineage {
        Lineage::default()
    }

    fn extend(&self, _: &Lineage, _: &str) -> Lineage {
        Lineage::default()
    }

    fn failures(&self) -> Vec<Failure<'_>> {
        Vec::new()
    }
}

proptest! {
    #[test]
    fn processes_without_a_span_are_counted_and_no_parent_is_missing(
        events in vec(event(), 0..60),
        end in time(),
        min_duration in 0_u64..400,
        is_judged in any::<bool>(),
        waits in any::<bool>(),
    ) {
        let judge = is_judged.then(|| Box::new(ByLetter) as Box<dyn Judge>);
        let rules = Rules { judge, min_duration: Duration::from_nanos(min_duration), ..Rules::default() };
        let errors = if waits { Errors::Unhandled } else { Errors::All };
        let kept = spans_by(Settings { rules, errors, ..settings(&[]) }, &events, end, Losses::default());
        assert_consistent(&kept);
        assert_each_process_once(&kept);
        let all = spans_of(&events, end, Losses::default());
        let count = |spans: &[Span]| -> u64 {
            spans.iter().filter_map(Span::process).map(|process| 1 + process.folded.processes).sum()
        };
        assert_eq!(count(&kept), count(&all));
        let others = |spans: &[Span]| spans.iter().filter(|span| span.process().is_none()).count();
        assert_eq!(others(&kept), others(&all));
    }

    #[test]
    fn any_sequence_of_events_gives_a_consistent_trace(
        events in vec(event(), 0..60),
        end in time(),
        lost_exits in 0_u64..2,
    ) {
        let spans = spans_of(&events, end, Losses { exits: lost_exits, ..Losses::default() });
        assert_consistent(&spans);
        assert_each_process_once(&spans);
    }

    #[test]
    fn a_span_that_waits_comes_out_once_and_differs_only_in_whether_it_is_handled(
        events in vec(event(), 0..60),
        end in time(),
        lost_exits in 0_u64..2,
    ) {
        let losses = Losses { exits: lost_exits, ..Losses::default() };
        let mut all = spans_of(&events, end, losses.clone());
        let mut unhandled = spans_with(Errors::Unhandled, &events, end, losses);
        assert_consistent(&unhandled);
        for span in &mut unhandled {
            assert!(!span.is_handled || error(&Span { is_handled: false, ..span.clone() }).is_some(), "{span:?} did not fail");
            span.is_handled = false;
        }
        for spans in [&mut all, &mut unhandled] {
            spans.sort_by_key(|span| span.span_id);
        }
        assert_eq!(unhandled, all);
    }

    #[test]
    fn each_process_in_an_event_has_a_span(events in vec(event(), 0..60)) {
        let named: HashSet<(u32, u64)> = events
            .iter()
            .filter_map(|event| match event {
                Event::Fork { process, .. }
 | Event::Exec { process, .. }
 | Event::FailedExec { process, .. }
 | Event::Call { process, .. }
 | Event::Exit { process, .. } => {
                    Some((process.tgid, process.start.0))
                }
                Event::Connection { .. } | Event::Flow { .. } | Event::Dns { .. } => None,
            })
            .collect();
        let told: HashSet<ConnectionId> = events
            .iter()
            .filter_map(|event| match event {
                Event::Connection { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        let spans = spans_of(&events, Ktime(1000), Losses::default());
        let processes: HashSet<(u32, u64)> = spans
            .iter()
            .filter_map(|span| match &span.subject {
                Subject::Process(process) if process.pid > 0 => Some((process.pid, story::ns(span.start))),
                _ => None,
            })
            .collect();
        prop_assert_eq!(processes, named);
        let connections = spans.iter().filter(|span| matches!(span.subject, Subject::Connection(_))).count();
        prop_assert_eq!(connections, told.len());
        let flow_ids: HashSet<FlowId> = events
            .iter()
            .filter_map(|event| match event {
                Event::Flow { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        let flows = spans.iter().filter(|span| matches!(span.subject, Subject::Flow(_))).count();
        prop_assert_eq!(flows, flow_ids.len());
    }

    #[test]
    fn a_complete_history_gives_exactly_its_tree(steps in vec((any::<Index>(), 0_u8..4), 0..120)) {
        let mut history = History::new();
        for (which, what) in steps {
            history.step(which, what);
        }
        let (events, parents) = history.end();
        let spans = spans_of(&events, Ktime(u64::MAX / 2), Losses::default());
        assert_consistent(&spans);
        prop_assert_eq!(spans.len(), parents.len());
        prop_assert!(matches!(
            &spans.last().unwrap().subject,
            Subject::Process(root) if root.certificate.as_ref().unwrap().is_complete
        ));
        let pids: HashMap<SpanId, u32> = spans
            .iter()
            .map(|span| match &span.subject {
                Subject::Process(process) => (span.span_id, process.pid),
                _ => panic!("no connections were reported"),
            })
            .collect();
        for span in &spans {
            prop_assert!(!span.is_repaired && !span.is_unfinished);
            let parent = span.parent_id.and_then(|parent| pids.get(&parent).copied());
            prop_assert_eq!(parent, parents[&pids[&span.span_id]]);
        }
    }

    #[test]
    fn a_history_with_losses_has_each_process_once(
        steps in vec((any::<Index>(), 0_u8..4), 0..120),
        lost in vec(any::<Index>(), 0..40),
        repeated in vec(any::<Index>(), 0..10),
        swapped in vec(any::<Index>(), 0..20),
    ) {
        let mut history = History::new();
        for (which, what) in steps {
            history.step(which, what);
        }
        let (mut events, parents) = history.end();
        for index in lost {
            if !events.is_empty() {
                events.remove(index.index(events.len()));
            }
        }
        for index in repeated {
            if !events.is_empty() {
                let at = index.index(events.len());
                events.insert(at, events[at].clone());
            }
        }
        for index in swapped {
            if events.len() > 1 {
                let at = index.index(events.len() - 1);
                events.swap(at, at + 1);
            }
        }
        let spans = spans_of(&events, Ktime(u64::MAX / 2), Losses { exits: 1, ..Losses::default() });
        assert_consistent(&spans);
        assert_each_process_once(&spans);
        prop_assert!(spans.len() <= parents.len() + 1);
    }
}

/// A complete history in order. No pid is used twice. The processes run until a step ends them.
struct History {
    events: Vec<Event>,
    now: u64,
    alive: Vec<(Identity, Identity)>,
    parents: HashMap<u32, Option<u32>>,
}

impl History {
    fn new() -> Self {
        let outside = Identity { tgid: 1, start: Ktime(0) };
        let root = Identity { tgid: 2, start: Ktime(10) };
        let events = vec![Event::Fork { process: root, parent: outside, is_root: true }];
        Self { events, now: 10, alive: vec![(root, outside)], parents: HashMap::from([(2, None)]) }
    }

    fn step(&mut self, which: Index, what: u8) {
        self.now += 10;
        let at = Ktime(self.now);
        let which = which.index(self.alive.len());
        let (process, parent) = self.alive[which];
        match what {
            0 | 1 => {
                let child = Identity { tgid: 2 + self.parents.len() as u32, start: at };
                self.parents.insert(child.tgid, Some(process.tgid));
                self.alive.push((child, process));
                self.events.push(Event::Fork { process: child, parent: process, is_root: false });
            }
            2 => {
                let image = Image { file: format!("/bin/{}", self.now), ..Image::default() }.into();
                self.events.push(Event::Exec { at, process, parent, image, environment: None, context: None });
            }
            _ if self.alive.len() > 1 => self.exit(which),
            _ => {}
        }
    }

    fn exit(&mut self, which: usize) {
        self.now += 10;
        let (process, parent) = self.alive.swap_remove(which);
        self.events.push(Event::Exit {
            at: Ktime(self.now),
            process,
            parent,
            status: ExitStatus::Code(0),
            is_oom_victim: false,
            usage: None,
        });
    }

    fn end(mut self) -> (Vec<Event>, HashMap<u32, Option<u32>>) {
        while !self.alive.is_empty() {
            self.exit(self.alive.len() - 1);
        }
        (self.events, self.parents)
    }
}

/// Pieces of expressions, and some invalid ones.
fn expression() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "env",
            "args",
            "cmdline",
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            "#",
            ".",
            ",",
            ":",
            "?",
            "??",
            "|",
            "+",
            "-",
            "*",
            "/",
            "%",
            "**",
            "==",
            "<",
            "&&",
            "||",
            "!",
            "not ",
            " in ",
            " contains ",
            " matches ",
            " startsWith ",
            "..",
            "\"X\"",
            "'a'",
            "\"[\"",
            "0",
            "1",
            "-1",
            "9223372036854775807",
            "1.5",
            "1e308",
            "true",
            "nil",
            "filter",
            "map",
            "len",
            "join",
            "split",
            "trim",
            "int",
            "float",
            "string",
            "first",
            "last",
            "max",
            "sum",
            "let x = ",
            "; ",
            " ",
            "\\",
            "\"",
            "ä",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_expression_causes_a_panic(source in expression()) {
        if let Ok(attribute) = Attribute::compile(&format!("a={source}")) {
            let mut attributes: Attributes = [attribute].into_iter().collect();
            let arguments: Strings = ["cc", "-O2", "a.c", "", "ä"].into_iter().collect();
            let environment: Strings = ["X=1", "EMPTY=", "a=ä"].into_iter().collect();
            for environment in [Some(&environment), None] {
                // A map gives an attribute for each of its members.
                prop_assert!(attributes.evaluate(&arguments, environment, std::time::SystemTime::UNIX_EPOCH).len() <= 128);
            }
        }
    }
}
