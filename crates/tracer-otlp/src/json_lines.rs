//! Files of OTLP/JSON lines: each line is a [`TracesData`].
//!
//! Source: the [OpenTelemetry Protocol File Exporter](https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/).

use std::{
    fs::File,
    io::{self, BufRead, Read, Seek, SeekFrom, Write},
};

use serde::{Deserialize, de::IgnoredAny};
use tracer_model::Span;

use crate::{
    Encoder,
    message::{ResourceSpans, TracesData},
};

/// The longest line that is read, in bytes. Collectors limit requests to some MiB. Reading a line takes several times
/// its size in memory.
pub const LONGEST_LINE: usize = 64 << 20;

/// Why a line cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
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
    /// The file ends in the middle of a line. A killed run or a full disk leaves such a line.
    #[error("the file ends in the middle of line {line}")]
    CutOff {
        /// Counted from 1.
        line: u64,
    },
    /// A line is longer than [`LONGEST_LINE`].
    #[error("line {line} is longer than {} MiB", LONGEST_LINE >> 20)]
    TooLong {
        /// Counted from 1.
        line: u64,
    },
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// The position of its first byte in the file.
    pub start: u64,
    /// Its spans.
    pub data: TracesData,
    /// It has logs, metrics or profiles, or is no OTLP. They are not read.
    pub has_other_data: bool,
}

/// The content of a line. The Collector's file exporter writes lines of any signal.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    resource_spans: Option<Vec<ResourceSpans>>,
    resource_logs: Option<IgnoredAny>,
    resource_metrics: Option<IgnoredAny>,
    resource_profiles: Option<IgnoredAny>,
}

/// Reads a line. The flag says whether it has other data than spans.
pub(crate) fn parse(line: &[u8]) -> serde_json::Result<(TracesData, bool)> {
    let Content { resource_spans, resource_logs, resource_metrics, resource_profiles } = serde_json::from_slice(line)?;
    let has_other_signals = [resource_logs, resource_metrics, resource_profiles].iter().any(Option::is_some);
    let has_other_data = has_other_signals || resource_spans.is_none();
    Ok((TracesData { resource_spans: resource_spans.unwrap_or_default() }, has_other_data))
}

/// Reads a file line by line. Empty lines are skipped.
///
/// ```
/// use tracer_otlp::JsonLines;
///
/// let file = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"make"}]}]}]}"#;
/// let line = JsonLines::new(file.as_bytes()).next().unwrap().unwrap();
/// assert_eq!(line.data.resource_spans[0].scope_spans[0].spans[0].name, "make");
/// ```
#[derive(Debug)]
pub struct JsonLines<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
    end: u64,
}

impl<R: BufRead> JsonLines<R> {
    /// Begins at the first line.
    pub fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0, end: 0 }
    }

    fn read(&mut self) -> Result<Option<Line>, LineError> {
        loop {
            self.line.clear();
            let start = self.end;
            let mut from = self.from.by_ref().take(LONGEST_LINE as u64 + 1);
            let size = from.read_until(b'\n', &mut self.line)?;
            if size == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.end += size as u64;
            let number = self.number;
            if size > LONGEST_LINE {
                return Err(LineError::TooLong { line: number });
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            return match parse(&self.line) {
                Ok((data, has_other_data)) => Ok(Some(Line { number, start, data, has_other_data })),
                Err(source) if source.is_eof() && !self.line.ends_with(b"\n") => {
                    Err(LineError::CutOff { line: number })
                }
                Err(source) => Err(LineError::Malformed { line: number, source }),
            };
        }
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<Line, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Writes spans to a file as lines.
#[derive(Debug)]
pub struct LineWriter {
    file: File,
    /// Bytes of the whole lines in it. `None`: other programs write it, too.
    size: Option<u64>,
    encoder: Encoder,
}

impl LineWriter {
    /// Begins with an empty file.
    #[must_use]
    pub fn new(file: File, encoder: Encoder) -> Self {
        Self { file, size: Some(0), encoder }
    }

    /// Writes to a pipe, or to a file that other programs write, too. Such a file must be open in append mode.
    #[must_use]
    pub fn shared(file: File, encoder: Encoder) -> Self {
        Self { file, size: None, encoder }
    }

    /// Writes whole lines only. After an incomplete line, the next line could not be read. In a shared file, a failed write
    /// can leave an incomplete line.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write<'a>(&mut self, spans: impl IntoIterator<Item = &'a Span>) -> io::Result<()> {
        let lines = self.encoder.json_lines(spans);
        let written = self.file.write_all(&lines);
        if let Some(size) = &mut self.size {
            if written.is_ok() {
                *size += lines.len() as u64;
            } else {
                // Only a regular file can be cut.
                let _ = self.file.set_len(*size);
                let _ = self.file.seek(SeekFrom::Start(*size));
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(file: &[u8]) -> Vec<Result<(u64, u64), LineError>> {
        JsonLines::new(file).map(|line| line.map(|line| (line.number, line.start))).take(3).collect()
    }

    #[test]
    fn lines_have_their_number_and_their_place() {
        let lines = numbers(b"{}\n \n\n{}");
        assert!(matches!(lines[..], [Ok((1, 0)), Ok((4, 6))]), "{lines:?}");
    }

    #[test]
    fn lines_of_other_data_are_marked() {
        let file = r#"{"resourceLogs":[]}
            {"resourceMetrics":[{"scopeMetrics":[]}]}
            {"resourceProfiles":[],"dictionary":{}}
            {"resourceSpans":[],"resourceLogs":null}
            {"resourceSpans":[{}],"resourceLogs":[{}]}
            {"level":"info"}"#;
        let lines: Result<Vec<_>, _> = JsonLines::new(file.as_bytes()).collect();
        let marks: Vec<_> = lines.unwrap().iter().map(|line| line.has_other_data).collect();
        assert_eq!(marks, [true, true, true, false, true, true]);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let lines = numbers(b"{}\nnonsense\n");
        assert!(matches!(lines[1], Err(LineError::Malformed { line: 2, .. })), "{lines:?}");
        let lines = numbers(b"{}\n{\"a\":");
        assert!(matches!(lines[1], Err(LineError::CutOff { line: 2 })), "{lines:?}");
        let lines = numbers(b"{\"a\":\n{}");
        assert!(matches!(lines[0], Err(LineError::Malformed { line: 1, .. })), "{lines:?}");
    }

    #[test]
    fn a_line_beyond_the_limit_is_named() {
        let blank = vec![b' '; LONGEST_LINE - 1];
        let file = [b"{}\n", &blank[..], b"\n", &blank, b"  \n"].concat();
        let lines = numbers(&file);
        // The limit itself is accepted.
        assert!(matches!(lines[1], Err(LineError::TooLong { line: 3 })), "{lines:?}");
    }
}
