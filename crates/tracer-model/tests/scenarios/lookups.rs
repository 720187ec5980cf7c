//! Name lookups, and the names that they give to connections.

use tracer_model::{
    Value,
    event::{Change, Image, Namespaces, Strings},
};

use crate::story::{Story, connect, flow, ns, string};

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
    // The first unreadable answer can belong to a.test or to b.test.
    assert_eq!(trace.attribute("lookup a.test", "error.type"), None);
    assert_eq!(trace.attribute("lookup a.test", "process_tracer.dns.response_code"), None);
    assert_eq!(trace.attribute("lookup b.test", "process_tracer.dns.response_code"), string("NOERROR"));
    // The process that asked for c.test got no answer. The question for d.test was asked again, without an answer.
    for name in ["lookup c.test", "lookup d.test"] {
        assert_eq!(trace.attribute(name, "error.type"), string("no_answer"));
    }
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
