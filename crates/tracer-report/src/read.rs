//! Reads a saved trace: lines of OTLP/JSON, as `process-tracer -o FILE.jsonl` and other programs write them, or a Parquet
//! file.
//!
//! The caller opens the file and shows the progress.

use std::{collections::BTreeSet, fs::File, io::BufRead, iter, sync::Arc};

use parquet::errors::ParquetError;

use tracer_model::{Resource, TraceId};
use tracer_otlp::{JsonLines, LineError, message::TracesData};

use crate::{
    parquet as parquet_file,
    saved::{Attributes, Span, attributes},
};

/// Why a saved trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A line cannot be read.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The file has several traces, and none was chosen.
    #[error("{} traces, and none was chosen", .0.len())]
    SeveralTraces(Vec<TraceId>),
    /// The chosen trace has no spans. These traces have some.
    #[error("no spans of the chosen trace")]
    OtherTraces(Vec<TraceId>),
    /// The file cannot be read as Parquet.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// The file has no spans.
    #[error("no spans")]
    Empty,
}

/// An iterator over the spans of one trace. It reads line by line and ends at the first error.
pub struct SavedTrace<R> {
    source: Source<R>,
    /// `None`: the only trace in the file.
    trace: Option<TraceId>,
    /// Spans of the current line that are not returned yet, with the attributes of their resource.
    pending: Box<dyn Iterator<Item = (Arc<Attributes>, Span)> + Send>,
    /// The resource of the first span.
    resource: Option<Resource>,
    /// The traces found so far.
    traces: BTreeSet<TraceId>,
    /// The number of an incomplete last line.
    cut_off: Option<u64>,
    /// The number of lines with other data than spans.
    skipped: u64,
    is_over: bool,
}

/// Where the spans come from.
enum Source<R> {
    Lines(JsonLines<R>),
    Parquet(Box<parquet_file::Reader>),
}

impl<R: BufRead> SavedTrace<R> {
    /// Begins to read `trace`, or the only trace in the file.
    pub fn new(from: R, trace: Option<TraceId>) -> Self {
        Self::of(Source::Lines(JsonLines::new(from)), trace)
    }

    /// The same for a file of `-o FILE.parquet`.
    ///
    /// # Errors
    ///
    /// The file is not Parquet, or lacks columns.
    pub fn of_parquet(file: File, trace: Option<TraceId>) -> Result<Self, ReadError> {
        Ok(Self::of(Source::Parquet(Box::new(parquet_file::Reader::new(file)?)), trace))
    }

    fn of(source: Source<R>, trace: Option<TraceId>) -> Self {
        Self {
            source,
            trace,
            pending: Box::new([].into_iter()),
            resource: None,
            traces: BTreeSet::new(),
            cut_off: None,
            skipped: 0,
            is_over: false,
        }
    }

    /// The number of the last line, if it is incomplete and was therefore skipped. A killed run or a full disk leaves such a
    /// line.
    pub fn cut_off(&self) -> Option<u64> {
        self.cut_off
    }

    /// The number of lines so far that have other data than spans. This data is not read.
    pub fn skipped(&self) -> u64 {
        self.skipped
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
                self.resource.get_or_insert_with(|| attributes.iter().cloned().collect());
                return Ok(Some(span));
            }
            let lines = match &mut self.source {
                Source::Lines(lines) => lines,
                Source::Parquet(reader) => match reader.next().transpose()? {
                    Some(span) => {
                        self.pending = Box::new(iter::once((Arc::clone(&span.resource), span)));
                        continue;
                    }
                    None => return Ok(None),
                },
            };
            match lines.next().transpose() {
                Ok(Some(line)) => {
                    self.skipped += u64::from(line.has_other_data);
                    self.pending = Box::new(spans(line.data));
                }
                Ok(None) => return Ok(None),
                Err(LineError::CutOff { line }) => {
                    self.cut_off = Some(line);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
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
fn spans(line: TracesData) -> impl Iterator<Item = (Arc<Attributes>, Span)> {
    line.resource_spans.into_iter().flat_map(|group| {
        let attributes = Arc::new(attributes(group.resource.unwrap_or_default().attributes));
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| (Arc::clone(&attributes), Span { resource: Arc::clone(&attributes), ..span.into() }))
    })
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
        let (names, cut_off, end) = read(&line(1, "a")[..40], None);
        assert!(names.is_empty() && cut_off == Some(1) && matches!(end, Err(ReadError::Empty)), "{end:?}");
    }

    #[test]
    fn a_line_that_is_not_otlp_is_reported_by_its_number() {
        for file in [line(1, "a") + "nonsense\n" + &line(1, "b"), line(1, "a") + &line(1, "b")[..40] + "\n"] {
            let mut saved = SavedTrace::new(file.as_bytes(), None);
            assert!(saved.next().is_some_and(|span| span.is_ok()));
            assert!(matches!(saved.next(), Some(Err(ReadError::Line(LineError::Malformed { line: 2, .. })))));
            assert!(saved.next().is_none());
        }
    }
}
