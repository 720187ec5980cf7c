//! Reads a saved trace: lines of OTLP/JSON, as `process-tracer -o FILE.jsonl` and other programs write them.
//!
//! The caller opens the file and shows the progress.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read},
    sync::Arc,
};

use opentelemetry::{Array, KeyValue, StringValue, Value as ResourceValue};
use opentelemetry_sdk::Resource;
use tracer_model::{TraceId, Value};

use crate::otlp_json::{Attributes, Line, Span};

/// The longest line, bytes. process-tracer writes batches of about 2 MiB, and collectors limit requests to some MiB. To read a
/// line takes several times its size in memory.
const LINE_LIMIT: usize = 64 << 20;

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
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// A line is longer than this reader accepts.
    #[error("line {line} is longer than {} MiB", LINE_LIMIT >> 20)]
    LongLine {
        /// Counted from 1.
        line: u64,
    },
    /// The file has several traces, and none was chosen.
    #[error("{} traces, and none was chosen", .0.len())]
    SeveralTraces(Vec<TraceId>),
    /// The chosen trace has no spans. These traces have some.
    #[error("no spans of the chosen trace")]
    OtherTraces(Vec<TraceId>),
    /// The file has no spans.
    #[error("no spans")]
    Empty,
}

/// An iterator over the spans of one trace. It reads line by line and ends at the first error.
pub struct SavedTrace<R> {
    from: R,
    /// `None`: the only trace in the file.
    trace: Option<TraceId>,
    line: Vec<u8>,
    /// The number of the current line.
    number: u64,
    /// Spans of the current line that are not returned yet, with the attributes of their resource.
    pending: Box<dyn Iterator<Item = (Arc<Attributes>, Span)> + Send>,
    /// The resource of the first span.
    resource: Option<Resource>,
    /// The traces found so far.
    traces: BTreeSet<TraceId>,
    is_cut_off: bool,
    is_over: bool,
}

impl<R: BufRead> SavedTrace<R> {
    /// Begins to read `trace`, or the only trace in the file.
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

    /// The number of the last line, if it is incomplete and was therefore skipped. A killed run or a full disk leaves such a
    /// line.
    pub fn cut_off(&self) -> Option<u64> {
        self.is_cut_off.then_some(self.number)
    }

    /// Returns the resource of the first span. Call it after the last span.
    ///
    /// # Errors
    ///
    /// The trace has no spans, or the file has several traces and none was chosen.
    pub fn finish(self) -> Result<Resource, ReadError> {
        let traces = || self.traces.iter().copied().collect();
        match (self.trace, self.resource) {
            (None, _) if self.traces.len() > 1 => Err(ReadError::SeveralTraces(traces())),
            (Some(_), None) => Err(ReadError::OtherTraces(traces())),
            (_, resource) => resource.ok_or(ReadError::Empty),
        }
    }

    fn read(&mut self) -> Result<Option<Span>, ReadError> {
        loop {
            for (attributes, span) in self.pending.by_ref() {
                self.traces.insert(span.trace_id);
                if self.trace.is_some_and(|trace| trace != span.trace_id) {
                    continue;
                }
                self.resource.get_or_insert_with(|| resource(&attributes));
                return Ok(Some(span));
            }
            self.line.clear();
            let mut from = self.from.by_ref().take(LINE_LIMIT as u64 + 1);
            if from.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() > LINE_LIMIT {
                return Err(ReadError::LongLine { line: self.number });
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(&self.line) {
                Ok(line) => self.pending = Box::new(spans(line)),
                // The run was killed or the disk was full.
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
    type Item = Result<Span, ReadError>;

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
fn spans(line: Line) -> impl Iterator<Item = (Arc<Attributes>, Span)> {
    line.resource_spans.into_iter().flat_map(|group| {
        let attributes = Arc::new(group.resource.unwrap_or_default().attributes);
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| (Arc::clone(&attributes), span))
    })
}

/// The resource as the SDK has it.
fn resource(attributes: &Attributes) -> Resource {
    let strings = |texts: &[String]| texts.iter().cloned().map(StringValue::from).collect();
    let value = |value: &Value| match value {
        Value::Bool(value) => ResourceValue::Bool(*value),
        Value::Int(value) => ResourceValue::I64(*value),
        Value::Float(value) => ResourceValue::F64(*value),
        Value::String(text) => ResourceValue::String(text.clone().into()),
        Value::Bools(values) => ResourceValue::Array(Array::Bool(values.clone())),
        Value::Ints(values) => ResourceValue::Array(Array::I64(values.clone())),
        Value::Floats(values) => ResourceValue::Array(Array::F64(values.clone())),
        Value::Strings(texts) => ResourceValue::Array(Array::String(strings(texts))),
    };
    let attributes = attributes.iter().map(|(key, of_key)| KeyValue::new(key.clone(), value(of_key)));
    Resource::builder_empty().with_attributes(attributes).build()
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

    /// The names of the spans, the incomplete line, and the result.
    fn read(file: &str, trace: Option<u8>) -> (Vec<String>, Option<u64>, Result<Resource, ReadError>) {
        let mut saved = SavedTrace::new(file.as_bytes(), trace.map(|trace| TraceId([trace; 16])));
        let names = saved.by_ref().map_while(|span| Some(span.ok()?.name)).collect();
        assert!(saved.next().is_none(), "it has ended");
        (names, saved.cut_off(), saved.finish())
    }

    #[test]
    fn one_of_several_traces_must_be_chosen() {
        let file = line(1, "a") + "\n" + &line(2, "b") + &line(1, "c");
        let (names, _, end) = read(&file, Some(1));
        assert!(names == ["a", "c"] && end.is_ok());
        let ids = [TraceId([1; 16]), TraceId([2; 16])];
        assert!(matches!(read(&file, None).2, Err(ReadError::SeveralTraces(traces)) if traces == ids));
        assert!(matches!(read(&file, Some(3)).2, Err(ReadError::OtherTraces(traces)) if traces == ids));
        assert!(matches!(read("", None).2, Err(ReadError::Empty)));
    }

    #[test]
    fn an_incomplete_last_line_is_skipped() {
        let file = line(1, "a") + &line(1, "b")[..40];
        let (names, cut_off, end) = read(&file, None);
        assert!(names == ["a"] && cut_off == Some(2) && end.is_ok());
    }

    #[test]
    fn a_line_that_is_not_otlp_is_reported_by_its_number() {
        for file in [line(1, "a") + "nonsense\n" + &line(1, "b"), line(1, "a") + &line(1, "b")[..40] + "\n"] {
            let mut saved = SavedTrace::new(file.as_bytes(), None);
            assert!(saved.next().is_some_and(|span| span.is_ok()));
            assert!(matches!(saved.next(), Some(Err(ReadError::Malformed { line: 2, .. }))));
            assert!(saved.next().is_none());
        }
    }

    #[test]
    fn a_line_beyond_the_limit_is_reported_by_its_number() {
        let blank = vec![b' '; LINE_LIMIT - 1];
        let file = [line(1, "a").as_bytes(), &blank, b"\n", &blank, b"  \n"].concat();
        let mut saved = SavedTrace::new(&file[..], None);
        assert!(saved.next().is_some_and(|span| span.is_ok()));
        assert!(matches!(saved.next(), Some(Err(ReadError::LongLine { line: 3 }))), "the limit itself is accepted");
        assert!(saved.next().is_none());
    }
}
