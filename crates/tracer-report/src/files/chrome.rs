//! Chrome's trace events, as JSON: a thread for each process, in one process that stands for the command, and a line of that
//! process for each of its connections and lookups. Viewers are Perfetto, Speedscope, chrome://tracing.
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::SystemTime,
};

use opentelemetry::{SpanId, Value as OtelValue};
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde_json::{Map, Value, json};
use tracer_model::semconv;

use crate::{json::json_value, report::Report, row::nanoseconds};

pub(crate) struct Events {
    to: Box<dyn Write + Send>,
    is_first: bool,
    /// What times count from, nanoseconds since the epoch.
    zero: Option<u64>,
    /// Ends of connections, by span, whose other end has not come yet.
    waiting: BTreeMap<String, Line>,
}

struct Line {
    start: SystemTime,
    begin: Value,
    end: Value,
}

/// Times are microseconds, in a double, which has the nanoseconds of no more than 100 days: so they count from a midnight so
/// long before the first span that comes. The root comes last, and began before; Perfetto drops what is before zero.
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

    fn microseconds(&mut self, time: SystemTime) -> f64 {
        let time = nanoseconds(time);
        let zero = *self.zero.get_or_insert((time / DAY).saturating_sub(DAYS_BEFORE) * DAY);
        time.saturating_sub(zero) as f64 / 1e3
    }

    /// What a process does overlaps, as slices of a thread may not: each thing has its own line below the process that stands
    /// for the command.
    fn add_line(&mut self, span: &SpanData) -> io::Result<()> {
        let id = span.span_context.span_id().to_string();
        let event = json!({"name": span.name, "cat": "connection", "id2": {"local": id}, "pid": PID, "tid": 0});
        let (mut begin, mut end) = (event.clone(), event);
        begin["ph"] = "b".into();
        begin["ts"] = self.microseconds(span.start_time).into();
        begin["args"] = arguments(span);
        end["ph"] = "e".into();
        end["ts"] = self.microseconds(span.end_time.max(span.start_time)).into();
        let line = Line { start: span.start_time, begin, end };
        let Some(link) = span.links.iter().next() else { return self.write_line(&line) };
        match self.waiting.remove(&link.span_context.span_id().to_string()) {
            None => {
                self.waiting.insert(id, line);
                Ok(())
            }
            Some(other) if other.start <= line.start => self.write_linked(&id, other, line),
            Some(other) => self.write_linked(&id, line, other),
        }
    }

    /// An arrow leads from the end of a connection that began first to the other.
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

    /// An arrow begins at the slice that its thread has begun last, so that of a fork has one of its own.
    fn add_fork(&mut self, id: &str, parent: i64, child: i64, ts: f64) -> io::Result<()> {
        let fork = json!({"name": "fork", "cat": "event", "ph": "i", "s": "t", "pid": PID, "tid": parent, "ts": ts});
        self.write(&fork)?;
        for (phase, tid) in [("s", parent), ("f", child)] {
            self.write(&json!({
                "name": "fork", "cat": "fork", "ph": phase, "bp": "e", "id": id, "pid": PID, "tid": tid, "ts": ts,
            }))?;
        }
        Ok(())
    }
}

impl Report for Events {
    fn add(&mut self, span: &SpanData) -> io::Result<()> {
        let integer = |key| {
            span.attributes.iter().find(|attribute| attribute.key.as_str() == key).and_then(|found| match found.value {
                OtelValue::I64(value) => Some(value),
                _ => None,
            })
        };
        let Some(tid) = integer(semconv::PROCESS_PID) else { return self.add_line(span) };
        let name = format!("{} {tid}", span.name);
        self.write(&json!({"name": "thread_name", "ph": "M", "pid": PID, "tid": tid, "args": {"name": name}}))?;
        let ts = self.microseconds(span.start_time);
        let dur = nanoseconds(span.end_time).saturating_sub(nanoseconds(span.start_time)) as f64 / 1e3;
        let is_root = span.attributes.iter().any(|attribute| attribute.key.as_str() == semconv::COMPLETE);
        if is_root {
            let name = json!({"name": "process_name", "ph": "M", "pid": PID, "args": {"name": span.name}});
            self.write(&name)?;
        } else if let Some(parent) = integer(semconv::PROCESS_PARENT_PID) {
            self.add_fork(&span.span_context.span_id().to_string(), parent, tid, ts)?;
        }
        self.write(&json!({
            "name": span.name, "cat": "process", "ph": "X", "pid": PID, "tid": tid, "ts": ts, "dur": dur,
            "args": arguments(span),
        }))?;
        for event in &span.events.events {
            let args: Map<_, _> =
                event.attributes.iter().map(|kv| (kv.key.to_string(), json_value(&kv.value))).collect();
            let ts = self.microseconds(event.timestamp);
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

/// What there is to know of a span.
fn arguments(span: &SpanData) -> Value {
    let mut arguments: Map<String, Value> =
        span.attributes.iter().map(|kv| (kv.key.to_string(), json_value(&kv.value))).collect();
    arguments.insert("span_id".to_owned(), span.span_context.span_id().to_string().into());
    if span.parent_span_id != SpanId::INVALID {
        arguments.insert("parent_span_id".to_owned(), span.parent_span_id.to_string().into());
    }
    arguments.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::Link;

    use super::*;
    use crate::story::{story, written};

    fn trace(spans: &[SpanData]) -> Value {
        serde_json::from_slice(&written(spans, |to| Box::new(Events::begin(to).unwrap()))).unwrap()
    }

    #[test]
    fn each_process_is_a_thread_and_each_fork_an_arrow() {
        let story = story("make", 0, 100).starts("cc", 10, 50, |cc| cc.connects("cache", 80, 20, 5, 7));
        let trace = trace(&story.spans());
        let events = trace["traceEvents"].as_array().unwrap();
        let phases = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
        assert_eq!(["X", "M", "b", "e", "s", "f", "i"].map(phases), [2, 3, 1, 1, 1, 1, 1], "{events:#?}");
        let cc = events.iter().find(|event| event["ph"] == "X" && event["name"] == "cc").unwrap();
        assert_eq!((cc["dur"].as_f64(), cc["args"]["process.exit.code"].as_i64()), (Some(50_000.0), Some(0)));
    }

    #[test]
    fn an_arrow_leads_to_the_end_that_began_later() {
        let story = story("make", 0, 100).starts("cc", 10, 50, |cc| cc.connects("cache", 80, 20, 5, 7)).starts(
            "cache",
            5,
            90,
            |cache| cache.connects("cc", 81, 19, 7, 7).connects("alone", 82, 30, 1, 7),
        );
        let mut spans = story.spans();
        let contexts: Vec<_> = spans.iter().map(|span| span.span_context.clone()).collect();
        for (span, other) in [(0, 2), (2, 0), (3, 4)] {
            spans[span].links.links.push(Link::with_context(contexts[other].clone()));
        }
        let trace = trace(&spans);
        let lines = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "b");
        let lines = lines.map(|line| [&line["name"], &line["bind_id"], &line["flow_out"], &line["flow_in"]]);
        let (arrow, yes, no) = (json!(contexts[2].span_id().to_string()), json!(true), Value::Null);
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
        spans[0].start_time += Duration::from_nanos(123_456_789);
        spans[1].start_time -= Duration::from_secs(20 * 86_400) - Duration::from_nanos(1);
        let trace = trace(&spans);
        let zero = trace["otherData"]["zero_unix_seconds"].as_u64().unwrap() * 1_000_000_000;
        let events = trace["traceEvents"].as_array().unwrap().iter();
        let times: Vec<_> =
            events.filter(|event| event["ph"] == "X").map(|event| event["ts"].as_f64().unwrap()).collect();
        let expected = spans.iter().map(|span| (nanoseconds(span.start_time) - zero) as f64);
        assert_eq!(times.iter().map(|ts| (ts * 1e3).round()).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
