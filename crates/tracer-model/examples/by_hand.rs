//! A trace made by hand: `make` starts `cc`, which fails. Run it with `cargo run -p tracer-model --example by_hand`.

use std::{
    io::{self, Write, stdout},
    sync::Arc,
    time::SystemTime,
};

use tracer_model::{
    Accounts, Anchor, Captured, Errors, Event, ExitStatus, Hosts, Identity, Ktime, Losses, Settings, Span, SpanId,
    TraceId, Tracer, event::Image, expression::Attributes, redact::Policy, semconv,
};

fn main() -> io::Result<()> {
    for span in trace() {
        writeln!(stdout(), "{}", span.name())?;
        for (key, value) in semconv::attributes(&span) {
            writeln!(stdout(), "  {key} = {:?}", value.into_owned())?;
        }
    }
    Ok(())
}

/// Returns the spans of the trace.
pub(crate) fn trace() -> Vec<Span> {
    let mut tracer = Tracer::new(settings());
    let shell = Identity { tgid: 1, start: Ktime(0) };
    let make = Identity { tgid: 2, start: Ktime(10) };
    let cc = Identity { tgid: 3, start: Ktime(20) };
    tracer.handle(Event::Fork { process: make, parent: shell, is_root: true });
    tracer.handle(Event::Fork { process: cc, parent: make, is_root: false });
    tracer.handle(exec(Ktime(30), cc, make, "/usr/bin/cc"));
    tracer.handle(exit(Ktime(40), cc, make, 1));
    tracer.handle(exit(Ktime(50), make, shell, 2));
    tracer.finish(Ktime(60), Losses::default());
    std::iter::from_fn(|| tracer.poll_span()).collect()
}

fn exec(at: Ktime, process: Identity, parent: Identity, file: &str) -> Event {
    let image = Image {
        file: file.to_owned(),
        arguments: [file, "hello.c"].iter().collect(),
        argument_count: 2,
        ..Image::default()
    };
    Event::Exec { at, process, parent, image: Arc::new(image), environment: None, context: None }
}

fn exit(at: Ktime, process: Identity, parent: Identity, code: u8) -> Event {
    Event::Exit { at, process, parent, status: ExitStatus::Code(code), is_oom_victim: false, usage: None }
}

fn settings() -> Settings {
    Settings {
        trace_id: TraceId([1; 16]),
        trace_id_source: "random".to_owned(),
        root_span_id: SpanId([1; 8]),
        root_parent_id: None,
        root_name: "make".to_owned(),
        root_label: None,
        anchor: Anchor { ktime: Ktime(0), wall: SystemTime::UNIX_EPOCH },
        seed: [0; 32],
        attributes: Attributes::default(),
        arguments: Policy::default(),
        captured: Captured::default(),
        own_name: "process-tracer".to_owned(),
        accounts: Accounts::default(),
        cpus: 2,
        hosts: Hosts::default(),
        peer_names: tracer_model::PeerNames::default(),
        version: "0.0.0".to_owned(),
        errors: Errors::All,
        rules: tracer_model::judge::Rules::default(),
    }
}
