//! Connections, flows and lookups that the user's rules leave out.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod story;

use std::time::SystemTime;

use story::{Story, accept, connect, dns, flow, settings};
use tracer_model::{
    Settings, Span,
    event::{Change, Direction, Transport},
    expression::Failure,
    judge::Rules,
    screen::{Screen, Traffic},
    span::Subject,
};

/// Drops what this function says.
struct By(fn(&Traffic<'_>) -> bool);

impl std::fmt::Debug for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("By")
    }
}

impl Screen for By {
    fn drops(&mut self, _: SystemTime, traffic: &Traffic<'_>) -> bool {
        self.0(traffic)
    }

    fn failures(&self) -> Vec<Failure<'_>> {
        Vec::new()
    }
}

fn screened(drops: fn(&Traffic<'_>) -> bool) -> Story {
    let rules = Rules { screen: Some(Box::new(By(drops))), ..Rules::default() };
    Story::of(Settings { rules, ..settings(&[]) }).root(2).exec(2, "/bin/curl")
}

#[test]
fn connections_flows_and_lookups_are_left_out() {
    let story = screened(|traffic| match traffic.transport {
        Transport::Tcp => {
            (traffic.peer.port(), traffic.direction, traffic.process, traffic.local.port())
                == (80, Direction::Connect, "curl", 40000)
        }
        Transport::Udp => traffic.host == Some("drop.example") || traffic.peer.port() == 123,
    });
    let asker = story.identity(2);
    story
        .connection(2, 1, Change::Opened, connect("10.0.0.9:80"))
        .connection(2, 2, Change::Opened, connect("10.0.0.9:443"))
        .connection(2, 1, Change::Closed, connect("10.0.0.9:80"))
        .connection(2, 2, Change::Closed, connect("10.0.0.9:443"))
        .flow(2, 1, true, flow(1, "10.0.0.1:1", "10.0.0.9:123"))
        .flow(2, 2, true, flow(1, "10.0.0.1:2", "10.0.0.9:53"))
        .handle(dns(tracer_model::Ktime(50), asker, 1, "drop.example", None))
        .handle(dns(tracer_model::Ktime(60), asker, 2, "keep.example", None))
        // At the end of the trace.
        .connection(2, 3, Change::Opened, connect("10.0.0.9:80"))
        .flow(2, 3, false, flow(1, "10.0.0.1:3", "10.0.0.8:123"))
        .exit(2, 0)
        .expect_tree("curl exit=0\n├─ udp 10.0.0.9:53 1:2\n├─ connect 10.0.0.9:443\n└─ lookup keep.example");
}

/// A connection between two processes of the tree has two spans, which link to each other. One of them is left out.
#[test]
fn no_span_links_to_one_that_is_left_out() {
    let both = |story: Story| {
        let client = connect("10.0.0.2:80");
        let server =
            tracer_model::event::Connection { peer: client.local, local: client.peer, ..accept("10.0.0.2:80") };
        story
            .connection(2, 1, Change::Opened, client)
            .connection(2, 2, Change::Established, server)
            .connection(2, 1, Change::Established, client)
            .connection(2, 1, Change::Closed, client)
            .connection(2, 2, Change::Closed, server)
            .exit(2, 0)
            .finish()
    };
    let connections = |spans: &[Span]| -> Vec<(Direction, usize)> {
        let found = spans.iter().filter_map(|span| match &span.subject {
            Subject::Connection(connection) => Some((connection.connection.direction, span.links.len())),
            _ => None,
        });
        found.collect()
    };
    let (connect, accept) = (Direction::Connect, Direction::Accept);
    assert_eq!(connections(&both(screened(|_| false)).spans), [(connect, 1), (accept, 1)]);
    let first = both(screened(|traffic| traffic.direction == Direction::Connect));
    assert_eq!(connections(&first.spans), [(accept, 0)]);
    let second = both(screened(|traffic| traffic.direction == Direction::Accept));
    assert_eq!(connections(&second.spans), [(connect, 0)]);
    assert!(connections(&both(screened(|_| true)).spans).is_empty());
}
