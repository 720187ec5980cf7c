//! Undelivered spans in a file of OTLP/JSON lines: written by a run, and delivered later.

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    time::{Duration, Instant},
};

use prost::Message;
use tracer_model::Span;

use crate::{
    Accepted, Client, Encoder, Failure, Signal,
    json_lines::{self, JsonLines, LineError, LineWriter},
    message::TracesData,
    retry,
};

/// Creates the file of a spool.
pub type Create = Box<dyn FnMut() -> Result<File, Box<dyn Error + Send + Sync>> + Send>;

/// Why spans are not kept.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file cannot be created.
    #[error(transparent)]
    Create(Box<dyn Error + Send + Sync>),
    /// The file cannot be written.
    #[error("cannot write")]
    Write(#[from] io::Error),
}

/// The file for undelivered spans of a run. The first of them creates the file.
pub struct Spool {
    create: Create,
    encoder: Encoder,
    lines: Option<LineWriter>,
}

impl Spool {
    /// A spool that creates its file with `create`.
    #[must_use]
    pub fn new(encoder: Encoder, create: Create) -> Self {
        Self { create, encoder, lines: None }
    }

    /// Keeps all of the spans. On an error, it keeps none of them.
    ///
    /// # Errors
    ///
    /// The file cannot be created or written.
    pub fn save<'a>(&mut self, spans: impl IntoIterator<Item = &'a Span>) -> Result<(), SaveError> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => {
                let file = (self.create)().map_err(SaveError::Create)?;
                none.insert(LineWriter::new(file, self.encoder.clone()))
            }
        };
        Ok(lines.write(spans)?)
    }
}

/// Why a file was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A line cannot be read.
    #[error("nothing has been sent")]
    Line(#[from] LineError),
    /// The file is not empty, but has no spans. It is probably no trace.
    #[error("no spans of OTLP/JSON; nothing has been sent")]
    NoSpans,
    /// The file cannot be read or cut.
    #[error("cannot read or shorten the file")]
    File(#[from] io::Error),
    /// A collector did not accept the spans.
    #[error("{left} of {total} bytes are left")]
    Undelivered {
        /// Bytes from the start of the file.
        left: u64,
        /// Bytes of the file before this delivery.
        total: u64,
        /// Why not.
        source: Failure,
    },
}

/// The result of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The number of spans that were sent.
    pub spans: u64,
    /// The answers.
    pub accepted: Accepted,
    /// The number of lines with other data than spans. They were not sent.
    pub skipped: u64,
}

/// Delivers the spans of a file line by line, from its end. Unless `keep` is set, it removes delivered lines from the
/// file. So after a crash, the rest of the file is the rest of the work. After a line with rejected spans, it removes
/// no more lines. A file with other data stays as it is. Calls `progress` with the bytes sent and their total.
///
/// # Errors
///
/// A line cannot be read, or no line has spans, or the collector did not accept a line.
pub fn deliver(
    file: &File,
    keep: bool,
    client: &Client,
    patience: Duration,
    mut progress: impl FnMut(u64, u64),
) -> Result<Delivered, DeliveryError> {
    // All lines are read before the first is sent.
    let mut delivered = Delivered::default();
    let mut starts = Vec::new();
    for line in JsonLines::new(BufReader::new(file)) {
        let line = line?;
        starts.push(line.start);
        delivered.spans += line.data.span_count() as u64;
        delivered.skipped += u64::from(line.has_other_data);
    }
    if delivered.spans == 0 && !starts.is_empty() {
        return Err(DeliveryError::NoSpans);
    }
    let total = file.metadata()?.len();
    let keep = keep || delivered.skipped > 0;
    let mut end = total;
    for start in starts.into_iter().rev() {
        let data = read(file, start, end)?;
        if data.span_count() == 0 {
            end = start;
            continue;
        }
        let answer = retry::send(client, data, patience).map_err(|source| DeliveryError::Undelivered {
            left: end,
            total,
            source,
        })?;
        delivered.accepted = delivered.accepted + answer;
        // A line with rejected spans stays. The lines before it stay too.
        if !keep && delivered.accepted.rejected == 0 {
            file.set_len(start)?;
        }
        end = start;
        progress(total - end, total);
    }
    Ok(delivered)
}

/// Sends the first line of a file in one request, without a second try.
///
/// # Errors
///
/// There is no line, or it cannot be read, or the collector did not accept it.
pub fn send_line(
    file: &File,
    client: &Client,
    deadline: &dyn Fn() -> Option<Instant>,
) -> Result<Accepted, DeliveryError> {
    let total = file.metadata()?.len();
    let line =
        JsonLines::new(BufReader::new(file)).next().ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)??;
    let request = line.data.encode_to_vec().into();
    let answer = client.export(Signal::Traces, &request, deadline);
    answer.map_err(|source| DeliveryError::Undelivered { left: total, total, source })
}

/// The line between two positions.
fn read(mut file: &File, start: u64, end: u64) -> io::Result<TracesData> {
    let mut line = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut line)?;
    Ok(json_lines::parse(&line)?.0)
}
