//! The part of the summary about the network: slow and failed lookups, and which processes talk to each other.

use std::fmt::Write;

use super::style::{Style, align, bytes, duration, fitting, pad};
use crate::{
    network::{Lookups, Pair, notable_lookups, pairs},
    row::{Label, Rows},
};

/// A screen with fewer lines has no room for tables.
const LOW: usize = 40;

/// Both tables, each with at most `limit` lines and a note about the rest. On a low screen, a line for each. A table without
/// lines is left out.
pub(super) fn render(rows: &Rows, limit: usize, style: &Style) -> String {
    let mut text = String::new();
    if style.height < LOW {
        brief(rows, style, &mut text);
        return text;
    }
    lookups(rows, &notable_lookups(rows), limit, style, &mut text);
    talks(rows, &pairs(rows), limit, style, &mut text);
    text
}

/// A line for each table.
fn brief(rows: &Rows, style: &Style, text: &mut String) {
    let lookup = |lookups: &Lookups| {
        let said = lookups.failure.map(|failure| style.show(rows.text(failure)));
        format!("{} {}", name(rows, lookups.name, style), said.unwrap_or_else(|| duration(lookups.longest, style)))
    };
    let lookups: Vec<_> = notable_lookups(rows).iter().map(lookup).collect();
    let talks: Vec<_> =
        pairs(rows).iter().map(|pair| format!("{} {}", both(rows, pair, style), bytes(pair.bytes))).collect();
    for (title, entries) in [(LOOKUPS, lookups), (TALKS, talks)] {
        if !entries.is_empty() {
            let start = if text.is_empty() { "\n" } else { "" };
            let room = style.width.saturating_sub(title.len() + 3);
            let entries = style.cut_end(&entries.join(", "), room);
            let _ = writeln!(text, "{start}{} {entries}", style.dim(&format!("{title}:")));
        }
    }
}

/// The titles of the tables.
const LOOKUPS: &str = "slow and failed lookups";
const TALKS: &str = "who talks to whom";

fn lookups(rows: &Rows, lookups: &[Lookups], limit: usize, style: &Style, text: &mut String) {
    if lookups.is_empty() {
        return;
    }
    let room = style.width.saturating_sub(46).clamp(10, 60);
    let heading = format!("{} {:>6} {:>9}", pad(LOOKUPS, room + 2), "count", "max");
    let _ = writeln!(text, "\n{}", style.dim(&heading));
    let shown = fitting(lookups.len(), limit);
    for lookups in &lookups[..shown] {
        let name = pad(&style.cut_end(&name(rows, lookups.name, style), room), room);
        let _ = write!(text, "  {name} {:>6} {}", lookups.count, align(&duration(lookups.longest, style), 9));
        if let Some(failure) = lookups.failure {
            let failure = style.show(rows.text(failure));
            let said = if lookups.count > 1 { format!("{} failed: {failure}", lookups.failed) } else { failure };
            let _ = write!(text, "  {}", style.red(&said));
        }
        text.push('\n');
    }
    more(lookups.len() - shown, style, text);
}

fn talks(rows: &Rows, pairs: &[Pair], limit: usize, style: &Style, text: &mut String) {
    if pairs.is_empty() {
        return;
    }
    let room = style.width.saturating_sub(46).clamp(10, 60);
    let heading = format!("{} {:>6} {:>9} {:>9}", pad(TALKS, room + 2), "count", "time", "bytes");
    let _ = writeln!(text, "\n{}", style.dim(&heading));
    let shown = fitting(pairs.len(), limit);
    for pair in &pairs[..shown] {
        let names = pad(&style.cut_end(&both(rows, pair, style), room), room);
        let (time, size) = (align(&duration(pair.time, style), 9), align(&bytes(pair.bytes), 9));
        let _ = write!(text, "  {names} {:>6} {time} {size}", pair.count);
        if pair.failed > 0 {
            let _ = write!(text, "  {}", style.red(&format!("{} failed", pair.failed)));
        }
        text.push('\n');
    }
    more(pairs.len() - shown, style, text);
}

/// Both tables as Markdown. `cell` writes untrusted text into a table.
pub(super) fn markdown(rows: &Rows, style: &Style, cell: impl Fn(&str) -> String, text: &mut String) {
    const ROWS: usize = 5;
    let lookups = notable_lookups(rows);
    if !lookups.is_empty() {
        let _ = writeln!(text, "\n| {LOOKUPS} | count | max | failed |\n| --- | ---: | ---: | --- |");
    }
    for lookups in lookups.iter().take(ROWS) {
        let failure = lookups.failure.map_or(String::new(), |failure| cell(&style.show(rows.text(failure))));
        let (name, longest) = (cell(&name(rows, lookups.name, style)), duration(lookups.longest, style));
        let _ = writeln!(text, "| {name} | {} | {longest} | {failure} |", lookups.count);
    }
    let pairs = pairs(rows);
    if !pairs.is_empty() {
        let _ = writeln!(text, "\n| {TALKS} | count | time | bytes |\n| --- | ---: | ---: | ---: |");
    }
    for pair in pairs.iter().take(ROWS) {
        let (names, time) = (cell(&both(rows, pair, style)), duration(pair.time, style));
        let _ = writeln!(text, "| {names} | {} | {time} | {} |", pair.count, bytes(pair.bytes));
    }
}

/// The name that was looked up.
fn name(rows: &Rows, label: Label, style: &Style) -> String {
    let name = style.show(rows.text(label));
    name.strip_prefix("lookup ").map(str::to_owned).unwrap_or(name)
}

/// The names of both processes.
fn both(rows: &Rows, pair: &Pair, style: &Style) -> String {
    let [from, to] = [pair.from, pair.to].map(|label| style.show(rows.text(label)));
    format!("{from} {} {to}", style.arrow())
}

fn more(count: usize, style: &Style, text: &mut String) {
    if count > 0 {
        let _ = writeln!(text, "  {} {count} more", style.dots());
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::{SpanId, Value, semconv};

    use super::{super::style::PLAIN, *};
    use crate::{
        saved::{Kind, Link, Span},
        story::story,
    };

    const MS: u64 = 1_000_000;

    /// A span of this process.
    fn below(process: &Span, number: u8, kind: Kind, name: &str, length: u64) -> Span {
        Span {
            span_id: SpanId([number; 8]),
            parent_id: Some(process.span_id),
            kind,
            name: name.to_owned(),
            end: process.start + length * MS,
            attributes: Vec::new(),
            has_failed: false,
            message: String::new(),
            ..process.clone()
        }
    }

    /// `client` and `server` below `sh`, with four lookups, and a connection that both ends saw.
    fn rows() -> Rows {
        let mut spans = story("sh", 0, 5000)
            .starts("client", 10, 3000, |client| client)
            .starts("server", 5, 4000, |server| server)
            .spans();
        let process = |name: &str| spans.iter().find(|span| span.name == name).unwrap().clone();
        let (client, server) = (process("client"), process("server"));
        let lookup = |number, name: &str, length, failure: Option<&str>| {
            let mut span = below(&client, number, Kind::Client, &format!("lookup {name}"), length);
            span.attributes.push((semconv::DNS_QUESTION_NAME.to_owned(), Value::String(name.to_owned())));
            if let Some(failure) = failure {
                span.attributes.push((semconv::ERROR_TYPE.to_owned(), Value::String(failure.to_owned())));
                span.has_failed = true;
            }
            span
        };
        let end = |process: &Span, number: u8, other: u8, kind| {
            let mut span = below(process, number, kind, "connect localhost:80", 20);
            span.attributes = vec![
                (semconv::NETWORK_TRANSPORT.to_owned(), Value::String("tcp".to_owned())),
                (semconv::SERVER_ADDRESS.to_owned(), Value::String("localhost".to_owned())),
                (semconv::SERVER_PORT.to_owned(), Value::Int(80)),
                (semconv::BYTES_SENT.to_owned(), Value::Int(2048)),
            ];
            span.links.push(Link { trace_id: process.trace_id, span_id: SpanId([other; 8]) });
            span
        };
        let more = [
            lookup(0x11, "slow.example", 1500, None),
            lookup(0x12, "gone.example", 3, Some("SERVFAIL")),
            lookup(0x13, "gone.example", 2, Some("SERVFAIL")),
            lookup(0x14, "fast.example", 4, None),
            end(&server, 0x21, 0x22, Kind::Server),
            end(&client, 0x22, 0x21, Kind::Client),
            // Its other end is not in the trace.
            end(&client, 0x23, 0x99, Kind::Client),
        ];
        spans.extend(more);
        let mut rows = Rows::default();
        spans.iter().for_each(|span| rows.add(&span.into()));
        rows
    }

    #[test]
    fn slow_and_failed_lookups_are_listed() {
        let expected = "
slow and failed lookups               count       max
  gone.example                            2   3.00 ms  2 failed: SERVFAIL
  slow.example                            1    1.50 s

who talks to whom                     count      time     bytes
  client → server                         1   20.0 ms  2.00 KiB
";
        assert_eq!(render(&rows(), 5, &PLAIN), expected);
        assert_eq!(render(&story("sh", 0, 1).connects("a", 1, 0, 1, 1).rows(), 5, &PLAIN), "");
    }

    #[test]
    fn a_low_screen_has_a_line_for_each_table() {
        let low = Style { height: 24, ..PLAIN };
        let expected = "
slow and failed lookups: gone.example SERVFAIL, slow.example 1.50 s
who talks to whom: client → server 2.00 KiB
";
        assert_eq!(render(&rows(), 5, &low), expected);
        let narrow = render(&rows(), 5, &Style { width: 40, ..low });
        assert!(narrow.lines().all(|line| line.chars().count() <= 40) && narrow.contains('…'), "{narrow}");
    }

    #[test]
    fn markdown_has_the_same_tables() {
        let mut text = String::new();
        markdown(&rows(), &PLAIN, |cell| format!("`{cell}`"), &mut text);
        assert!(text.contains("| `gone.example` | 2 | 3.00 ms | `SERVFAIL` |\n"), "{text}");
        assert!(text.contains("| `client → server` | 1 | 20.0 ms | 2.00 KiB |\n"), "{text}");
    }
}
