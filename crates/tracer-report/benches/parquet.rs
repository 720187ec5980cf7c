//! Time and size of a Parquet file of a large build: `cargo bench -p tracer-report --bench parquet -- [SPANS] [FILE.jsonl]`.
//! FILE.jsonl is a saved trace of another build.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod build;

use std::{
    fs::{self, File},
    io::BufWriter,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use tracer_report::{Span, files, formats::Format};

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let path = std::env::temp_dir().join(format!("process-tracer-bench-{}.parquet", std::process::id()));
    let resource = build::resource();
    let mut report =
        files::begin(Format::Parquet, Box::new(BufWriter::new(File::create(&path).unwrap())), None).unwrap();
    let mut spent = Duration::ZERO;
    let file = std::env::args().skip(1).find(|argument| argument.ends_with(".jsonl"));
    let other = file.map(|file| build::read(File::open(file).unwrap()));
    let mut spans = build::spans(other.as_ref().unwrap_or(&build::BUILD), count);
    loop {
        let some: Vec<_> = spans.by_ref().take(100).collect();
        if some.is_empty() {
            break;
        }
        let begin = cpu_time();
        for span in &some {
            report.add(&Span::from(span).with_resource(&resource)).unwrap();
        }
        spent += cpu_time() - begin;
    }
    let begin = cpu_time();
    report.finish(&resource).unwrap();
    spent += cpu_time() - begin;
    let bytes = fs::metadata(&path).unwrap().len();
    let peak = fs::read_to_string("/proc/self/status").unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim();
    println!(
        "{count} spans: {:.1} s of CPU time, {:.1} MB, peak memory {peak}",
        spent.as_secs_f64(),
        bytes as f64 / 1e6
    );
    println!("{}", path.display());
}

/// The CPU time of this process. Other processes hardly change it.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}
