//! Chrome's trace events, as JSON: a thread for each process, in one process that stands for the command. Viewers are
//! Perfetto, Speedscope, chrome://tracing.
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>

use std::{
    collections::HashMap,
    io::{self, Write},
};

use opentelemetry::{Array, SpanId, Value as OtelValue, trace::SpanKind};
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde_json::{Map, Value, json};
use tracer_model::semconv;

use super::{Report, row::nanoseconds};

pub(super) struct Events {
    to: Box<dyn Write + Send>,
    is_first: bool,
    /// The threads of processes.
    threads: HashMap<SpanId, i64>,
    /// Ends of connections that are linked: which process, when, the arrow, and whether it is where the arrow begins.
    ends: Vec<(SpanId, f64, String, bool)>,
}

/// The process that all threads belong to.
const PID: u32 = 1;

impl Events {
    pub(super) fn begin(mut to: Box<dyn Write + Send>) -> io::Result<Self> {
        to.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
        Ok(Self { to, is_first: true, threads: HashMap::new(), ends: Vec::new() })
    }

    fn write(&mut self, event: &Value) -> io::Result<()> {
        if !self.is_first {
            self.to.write_all(b",\n")?;
        }
        self.is_first = false;
        serde_json::to_writer(&mut self.to, event)?;
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
        let process = integer(semconv::PROCESS_PID);
        let (start, end) = (nanoseconds(span.start_time), nanoseconds(span.end_time));
        let (ts, dur) = (start as f64 / 1e3, end.saturating_sub(start) as f64 / 1e3);
        let id = span.span_context.span_id().to_string();
        let mut arguments: Map<String, Value> =
            span.attributes.iter().map(|kv| (kv.key.to_string(), json_value(&kv.value))).collect();
        arguments.insert("span_id".to_owned(), Value::from(id.clone()));
        let Some(tid) = process else {
            // What a process does overlaps: each thing has its own line below the process.
            let parent = span.parent_span_id.to_string();
            for (phase, at) in [("b", ts), ("e", ts + dur)] {
                let args = if phase == "b" { Value::Object(arguments.clone()) } else { json!({}) };
                self.write(&json!({
                    "name": span.name, "cat": "connection", "ph": phase, "id": id, "scope": parent,
                    "pid": PID, "tid": 0, "ts": at, "args": args,
                }))?;
            }
            for link in span.links.iter() {
                let (own, other) = (span.span_context.span_id(), link.span_context.span_id());
                let arrow = if own.to_bytes() < other.to_bytes() { own } else { other };
                let is_source = span.span_kind != SpanKind::Server;
                self.ends.push((span.parent_span_id, ts, arrow.to_string(), is_source));
            }
            return Ok(());
        };
        self.threads.insert(span.span_context.span_id(), tid);
        let name = format!("{} {tid}", span.name);
        self.write(&json!({"name": "thread_name", "ph": "M", "pid": PID, "tid": tid, "args": {"name": name}}))?;
        let is_root = span.attributes.iter().any(|attribute| attribute.key.as_str() == semconv::COMPLETE);
        if is_root {
            let name = json!({"name": "process_name", "ph": "M", "pid": PID, "args": {"name": span.name}});
            self.write(&name)?;
        } else if let Some(parent) = integer(semconv::PROCESS_PARENT_PID) {
            let flow = json!({"name": "fork", "cat": "fork", "id": id, "pid": PID, "ts": ts});
            for (phase, thread) in [("s", parent), ("f", tid)] {
                let mut arrow = flow.clone();
                arrow["ph"] = phase.into();
                arrow["tid"] = thread.into();
                arrow["bp"] = "e".into();
                self.write(&arrow)?;
            }
        }
        self.write(&json!({
            "name": span.name, "cat": "process", "ph": "X", "pid": PID, "tid": tid, "ts": ts, "dur": dur, "args": arguments,
        }))?;
        for event in &span.events.events {
            let args: Map<_, _> =
                event.attributes.iter().map(|kv| (kv.key.to_string(), json_value(&kv.value))).collect();
            self.write(&json!({
                "name": event.name, "cat": "event", "ph": "i", "s": "t", "pid": PID, "tid": tid,
                "ts": nanoseconds(event.timestamp) as f64 / 1e3, "args": args,
            }))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Resource) -> io::Result<()> {
        for (process, ts, id, is_source) in std::mem::take(&mut self.ends) {
            if let Some(tid) = self.threads.get(&process).copied() {
                let phase = if is_source { "s" } else { "f" };
                self.write(&json!({
                    "name": "connection", "cat": "connection", "ph": phase, "bp": "e", "id": id, "pid": PID, "tid": tid, "ts": ts,
                }))?;
            }
        }
        self.to.write_all(b"\n]}\n")?;
        self.to.flush()
    }
}

/// An attribute's value as JSON.
pub(super) fn json_value(value: &OtelValue) -> Value {
    match value {
        OtelValue::Bool(value) => Value::from(*value),
        OtelValue::I64(value) => Value::from(*value),
        OtelValue::F64(value) => Value::from(*value),
        OtelValue::String(value) => Value::from(value.as_str()),
        OtelValue::Array(Array::Bool(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::I64(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::F64(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::String(values)) => values.iter().map(|value| Value::from(value.as_str())).collect(),
        other => Value::from(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::story::{story, written};

    #[test]
    fn each_process_is_a_thread_and_each_fork_an_arrow() {
        let story = story("make", 0, 100).starts("cc", 10, 50, |cc| cc.connects("cache", 80, 20, 5, 7));
        let text = written(&story.spans(), |to| Box::new(Events::begin(to).unwrap()));
        let trace: Value = serde_json::from_slice(&text).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let phases = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
        assert_eq!(["X", "M", "b", "e", "s", "f"].map(phases), [2, 3, 1, 1, 1, 1], "{events:#?}");
        let cc = events.iter().find(|event| event["ph"] == "X" && event["name"] == "cc").unwrap();
        assert_eq!((cc["dur"].as_f64(), cc["args"]["process.exit.code"].as_i64()), (Some(50_000.0), Some(0)));
    }
}
