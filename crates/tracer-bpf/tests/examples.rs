//! Runs the example. This needs root.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/ebpf_events.rs"]
mod events;

use std::process::Command;

use tracer_model::{Event, ExitStatus};

#[test]
fn the_example_reports_forks_execs_and_exits_of_a_command() {
    let mut command = Command::new("sh");
    command.args(["-c", "true; /bin/true; exit 3"]);
    let (mut forks, mut execs, mut exits) = (0, Vec::new(), Vec::new());
    let status = events::events_of(command, |event| match event {
        Event::Fork { .. } => forks += 1,
        Event::Exec { image, .. } => execs.push(image.name().to_owned()),
        Event::Exit { status, .. } => exits.push(status),
        _ => {}
    });
    assert_eq!(status.unwrap(), ExitStatus::Code(3));
    assert_eq!((forks, execs), (2, vec!["sh".to_owned(), "true".to_owned()]));
    assert_eq!(exits, [ExitStatus::Code(0), ExitStatus::Code(3)]);
}
