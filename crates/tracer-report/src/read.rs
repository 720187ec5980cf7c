//! A saved trace: lines of OTLP/JSON, as `process-tracer -o FILE.jsonl` writes them, and other programs too.
//!
//! The caller opens the file and shows the progress.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, StringValue, Value,
    trace::{Event, Link, SpanContext, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue as ProtoKeyValue, any_value},
    trace::v1::{Span, TracesData, span, status::StatusCode},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};
use tracer_model::TraceId;

/// Why a saved trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read")]
    Io(#[from] io::Error),
    /// A line is not OTLP/JSON.
    #[error("line {line} is not OTLP/JSON")]
    Malformed {
        /// Counted from 1.
        line: u64,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// No trace was chosen, and there are several: these.
    #[error("{} traces, and none is chosen", .0.len())]
    SeveralTraces(Vec<TraceId>),
    /// The chosen trace has no spans. These traces have.
    #[error("no spans of the chosen trace")]
    OtherTraces(Vec<TraceId>),
    /// There are no spans at all.
    #[error("no spans")]
    Empty,
}

/// Reads the spans of one trace, line by line. It ends at the first error.
pub struct SavedTrace<R> {
    from: R,
    /// `None`: the only one.
    trace: Option<TraceId>,
    line: Vec<u8>,
    /// Lines so far.
    number: u64,
    /// Of the current line: spans not yet handed out, with the attributes of their resource.
    pending: Box<dyn Iterator<Item = (Arc<[ProtoKeyValue]>, Span)> + Send>,
    /// Of the first span that was handed out.
    resource: Option<Resource>,
    /// All traces so far.
    traces: BTreeSet<TraceId>,
    is_cut_off: bool,
    is_over: bool,
}

impl<R: BufRead> SavedTrace<R> {
    /// Begins to read a trace: this one, or the only one that there is.
    pub fn new(from: R, trace: Option<TraceId>) -> Self {
        Self {
            from,
            trace,
            line: Vec::new(),
            number: 0,
            pending: Box::new([].into_iter()),
            resource: None,
            traces: BTreeSet::new(),
            is_cut_off: false,
            is_over: false,
        }
    }

    /// The number of the last line, if it ends in the middle and was therefore left out: so a run that was killed, or a full
    /// disk, leaves the file.
    pub fn cut_off(&self) -> Option<u64> {
        self.is_cut_off.then_some(self.number)
    }

    /// Returns the resource of the first span, once all spans are read.
    ///
    /// # Errors
    ///
    /// There are no spans of the trace, or no trace was chosen and there are several.
    pub fn finish(self) -> Result<Resource, ReadError> {
        let traces = || self.traces.iter().copied().collect();
        match (self.trace, self.resource) {
            (None, _) if self.traces.len() > 1 => Err(ReadError::SeveralTraces(traces())),
            (Some(_), None) => Err(ReadError::OtherTraces(traces())),
            (_, resource) => resource.ok_or(ReadError::Empty),
        }
    }

    fn read(&mut self) -> Result<Option<SpanData>, ReadError> {
        loop {
            for (attributes, span) in self.pending.by_ref() {
                let id = TraceId(bytes(&span.trace_id));
                self.traces.insert(id);
                if self.trace.is_some_and(|trace| trace != id) {
                    continue;
                }
                self.resource.get_or_insert_with(|| {
                    let attributes = attributes.iter().cloned().map(key_value);
                    Resource::builder_empty().with_attributes(attributes).build()
                });
                return Ok(Some(span_data(span)));
            }
            self.line.clear();
            if self.from.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(&self.line) {
                Ok(data) => self.pending = Box::new(spans(data)),
                // What was written last when a run was killed or a disk was full.
                Err(error) if error.is_eof() && !self.line.ends_with(b"\n") && self.resource.is_some() => {
                    self.is_cut_off = true;
                    return Ok(None);
                }
                Err(source) => return Err(ReadError::Malformed { line: self.number, source }),
            }
        }
    }
}

impl<R: BufRead> Iterator for SavedTrace<R> {
    type Item = Result<SpanData, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The spans of a line, with the attributes of their resource.
fn spans(data: TracesData) -> impl Iterator<Item = (Arc<[ProtoKeyValue]>, Span)> {
    data.resource_spans.into_iter().flat_map(|group| {
        let attributes: Arc<[_]> = group.resource.map(|resource| resource.attributes).unwrap_or_default().into();
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| (Arc::clone(&attributes), span))
    })
}

/// As the SDK has it. What is malformed in it counts as missing.
fn span_data(span: Span) -> SpanData {
    let (trace, id) = (bytes(&span.trace_id), bytes(&span.span_id));
    let context = |trace, id| {
        let (trace, id) = (opentelemetry::TraceId::from_bytes(trace), opentelemetry::SpanId::from_bytes(id));
        SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE)
    };
    let mut events = SpanEvents::default();
    events.dropped_count = span.dropped_events_count;
    events.events = span
        .events
        .into_iter()
        .map(|event| {
            let attributes = event.attributes.into_iter().map(key_value).collect();
            Event::new(event.name, time(event.time_unix_nano), attributes, event.dropped_attributes_count)
        })
        .collect();
    let mut links = SpanLinks::default();
    links.links = span
        .links
        .iter()
        .map(|link| Link::with_context(context(bytes(&link.trace_id), bytes(&link.span_id))))
        .collect();
    let status = span.status.unwrap_or_default();
    SpanData {
        span_context: context(trace, id),
        parent_span_id: opentelemetry::SpanId::from_bytes(bytes(&span.parent_span_id)),
        // SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
        parent_span_is_remote: span.flags & 0x200 != 0,
        span_kind: match span.kind {
            kind if kind == span::SpanKind::Client as i32 => SpanKind::Client,
            kind if kind == span::SpanKind::Server as i32 => SpanKind::Server,
            kind if kind == span::SpanKind::Producer as i32 => SpanKind::Producer,
            kind if kind == span::SpanKind::Consumer as i32 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: time(span.start_time_unix_nano),
        end_time: time(span.end_time_unix_nano),
        attributes: span.attributes.into_iter().map(key_value).collect(),
        dropped_attributes_count: span.dropped_attributes_count,
        events,
        links,
        status: match StatusCode::try_from(status.code) {
            Ok(StatusCode::Error) => Status::error(status.message),
            Ok(StatusCode::Ok) => Status::Ok,
            _ => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::default(),
    }
}

fn bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

fn time(nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

fn key_value(attribute: ProtoKeyValue) -> KeyValue {
    KeyValue::new(attribute.key, value(attribute.value.unwrap_or_default()))
}

/// What the SDK has no type for becomes JSON.
fn value(value: AnyValue) -> Value {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text.into(),
        Some(any_value::Value::BoolValue(value)) => value.into(),
        Some(any_value::Value::IntValue(value)) => value.into(),
        Some(any_value::Value::DoubleValue(value)) => value.into(),
        Some(any_value::Value::ArrayValue(array)) => {
            let texts: Option<Vec<StringValue>> = array
                .values
                .iter()
                .map(|value| match &value.value {
                    Some(any_value::Value::StringValue(text)) => Some(text.clone().into()),
                    _ => None,
                })
                .collect();
            let integers: Option<Vec<i64>> = array
                .values
                .iter()
                .map(|value| match value.value {
                    Some(any_value::Value::IntValue(value)) => Some(value),
                    _ => None,
                })
                .collect();
            match (texts, integers) {
                (Some(texts), _) => Value::Array(Array::String(texts)),
                (_, Some(integers)) => Value::Array(Array::I64(integers)),
                _ => serde_json::to_string(&array).unwrap_or_default().into(),
            }
        }
        Some(other) => serde_json::to_string(&other).unwrap_or_default().into(),
        None => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(trace: u8, name: &str) -> String {
        let id = format!("{trace:02x}").repeat(16);
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{id}","spanId":"0102030405060708","name":"{name}"}}]}}]}}]}}"#
        ) + "\n"
    }

    /// The names of the spans, the line that was cut off, and how it ended.
    fn read(file: &str, trace: Option<u8>) -> (Vec<String>, Option<u64>, Result<Resource, ReadError>) {
        let mut saved = SavedTrace::new(file.as_bytes(), trace.map(|trace| TraceId([trace; 16])));
        let names = saved.by_ref().map_while(|span| Some(span.ok()?.name.into_owned())).collect();
        assert!(saved.next().is_none(), "it has ended");
        (names, saved.cut_off(), saved.finish())
    }

    #[test]
    fn a_trace_is_chosen_if_there_are_several() {
        let file = line(1, "a") + "\n" + &line(2, "b") + &line(1, "c");
        let (names, _, end) = read(&file, Some(1));
        assert!(names == ["a", "c"] && end.is_ok());
        let ids = [TraceId([1; 16]), TraceId([2; 16])];
        assert!(matches!(read(&file, None).2, Err(ReadError::SeveralTraces(traces)) if traces == ids));
        assert!(matches!(read(&file, Some(3)).2, Err(ReadError::OtherTraces(traces)) if traces == ids));
        assert!(matches!(read("", None).2, Err(ReadError::Empty)));
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_left_out() {
        let file = line(1, "a") + &line(1, "b")[..40];
        let (names, cut_off, end) = read(&file, None);
        assert!(names == ["a"] && cut_off == Some(2) && end.is_ok());
    }

    #[test]
    fn a_line_that_is_not_otlp_is_named() {
        for file in [line(1, "a") + "nonsense\n" + &line(1, "b"), line(1, "a") + &line(1, "b")[..40] + "\n"] {
            let mut saved = SavedTrace::new(file.as_bytes(), None);
            assert!(saved.next().is_some_and(|span| span.is_ok()));
            assert!(matches!(saved.next(), Some(Err(ReadError::Malformed { line: 2, .. }))));
            assert!(saved.next().is_none());
        }
    }
}
