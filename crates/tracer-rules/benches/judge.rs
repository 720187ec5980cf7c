//! The cost of rules at an exec.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

use std::{fmt::Write, hint::black_box, time::UNIX_EPOCH};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tracer_model::{
    event::Image,
    judge::{Judge, Lineage, Subject},
};
use tracer_rules::{Book, Names, RulesJudge};

/// Fifty rules with the selectors `comm`, `exe`, `process` and `cmdline`. Only the last rule matches.
fn fifty() -> Book {
    let mut file = String::from("rules:\n");
    for number in 0..10 {
        write!(
            file,
            "  - {{comm: [a{number}, b{number}, c{number}], drop: true}}\n  \
               - {{exe: [d{number}, /opt/e{number}], group: x}}\n  \
               - {{process: '^f{number}$', name: 'f'}}\n  \
               - {{cmdline: ['^cc1 .*--flag{number}\\b'], attributes: {{n: {number}}}}}\n"
        )
        .unwrap();
        let last = if number == 9 { "t_hash" } else { "none" };
        writeln!(
            file,
            "  - {{comm: [cc1], cmdline: ['(?P<file>{last})\\.c'], name: 'cc1 ${{file}}', group: '{{{{.ExeBase}}}}'}}"
        )
        .unwrap();
    }
    let book = Book::read(&file, &|_| None).expect("valid rules");
    assert_eq!(book.len(), 50);
    book
}

fn benches(criterion: &mut Criterion) {
    let arguments = "cc1 -quiet -I ../deps/hiredis -I ../deps/linenoise -I ../deps/lua/src -imultiarch x86_64-linux-gnu -MMD \
                     t_hash.d -MQ t_hash.o t_hash.c -quiet -dumpbase t_hash.c -mtune=generic -march=x86-64 -O3 -Wall";
    let image = Image {
        file: "/usr/libexec/gcc/x86_64-linux-gnu/14/cc1".to_owned(),
        arguments: arguments.split(' ').collect(),
        ..Image::default()
    };
    let lineage = Lineage::default();
    let subject = Subject {
        pid: 7,
        parent_pid: 6,
        start: UNIX_EPOCH,
        at: UNIX_EPOCH,
        image: &image,
        environment: None,
        attributes: &[],
        tags: None,
        lineage: &lineage,
    };
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(EXECS));
    let mut names = RulesJudge::new(Book::default(), Names::Smart);
    group.bench_function("names", |bencher| bencher.iter(|| counted_execs(&mut names, &subject)));
    let mut rules = RulesJudge::new(fifty(), Names::Plain);
    group.bench_function("rules", |bencher| bencher.iter(|| counted_execs(&mut rules, &subject)));
    group.finish();
}

/// Execs of one iteration.
const EXECS: u64 = 1000;

/// Not inlined, because its instructions are counted by its name.
#[inline(never)]
fn counted_execs(judge: &mut RulesJudge, subject: &Subject<'_>) {
    for _ in 0..EXECS {
        black_box(judge.judge(black_box(subject)));
    }
}

criterion_group!(all, benches);
criterion_main!(all);
