//! Trace context in environments: `TRACEPARENT` has the value of the header `traceparent` of W3C Trace Context.

use std::{fmt, str::FromStr};

use crate::{
    id::{SpanId, TraceId},
    strings::Strings,
};

/// The name of the variable, by OpenTelemetry's specification of environment variables as carriers.
pub const TRACEPARENT: &str = "TRACEPARENT";

/// A span of some trace.
///
/// ```
/// use tracer_model::context::SpanContext;
///
/// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let context: SpanContext = text.parse()?;
/// assert_eq!(context.span_id.to_string(), "b7ad6b7169203331");
/// assert_eq!(context.to_string(), text);
/// # Ok::<(), tracer_model::context::ParseContextError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

impl SpanContext {
    /// The span that an environment names. The first variable of that name counts, as for getenv(3).
    #[must_use]
    pub fn of_environment(environment: &Strings) -> Option<Self> {
        let value = |variable: &[u8]| -> Option<Vec<u8>> {
            Some(variable.strip_prefix(TRACEPARENT.as_bytes())?.strip_prefix(b"=")?.to_owned())
        };
        let value = environment.bytes.split(|byte| *byte == 0).find_map(value)?;
        str::from_utf8(&value).ok()?.parse().ok()
    }
}

/// The text is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C trace context")]
pub struct ParseContextError;

impl FromStr for SpanContext {
    type Err = ParseContextError;

    /// Accepts later versions too: they begin like version 00. See W3C Trace Context, "Versioning of traceparent".
    fn from_str(text: &str) -> Result<Self, ParseContextError> {
        let fields: Vec<_> = text.trim().split('-').collect();
        let [version, trace_id, span_id, flags, rest @ ..] = fields.as_slice() else { return Err(ParseContextError) };
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let is_known = *version != "ff" && (*version != "00" || rest.is_empty());
        if !is_known || version.len() != 2 || flags.len() != 2 || !fields[..4].iter().all(|field| is_hex(field)) {
            return Err(ParseContextError);
        }
        let trace_id = trace_id.parse().map_err(|_| ParseContextError)?;
        Ok(Self { trace_id, span_id: span_id.parse().map_err(|_| ParseContextError)? })
    }
}

impl fmt::Display for SpanContext {
    /// The text has the flag "sampled", because process-tracer records the trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace_id, self.span_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_written_context_can_be_read() {
        let context = SpanContext { trace_id: TraceId([0xab; 16]), span_id: SpanId([0xcd; 8]) };
        assert_eq!(context.to_string().parse(), Ok(context));
    }

    #[test]
    fn malformed_contexts_are_refused() {
        let read = |text: &str| text.parse::<SpanContext>().is_ok();
        assert!(
            read(&format!("00-{TRACE}-{SPAN}-00")) && read(&format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"))
        );
        for malformed in [
            String::new(),
            "nonsense".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("0-{TRACE}-{SPAN}-01"),
        ] {
            assert!(!read(&malformed), "{malformed}");
        }
    }

    #[test]
    fn the_first_variable_of_an_environment_counts() {
        let (first, second) =
            (format!("TRACEPARENT=00-{TRACE}-{SPAN}-01"), format!("TRACEPARENT=00-{TRACE}-{}-01", "1".repeat(16)));
        let environment: Strings = ["TRACEPARENTS=x", "A=1", &first, &second].into_iter().collect();
        assert_eq!(SpanContext::of_environment(&environment).unwrap().span_id.to_string(), SPAN);
        assert_eq!(SpanContext::of_environment(&Strings::default()), None);
    }
}
