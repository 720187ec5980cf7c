//! Trace context in environments: `TRACEPARENT` has the value of the header `traceparent` of W3C Trace Context.

use std::{collections::BTreeSet, fmt, str::FromStr};

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

    fn from_str(text: &str) -> Result<Self, ParseContextError> {
        Ok(text.parse::<Traceparent>()?.span)
    }
}

/// A `traceparent`: a span, and whether its trace is sampled.
///
/// ```
/// use tracer_model::context::Traceparent;
///
/// let parent: Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00".parse()?;
/// assert!(!parent.is_sampled);
/// # Ok::<(), tracer_model::context::ParseContextError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// The span.
    pub span: SpanContext,
    /// The trace is recorded.
    pub is_sampled: bool,
}

impl FromStr for Traceparent {
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
        let span = SpanContext { trace_id, span_id: span_id.parse().map_err(|_| ParseContextError)? };
        let flags = u8::from_str_radix(flags, 16).map_err(|_| ParseContextError)?;
        Ok(Self { span, is_sampled: flags & SAMPLED != 0 })
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpanContext { trace_id, span_id } = self.span;
        write!(f, "00-{trace_id}-{span_id}-{:02x}", u8::from(self.is_sampled) * SAMPLED)
    }
}

/// The flag of a sampled trace.
const SAMPLED: u8 = 1;

/// Whether the text is a valid `tracestate`: at most 32 pairs of a vendor's key and its value, separated by commas.
///
/// ```
/// use tracer_model::context::is_trace_state;
///
/// assert!(is_trace_state("vendor=1, tenant@other=a b"));
/// assert!(!is_trace_state("vendor"));
/// ```
#[must_use]
pub fn is_trace_state(text: &str) -> bool {
    let is_key = |key: &str| {
        key.len() <= 256
            && key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'))
    };
    let is_value = |value: &str| {
        (1..=256).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
    };
    let mut keys = BTreeSet::new();
    let mut pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let are_valid = pairs.all(|pair| {
        pair.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value) && keys.insert(key))
    });
    are_valid && (1..=32).contains(&keys.len())
}

impl fmt::Display for SpanContext {
    /// The `traceparent` of a sampled trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Traceparent { span: *self, is_sampled: true }.fmt(f)
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
    fn the_flag_of_a_sampled_trace_is_read_and_written() {
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let parent: Traceparent = format!("00-{TRACE}-{SPAN}-{flags}").parse().unwrap();
            assert_eq!(parent.is_sampled, is_sampled, "{flags}");
            assert_eq!(parent.to_string(), format!("00-{TRACE}-{SPAN}-0{}", u8::from(is_sampled)));
        }
    }

    #[test]
    fn malformed_trace_states_are_refused() {
        assert!(is_trace_state("a=1") && is_trace_state("rojo=00f067aa0ba902b7,, congo=t61rcWkgMzE ,"));
        let many = |count: u32| (0..count).map(|index| format!("k{index}=v")).collect::<Vec<_>>().join(",");
        assert!(is_trace_state(&many(32)) && !is_trace_state(&many(33)));
        for malformed in ["", ",", "a", "a=", "=1", "A=1", "a=1=2", "a=\u{1}", "a=ü", "a=1,a=2", "_a=1", "a b=1"] {
            assert!(!is_trace_state(malformed), "{malformed}");
        }
        assert!(!is_trace_state(&format!("a={}", "x".repeat(257))));
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
