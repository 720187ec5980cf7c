//! The meaning of a collector's answer.
//!
//! The status decides the result. Accepted spans are never sent again, even if the rest of the answer cannot be read.
//! No answer takes more memory than [`LIMIT`] allows.

use std::{
    error::Error,
    fmt::Display,
    io::Read,
    ops::Add,
    pin::pin,
    time::{Duration, Instant, SystemTime},
};

use flate2::read::MultiGzDecoder;
use futures_util::future::{Either, select};
use http::{HeaderMap, Response, StatusCode, header, response::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use prost::{Message, bytes::Bytes};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::message::{ExportResponse, PartialSuccess};

/// The largest answer that is read, in bytes. The unpacked answer has the same limit. The OTLP specification recommends
/// this limit ("OTLP/HTTP Response").
const LIMIT: usize = 4 << 20;

/// Characters of a collector's text that are shown.
const SHOWN: usize = 400;

/// No collector can ask for more time.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a request under way checks whether its time is over.
const GLANCE: Duration = Duration::from_millis(100);

/// The collector accepted requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The number of their items that it rejected nevertheless.
    pub rejected: u64,
    /// Why it rejected the first of them.
    pub reason: String,
    /// The first warning for the user.
    pub warning: Option<String>,
}

impl Add for Accepted {
    type Output = Self;

    fn add(self, later: Self) -> Self {
        Self {
            rejected: self.rejected.saturating_add(later.rejected),
            reason: if self.rejected > 0 { self.reason } else { later.reason },
            warning: self.warning.or(later.warning),
        }
    }
}

/// Why the collector did not accept a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request got no status. There is no collector, or it cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The collector asks to try again.
    #[error("{reason}")]
    Busy {
        /// The text of the collector.
        reason: String,
        /// The time to wait before the next request.
        after: Option<Duration>,
    },
    /// The request is too large.
    #[error("{0}")]
    TooLarge(String),
    /// The collector would refuse the request again.
    #[error("{0}")]
    Refused(String),
}

/// Why an answer ends early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    #[error("it is larger than {} MiB", LIMIT >> 20)]
    TooLarge,
    #[error("the rest did not come in time")]
    TimedOut,
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// Adds a remedy to the words.
    pub(super) fn with(mut self, remedy: &str) -> Self {
        let (Self::Unreachable(words)
        | Self::Busy { reason: words, .. }
        | Self::TooLarge(words)
        | Self::Refused(words)) = &mut self;
        *words = format!("{words}; {remedy}");
        self
    }

    /// The time of the request is over, and there is no status.
    pub(super) fn timed_out() -> Self {
        Self::Unreachable("no answer in time".to_owned())
    }
}

impl Accepted {
    /// The collector accepted the request, but its answer cannot be read.
    pub(super) fn unread(why: &str) -> Self {
        let why = brief(why);
        let warning = format!("the collector accepted the spans, but its answer cannot be read: {why}");
        Self { warning: Some(warning), ..Self::default() }
    }

    /// No collector can reject more items than it was sent.
    pub(crate) fn of(self, items: usize) -> Self {
        Self { rejected: self.rejected.min(items as u64), ..self }
    }

    /// By the OTLP specification, "Partial Success": a message without rejected items is a warning.
    pub(super) fn new(answer: ExportResponse) -> Self {
        let PartialSuccess { rejected, error_message } = answer.partial_success.unwrap_or_default();
        let message = brief(&error_message);
        match u64::try_from(rejected).unwrap_or_default() {
            0 if message.is_empty() => Self::default(),
            0 => Self { warning: Some(format!("the collector warns: {message}")), ..Self::default() },
            rejected => Self { rejected, reason: message, warning: None },
        }
    }
}

/// The time of a request. A deadline can be set while the request is under way.
pub(super) struct Time<'a> {
    pub(super) limit: Instant,
    pub(super) deadline: &'a dyn Fn() -> Option<Instant>,
}

impl Time<'_> {
    /// The result of the work; `None` if the time is over first.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        // The time is checked first, so that work that is always ready cannot exceed it.
        match select(pin!(self.is_over()), pin!(work)).await {
            Either::Left(_) => None,
            Either::Right((done, _)) => Some(done),
        }
    }

    async fn is_over(&self) {
        loop {
            let limit = (self.deadline)().map_or(self.limit, |deadline| deadline.min(self.limit));
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(GLANCE)).await;
        }
    }
}

/// The part of an answer's body that was received.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) trailers: HeaderMap,
    pub(super) cut: Option<Cut>,
}

impl Content {
    /// Reads a body up to the limit.
    pub(super) async fn read<B>(body: B, time: &Time<'_>) -> Self
    where
        B: Body<Data = Bytes, Error: Error + 'static>,
    {
        let mut body = pin!(body);
        let mut content = Self::default();
        loop {
            let frame = match time.bound(body.frame()).await {
                Some(Some(Ok(frame))) => frame,
                Some(None) => return content,
                Some(Some(Err(error))) => return content.cut(Cut::Broken(innermost(&error))),
                None => return content.cut(Cut::TimedOut),
            };
            match frame.into_data() {
                Ok(data) if content.bytes.len() + data.len() > LIMIT => return content.cut(Cut::TooLarge),
                Ok(data) => content.bytes.extend_from_slice(&data),
                Err(frame) => content.trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
    }

    /// Decodes it. Some servers use an encoding that the request does not accept.
    fn unpacked(mut self, headers: &HeaderMap) -> Self {
        let encoding = text_of(headers, header::CONTENT_ENCODING);
        if !["gzip", "x-gzip"].contains(&encoding.as_str()) {
            let is_plain = ["", "identity"].contains(&encoding.as_str());
            return if is_plain { self } else { self.cut(Cut::Broken(format!("it is encoded with {encoding}"))) };
        }
        let mut unpacked = Vec::new();
        let read = MultiGzDecoder::new(self.bytes.as_slice()).take(LIMIT as u64 + 1).read_to_end(&mut unpacked);
        self.bytes = unpacked;
        match read {
            Ok(size) if size > LIMIT => self.cut(Cut::TooLarge),
            Ok(_) => self,
            Err(error) => self.cut(Cut::Broken(error.to_string())),
        }
    }

    /// Keeps the first reason.
    fn cut(mut self, cut: Cut) -> Self {
        self.cut.get_or_insert(cut);
        self
    }
}

/// Reads an answer over HTTP.
pub(super) async fn of_http<B>(answer: Response<B>, time: &Time<'_>) -> Result<Accepted, Failure>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
{
    let (head, body) = answer.into_parts();
    let content = Content::read(body, time).await.unpacked(&head.headers);
    let is_json = text_of(&head.headers, header::CONTENT_TYPE).starts_with("application/json");
    if head.status.is_success() {
        return Ok(accepted(&content, is_json));
    }
    Err(failure_of_page(&head, &content))
}

/// The failure of an answer over HTTP. Its text may be plain, JSON or protobuf.
pub(super) fn failure_of_page(head: &Parts, content: &Content) -> Failure {
    let media = text_of(&head.headers, header::CONTENT_TYPE);
    let message = if media.starts_with("application/json") {
        message_in_json(&content.bytes)
    } else if media.starts_with("application/x-protobuf") {
        tonic_types::Status::decode(content.bytes.as_slice()).ok().map(|status| status.message)
    } else {
        None
    };
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(&content.bytes).into_owned());
    failure_of_http(head.status, &brief(&message), retry_after(&head.headers, SystemTime::now()))
}

fn accepted(content: &Content, is_json: bool) -> Accepted {
    if let Some(cut) = &content.cut {
        return Accepted::unread(&cut.to_string());
    }
    let bytes = content.bytes.as_slice();
    let answer = match is_json {
        true => serde_json::from_slice(bytes).ok(),
        false => ExportResponse::decode(bytes).ok(),
    };
    answer
        .map_or_else(|| Accepted::unread(&format!("it is not OTLP: {}", String::from_utf8_lossy(bytes))), Accepted::new)
}

/// The message of a google.rpc.Status.
fn message_in_json(bytes: &[u8]) -> Option<String> {
    let status: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Some(status.get("message")?.as_str()?.to_owned())
}

/// See the OTLP specification, "OTLP/HTTP Response".
fn failure_of_http(status: StatusCode, message: &str, after: Option<Duration>) -> Failure {
    let reason = refusal(&status, message);
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge(reason),
        // The OpenTelemetry Collector passes on the text of Go's http.MaxBytesReader.
        StatusCode::BAD_REQUEST if message.contains("request body too large") => Failure::TooLarge(reason),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::Busy { reason, after },
        _ => Failure::Refused(reason),
    }
}

fn refusal(status: &dyn Display, message: &str) -> String {
    let colon = if message.is_empty() { "" } else { ": " };
    format!("the collector answers {status}{colon}{message}")
}

/// A number of seconds, or a date: RFC 9110, section 10.2.3.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    // A much longer time cannot be added to a clock.
    Some(after.min(LONGEST_PAUSE))
}

/// See the OTLP specification, "OTLP/gRPC Response".
pub(super) fn failure_of_grpc(status: &Status) -> Failure {
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let message = status.message();
    let reason = match status.source() {
        // The request has not reached a collector.
        Some(source) => return Failure::Unreachable(innermost(source)),
        None => refusal(&status.code(), &brief(message)),
    };
    match status.code() {
        Code::ResourceExhausted if after.is_none() => Failure::TooLarge(reason),
        // Servers built on tonic answer this way.
        Code::OutOfRange if message.contains("message length too large") => Failure::TooLarge(reason),
        Code::ResourceExhausted
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Failure::Busy { reason, after },
        _ => Failure::Refused(reason),
    }
}

/// A header's value in lower case; empty if there is none.
fn text_of(headers: &HeaderMap, name: header::HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_ascii_lowercase()
}

/// The beginning of a text, in one line.
fn brief(text: &str) -> String {
    // The rest of a long text must not take time.
    let start: String = text.chars().take(4 * SHOWN).collect();
    let words = start.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = words.chars().take(SHOWN).collect();
    if shown.len() < words.len() || start.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The innermost cause of an error. The outer errors only say where it happened, and the message already says that.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_failure_follows_from_the_status_and_the_message() {
        let http = |status, message| {
            failure_of_http(StatusCode::from_u16(status).unwrap(), message, Some(Duration::from_secs(3)))
        };
        assert!(matches!(http(413, ""), Failure::TooLarge(_)));
        assert!(matches!(http(400, "http: request body too large"), Failure::TooLarge(_)));
        for status in [429, 502, 503, 504] {
            let failure = http(status, "");
            assert!(matches!(failure, Failure::Busy { after: Some(after), .. } if after.as_secs() == 3), "{status}");
        }
        for status in [400, 401, 404, 500] {
            assert!(matches!(http(status, "why"), Failure::Refused(reason) if reason.ends_with(": why")), "{status}");
        }
        let grpc = |code| failure_of_grpc(&Status::new(code, "why"));
        assert!(matches!(grpc(Code::ResourceExhausted), Failure::TooLarge(_)));
        assert!(matches!(grpc(Code::Unavailable), Failure::Busy { after: None, .. }));
        assert!(matches!(grpc(Code::OutOfRange), Failure::Busy { after: None, .. }));
        assert!(matches!(grpc(Code::InvalidArgument), Failure::Refused(reason) if reason.ends_with("why")));
        let tonic =
            Status::out_of_range("Error, decoded message length too large: found 2 bytes, the limit is: 1 bytes");
        assert!(matches!(failure_of_grpc(&tonic), Failure::TooLarge(_)));
        let details = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let busy = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert!(matches!(failure_of_grpc(&busy), Failure::Busy { after: Some(after), .. } if after.as_secs() == 2));
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let after = |value: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers, now).map(|after| after.as_secs())
        };
        assert_eq!(after(" 120 "), Some(120));
        assert_eq!(after("18446744073709551615"), Some(86_400));
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(after(date), Some(7), "{date}");
        }
        assert_eq!(after("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(after("Tue, 31 Dec 2199 23:59:59 GMT"), Some(86_400));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn rejected_spans_do_not_overflow() {
        let answer = || {
            let partial_success = Some(PartialSuccess { rejected: i64::MAX, error_message: "why".to_owned() });
            Accepted::new(ExportResponse { partial_success })
        };
        // If the sum wrapped around, the number of rejected spans would be zero.
        let sum = (0..2).fold(Accepted { rejected: 2, ..answer() }, |sum, _| sum + answer());
        assert_eq!(sum, Accepted { rejected: u64::MAX, reason: "why".to_owned(), warning: None });
        assert_eq!(answer().of(3).rejected, 3);
        assert_eq!(Accepted { rejected: 1, ..answer() }.of(3).rejected, 1);
    }

    #[test]
    fn a_gzip_bomb_is_unpacked_to_the_limit() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..64 {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let bytes = encoder.finish().unwrap();
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, "gzip".parse().unwrap())]);
        let content = Content { bytes, ..Content::default() }.unpacked(&headers);
        assert_eq!((content.bytes.len(), content.cut), (LIMIT + 1, Some(Cut::TooLarge)));
    }

    #[test]
    fn a_long_text_is_shown_in_part() {
        assert_eq!(brief(" a\n\tb \r\n"), "a b");
        assert_eq!(brief(&"ü ".repeat(SHOWN)).chars().count(), SHOWN + 1);
        assert!(brief(&"x".repeat(LIMIT)).ends_with("x…"));
        assert!(!brief(&"x".repeat(SHOWN)).ends_with('…'));
    }
}
