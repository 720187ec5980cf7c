//! The cost of the programs' records in user space: decoding them, and the model. An event is a fork, an exec or an
//! exit.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../src/wire.rs"]
mod wire;

use std::{collections::VecDeque, hint::black_box, time::SystemTime};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tracer_bpf::Decoder;
use tracer_model::{
    Accounts, Anchor, Captured, Errors, Event, Hosts, Ktime, Settings, Span, SpanId, TraceId, Tracer, redact::Policy,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::wire::{RecordKind, TextPart};

const PROCESSES: u32 = 10_000;
/// The number of processes alive at once, as with `make -j`.
const ALIVE: usize = 32;
const EVENTS: u32 = 3 * PROCESSES;

const COMPILER: [(TextPart, &str); 5] = [
    (TextPart::File, "/usr/lib/gcc/x86_64-linux-gnu/12/cc1\0"),
    (TextPart::Executable, "cc1\x0012\0x86_64-linux-gnu\0gcc\0lib\0usr\0"),
    (TextPart::Directory, "src\0redis\0someone\0home\0"),
    (
        TextPart::Arguments,
        "cc1\0-quiet\0-I../deps/hiredis\0-I../deps/lua/src\0-O2\0-Wall\0-W\0-std=c11\0-dumpbase\0server.c\0-o\0server.s\0",
    ),
    (TextPart::Cgroup, "session-2.scope\0user-1000.slice\0user.slice\0"),
];

/// The records of processes that are forked, run a compiler and end. Each ends after others have begun.
fn records() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut alive = VecDeque::new();
    let root = wire::Identity { start_ns: 1, tgid: 2, reserved: 0 };
    let outside = wire::Identity { start_ns: 0, tgid: 1, reserved: 0 };
    let mut time_ns = 1;
    let mut header = |kind: RecordKind, process, parent| {
        time_ns += 1000;
        wire::RecordHeader { time_ns, process, parent, kind: kind as u32, reserved: 0 }
    };
    let fork = |header, is_root| wire::ForkRecord { header, is_root, reserved: 0 }.as_bytes().to_vec();
    records.push(fork(header(RecordKind::Fork, root, outside), 1));
    for number in 0..PROCESSES {
        let process = wire::Identity { start_ns: u64::from(number) * 3000 + 2000, tgid: 100 + number, reserved: 0 };
        records.push(fork(header(RecordKind::Fork, process, root), 0));
        let at = header(RecordKind::Exec, process, root);
        for (part, text) in COMPILER {
            let header = wire::RecordHeader { kind: RecordKind::Text as u32, ..at };
            let record = wire::TextRecord { header, part: part as u32, offset: 0, size: text.len() as u32, fault: 0 };
            records.push([record.as_bytes(), text.as_bytes()].concat());
        }
        let mut exec = wire::ExecRecord::new_zeroed();
        exec.header = at;
        exec.arguments_size = COMPILER[3].1.len() as u64;
        exec.environment_size = 2500;
        exec.argument_count = 12;
        exec.user_id = 1000;
        records.push(exec.as_bytes().to_vec());
        alive.push_back(process);
        if alive.len() > ALIVE {
            records.extend(alive.pop_front().map(|process| exit(header(RecordKind::Exit, process, root))));
        }
    }
    records.extend(alive.into_iter().map(|process| exit(header(RecordKind::Exit, process, root))));
    records
}

fn exit(header: wire::RecordHeader) -> Vec<u8> {
    let mut exit = wire::ExitRecord::new_zeroed();
    exit.header = header;
    exit.usage.runtime_ns = 40_000_000;
    exit.as_bytes().to_vec()
}

fn tracer() -> Tracer {
    Tracer::new(Settings {
        trace_id: TraceId([1; 16]),
        trace_id_source: "random".to_owned(),
        root_span_id: SpanId([2; 8]),
        root_parent_id: None,
        root_name: "make".to_owned(),
        root_label: None,
        anchor: Anchor { ktime: Ktime(0), wall: SystemTime::UNIX_EPOCH },
        seed: [3; 32],
        attributes: [].into_iter().collect(),
        arguments: Policy::default(),
        captured: Captured::default(),
        own_name: "process-tracer".to_owned(),
        accounts: Accounts::default(),
        cpus: 2,
        hosts: Hosts::new(String::new()),
        peer_names: tracer_model::PeerNames::default(),
        version: "1".to_owned(),
        errors: Errors::All,
        rules: tracer_model::judge::Rules::default(),
    })
}

/// Not inlined, because its instructions are counted by its name. The same is true for the next function.
#[inline(never)]
fn counted_decode(records: &[Vec<u8>], handle: impl FnMut(Event)) {
    decode(records, handle);
}

#[inline(never)]
fn counted_model(events: Vec<Event>, mut handle: impl FnMut(Span)) {
    let mut tracer = tracer();
    for event in events {
        tracer.handle(event);
        while let Some(span) = tracer.poll_span() {
            handle(span);
        }
    }
}

fn decode(records: &[Vec<u8>], mut handle: impl FnMut(Event)) {
    let mut decoder = Decoder::default();
    for record in records {
        decoder.decode(black_box(record), &mut handle).unwrap();
    }
}

fn decoded(records: &[Vec<u8>]) -> Vec<Event> {
    let mut events = Vec::with_capacity(EVENTS as usize);
    decode(records, |event| events.push(event));
    events
}

fn benches(criterion: &mut Criterion) {
    let records = records();
    let mut group = criterion.benchmark_group("records");
    group.throughput(Throughput::Elements(EVENTS.into()));
    group.sample_size(20);
    group.bench_function("decode", |bencher| {
        bencher.iter(|| counted_decode(&records, |event| drop(black_box(event))));
    });
    group.bench_function("model", |bencher| {
        bencher.iter_batched(
            || decoded(&records),
            |events| counted_model(events, |span| drop(black_box(span))),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("decode and model", |bencher| {
        bencher.iter(|| {
            let mut tracer = tracer();
            counted_decode(&records, |event| {
                tracer.handle(event);
                while let Some(span) = tracer.poll_span() {
                    drop(black_box(span));
                }
            });
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
