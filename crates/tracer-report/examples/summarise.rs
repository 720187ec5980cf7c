//! Prints the summary of a saved trace: `cargo run -p tracer-report --example summarise FILE.jsonl`.

use std::{
    env,
    error::Error,
    fs::File,
    io::{BufRead, BufReader, Write, stdout},
};

use tracer_report::{
    ReadError, SavedTrace,
    formats::Text,
    text::{Style, TextReport},
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args_os().nth(1).ok_or("usage: summarise FILE.jsonl")?;
    let style = Style::of(&stdout(), &env::var("LANG").unwrap_or_default(), false);
    let summary = summarise(BufReader::new(File::open(path)?), &style)?;
    Ok(stdout().write_all(summary.as_bytes())?)
}

/// Returns the summary of the only trace in the file.
pub(crate) fn summarise(file: impl BufRead, style: &Style) -> Result<String, ReadError> {
    let mut summary = TextReport::new(Text::Summary, usize::MAX);
    let mut trace = SavedTrace::new(file, None);
    for span in &mut trace {
        summary.add(&(&span?).into());
    }
    trace.finish()?;
    Ok(summary.render(style))
}
