//! Chrome's trace events, as JSON. One process of the format represents the command. Each traced process is a thread of it.
//! Each connection and lookup is a line of it. Perfetto, Speedscope and chrome://tracing show the file.
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Value, json};
use tracer_model::{Resource, SpanId, semconv::KeyValues};

use crate::{
    json::json_object,
    report::Report,
    span::{Span, Subject},
};

pub(crate) struct Events {
    to: Box<dyn Write + Send>,
    is_first: bool,
    /// The zero of all times, nanoseconds since the epoch.
    zero: Option<u64>,
    /// Ends of connections whose other end has not come yet, by span.
    waiting: BTreeMap<SpanId, Line>,
}

struct Line {
    start: u64,
    begin: Value,
    end: Value,
}

/// Days from the zero of all times to the first span that the report gets. Zero is a midnight.
///
/// Perfetto drops events before zero. The report gets the root last, although the root started first. So zero must be
/// before the start of the root. Times are microseconds in a double, which has room for the nanoseconds of about 100 days.
const DAYS_BEFORE: u64 = 30;

/// Nanoseconds.
const DAY: u64 = 86_400_000_000_000;

/// The process that all threads belong to.
const PID: u32 = 1;

impl Events {
    pub(crate) fn begin(mut to: Box<dyn Write + Send>) -> io::Result<Self> {
        to.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
        Ok(Self { to, is_first: true, zero: None, waiting: BTreeMap::new() })
    }

    fn write(&mut self, event: &Value) -> io::Result<()> {
        if !self.is_first {
            self.to.write_all(b",\n")?;
        }
        self.is_first = false;
        serde_json::to_writer(&mut self.to, event)?;
        Ok(())
    }

    fn microseconds(&mut self, time: u64) -> f64 {
        let zero = *self.zero.get_or_insert((time / DAY).saturating_sub(DAYS_BEFORE) * DAY);
        time.saturating_sub(zero) as f64 / 1e3
    }

    /// Connections of a process can overlap, but slices of a thread must not overlap. So each connection and lookup has
    /// its own line.
    fn add_line(&mut self, span: &Span<'_>) -> io::Result<()> {
        let id = span.id.to_string();
        let event = json!({"name": span.name, "cat": "connection", "id2": {"local": id}, "pid": PID, "tid": 0});
        let (mut begin, mut end) = (event.clone(), event);
        begin["ph"] = "b".into();
        begin["ts"] = self.microseconds(span.start).into();
        begin["args"] = arguments(span, &span.details().attributes);
        end["ph"] = "e".into();
        end["ts"] = self.microseconds(span.end).into();
        let line = Line { start: span.start, begin, end };
        let Some((_, link)) = span.links().first().copied() else { return self.write_line(&line) };
        match self.waiting.remove(&link) {
            None => {
                self.waiting.insert(span.id, line);
                Ok(())
            }
            Some(other) if other.start <= line.start => self.write_linked(&id, other, line),
            Some(other) => self.write_linked(&id, line, other),
        }
    }

    /// Draws an arrow between the two ends of a connection. It starts at the end that began first.
    fn write_linked(&mut self, arrow: &str, mut first: Line, mut second: Line) -> io::Result<()> {
        for (line, direction) in [(&mut first, "flow_out"), (&mut second, "flow_in")] {
            line.begin["bind_id"] = arrow.into();
            line.begin[direction] = true.into();
            self.write_line(line)?;
        }
        Ok(())
    }

    fn write_line(&mut self, line: &Line) -> io::Result<()> {
        self.write(&line.begin)?;
        self.write(&line.end)
    }

    /// Draws an arrow from a fork to the new process. An arrow starts at the thread's latest slice, so each fork has
    /// its own slice.
    fn add_fork(&mut self, id: SpanId, parent: u32, child: u32, ts: f64) -> io::Result<()> {
        let fork = json!({"name": "fork", "cat": "event", "ph": "i", "s": "t", "pid": PID, "tid": parent, "ts": ts});
        self.write(&fork)?;
        for (phase, tid) in [("s", parent), ("f", child)] {
            self.write(&json!({
                "name": "fork", "cat": "fork", "ph": phase, "bp": "e", "id": id.to_string(), "pid": PID, "tid": tid, "ts": ts,
            }))?;
        }
        Ok(())
    }
}

impl Report for Events {
    fn add(&mut self, span: &Span<'_>) -> io::Result<()> {
        if let Subject::Runs(_) = span.subject {
            return self.write(&json!({"name": "process_name", "ph": "M", "pid": PID, "args": {"name": span.name}}));
        }
        let Some(process) = span.process() else { return self.add_line(span) };
        let (tid, details) = (process.pid, span.details());
        let name = format!("{} {tid}", span.name);
        self.write(&json!({"name": "thread_name", "ph": "M", "pid": PID, "tid": tid, "args": {"name": name}}))?;
        let ts = self.microseconds(span.start);
        let dur = (span.end - span.start) as f64 / 1e3;
        if process.is_root {
            let name = json!({"name": "process_name", "ph": "M", "pid": PID, "args": {"name": span.name}});
            self.write(&name)?;
        } else if process.parent_pid > 0 && !process.is_run {
            self.add_fork(span.id, process.parent_pid, tid, ts)?;
        }
        self.write(&json!({
            "name": span.name, "cat": "process", "ph": "X", "pid": PID, "tid": tid, "ts": ts, "dur": dur,
            "args": arguments(span, &details.attributes),
        }))?;
        for event in &details.events {
            let (ts, args) = (self.microseconds(event.at), json_object(&event.attributes));
            self.write(&json!({
                "name": event.name, "cat": "event", "ph": "i", "s": "t", "pid": PID, "tid": tid, "ts": ts, "args": args,
            }))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Resource) -> io::Result<()> {
        for line in std::mem::take(&mut self.waiting).into_values() {
            self.write_line(&line)?;
        }
        let zero = self.zero.unwrap_or_default() / 1_000_000_000;
        write!(self.to, "\n],\"otherData\":{{\"zero_unix_seconds\":{zero}}}}}\n")?;
        self.to.flush()
    }
}

/// The attributes of a span, and its ids.
fn arguments(span: &Span<'_>, attributes: &KeyValues) -> Value {
    let mut arguments = json_object(attributes);
    arguments.insert("span_id".to_owned(), span.id.to_string().into());
    if let Some(parent) = span.parent {
        arguments.insert("parent_span_id".to_owned(), parent.to_string().into());
    }
    arguments.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        saved::{self, Link},
        story::{story, written},
    };

    fn trace(spans: &[saved::Span]) -> Value {
        serde_json::from_slice(&written(spans, |to| Box::new(Events::begin(to).unwrap()))).unwrap()
    }

    #[test]
    fn each_process_is_a_thread_and_each_fork_is_an_arrow() {
        let story = story("make", 0, 100).starts("cc", 10, 50, |cc| cc.connects("cache", 80, 20, 5, 7));
        let trace = trace(&story.spans());
        let events = trace["traceEvents"].as_array().unwrap();
        let phases = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
        assert_eq!(["X", "M", "b", "e", "s", "f", "i"].map(phases), [2, 3, 1, 1, 1, 1, 1], "{events:#?}");
        let cc = events.iter().find(|event| event["ph"] == "X" && event["name"] == "cc").unwrap();
        assert_eq!((cc["dur"].as_f64(), cc["args"]["process.exit.code"].as_i64()), (Some(50_000.0), Some(0)));
    }

    #[test]
    fn arrows_point_to_the_end_that_began_later() {
        let story = story("make", 0, 100).starts("cc", 10, 50, |cc| cc.connects("cache", 80, 20, 5, 7)).starts(
            "cache",
            5,
            90,
            |cache| cache.connects("cc", 81, 19, 7, 7).connects("alone", 82, 30, 1, 7),
        );
        let mut spans = story.spans();
        let ids: Vec<_> = spans.iter().map(|span| span.span_id).collect();
        for (span, other) in [(0, 2), (2, 0), (3, 4)] {
            let trace_id = spans[span].trace_id;
            spans[span].links.push(Link { trace_id, span_id: ids[other] });
        }
        let trace = trace(&spans);
        let lines = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "b");
        let lines = lines.map(|line| [&line["name"], &line["bind_id"], &line["flow_out"], &line["flow_in"]]);
        let (arrow, yes, no) = (json!(ids[2].to_string()), json!(true), Value::Null);
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                [&json!("connect cc:81"), &arrow, &yes, &no],
                [&json!("connect cache:80"), &arrow, &no, &yes],
                [&json!("connect alone:82"), &no, &no, &no],
            ]
        );
    }

    #[test]
    fn times_are_exact_to_the_nanosecond_and_never_negative() {
        let mut spans = story("make", 0, 100).starts("cc", 10, 50, |cc| cc).spans();
        spans[0].start += 123_456_789;
        spans[1].start -= 20 * DAY - 1;
        let trace = trace(&spans);
        let zero = trace["otherData"]["zero_unix_seconds"].as_u64().unwrap() * 1_000_000_000;
        let events = trace["traceEvents"].as_array().unwrap().iter();
        let times: Vec<_> =
            events.filter(|event| event["ph"] == "X").map(|event| event["ts"].as_f64().unwrap()).collect();
        let expected = spans.iter().map(|span| (span.start - zero) as f64);
        assert_eq!(times.iter().map(|ts| (ts * 1e3).round()).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
