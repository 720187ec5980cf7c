//! Trace context in the environment, as OpenTelemetry's environment carriers have it: `TRACEPARENT` and `TRACESTATE`
//! (W3C Trace Context), upper case.

use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracer_model::{SpanId, TraceId};

pub(crate) const TRACEPARENT: &str = "TRACEPARENT";
pub(crate) const TRACESTATE: &str = "TRACESTATE";

/// The span that called us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

/// The caller's span by its `TRACEPARENT`; `None` if that is not well-formed.
pub(crate) fn extract(traceparent: &str) -> Option<Parent> {
    struct Carrier<'a>(&'a str);

    impl Extractor for Carrier<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            key.eq_ignore_ascii_case(TRACEPARENT).then_some(self.0)
        }

        fn keys(&self) -> Vec<&str> {
            vec![TRACEPARENT]
        }
    }

    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(traceparent));
    let span = context.span();
    let caller = span.span_context();
    caller.is_valid().then(|| Parent {
        trace_id: TraceId(caller.trace_id().to_bytes()),
        span_id: SpanId(caller.span_id().to_bytes()),
    })
}

/// The `TRACEPARENT` of the root span, for the command: sampled, since it is being recorded.
pub(crate) fn traceparent(trace_id: TraceId, span_id: SpanId) -> String {
    format!("00-{trace_id}-{span_id}-01")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_comes_in() {
        let parent = Parent { trace_id: TraceId([0xab; 16]), span_id: SpanId([0xcd; 8]) };
        assert_eq!(extract(&traceparent(parent.trace_id, parent.span_id)), Some(parent));
    }

    #[test]
    fn malformed_contexts_are_none() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(extract(""), None);
        assert_eq!(extract("nonsense"), None);
        assert_eq!(extract(&format!("00-{trace}-0000000000000000-01")), None);
        assert_eq!(extract(&format!("ff-{trace}-b7ad6b7169203331-01")), None);
    }
}
