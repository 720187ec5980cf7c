//! The size of Parquet files.
#![allow(clippy::unwrap_used)]

#[path = "../benches/build/mod.rs"]
mod build;

use std::io::{Seek, SeekFrom};

use tracer_report::{Span, files, formats::Format};

#[test]
fn a_span_of_a_build_takes_few_bytes() {
    const SPANS: u64 = 6000;
    let mut file = tempfile::tempfile().unwrap();
    let mut report = files::begin(Format::Parquet, Box::new(file.try_clone().unwrap()), None).unwrap();
    let resource = build::resource();
    for span in build::spans(&build::BUILD, SPANS as usize) {
        report.add(&Span::from(&span).with_resource(&resource)).unwrap();
    }
    report.finish(&resource).unwrap();
    let bytes = file.seek(SeekFrom::End(0)).unwrap() / SPANS;
    assert!(bytes < 70, "{bytes} bytes a span");
}
