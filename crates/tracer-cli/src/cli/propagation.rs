//! The trace context in variables, in the formats that `OTEL_PROPAGATORS` names: W3C Trace Context and B3.
//!
//! The variables have the names of the HTTP headers: see "Environment Variables as Context Propagation Carriers" in
//! OpenTelemetry's specification.

use tracer_model::{
    TraceId,
    context::{SpanContext, TRACEPARENT, Traceparent, is_trace_state},
};

use crate::{
    console,
    variables::{is_one_of, variable},
};

const PROPAGATORS: &str = "OTEL_PROPAGATORS";

/// The state of vendors. It belongs to `TRACEPARENT`.
const TRACESTATE: &str = "TRACESTATE";

/// B3 in one variable: `TRACE-SPAN-STATE-PARENT`.
const B3: &str = "B3";
const B3_TRACE_ID: &str = "X_B3_TRACEID";
const B3_SPAN_ID: &str = "X_B3_SPANID";
const B3_PARENT_SPAN_ID: &str = "X_B3_PARENTSPANID";
const B3_SAMPLED: &str = "X_B3_SAMPLED";
const B3_FLAGS: &str = "X_B3_FLAGS";

/// All variables that name a span, in every format.
pub(crate) const VARIABLES: [&str; 8] =
    [TRACEPARENT, TRACESTATE, B3, B3_TRACE_ID, B3_SPAN_ID, B3_PARENT_SPAN_ID, B3_SAMPLED, B3_FLAGS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    TraceContext,
    /// It is passed on unchanged, like every variable.
    Baggage,
    B3,
    B3Multi,
}

const FORMATS: [(&str, Format); 4] = [
    ("tracecontext", Format::TraceContext),
    ("baggage", Format::Baggage),
    ("b3", Format::B3),
    ("b3multi", Format::B3Multi),
];

/// The formats of the trace context. `Propagators::default()` has none, and so changes no variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Propagators {
    formats: Vec<Format>,
    /// The caller wants a trace for debugging. Only B3 can say so, and only B3 passes it on.
    is_debug: bool,
}

/// The span that called process-tracer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) span: SpanContext,
    /// `None`: it leaves the decision to us.
    pub(crate) is_sampled: Option<bool>,
    /// Empty: none.
    pub(crate) state: String,
    /// The variable that names it.
    pub(crate) from: &'static str,
}

/// The names and values of variables; `None`: the variable is removed.
pub(crate) type Changes = Vec<(&'static str, Option<String>)>;

impl Propagators {
    /// The formats of the variable. An unknown name prints a warning and is left out.
    pub(super) fn of_environment() -> Self {
        let (propagators, unknown) = Self::read(variable(PROPAGATORS).as_deref());
        for name in unknown {
            console::warn(format_args!(
                "'{name}' of {PROPAGATORS} is ignored: it is not one of tracecontext, baggage, b3, b3multi and none"
            ));
        }
        Self { is_debug: is_debug(&variable), ..propagators }
    }

    /// The formats of this value, and the names in it that are not known.
    fn read(value: Option<&str>) -> (Self, Vec<String>) {
        let names: Vec<_> =
            value.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let (mut formats, mut unknown) = (Vec::new(), Vec::new());
        for name in &names {
            match FORMATS.iter().find(|(known, _)| known == name) {
                Some((_, format)) if !formats.contains(format) => formats.push(*format),
                Some(_) => {}
                None if *name == "none" => {}
                None => unknown.push((*name).to_owned()),
            }
        }
        // Without a valid name, the variable counts as unset.
        if unknown.len() == names.len() {
            formats = vec![Format::TraceContext, Format::Baggage];
        }
        (Self { formats, is_debug: false }, unknown)
    }

    /// The span that the variables name. If several formats name one, the last format counts.
    pub(super) fn extract(&self, variable: impl Fn(&str) -> Option<String>) -> Option<Caller> {
        let callers = self.formats.iter().filter_map(|format| match format {
            Format::TraceContext => of_trace_context(&variable),
            Format::Baggage => None,
            // By the specification, both propagators read both forms.
            Format::B3 | Format::B3Multi => of_b3(&variable).or_else(|| of_b3_multi(&variable)),
        });
        callers.last()
    }

    /// The sampling decision of a caller that names no span. Only B3 has such decisions.
    pub(super) fn decision(&self, variable: impl Fn(&str) -> Option<String>) -> Option<bool> {
        let reads_b3 = self.formats.iter().any(|format| matches!(format, Format::B3 | Format::B3Multi));
        let single = || b3_decision(&variable(B3)?);
        let multi = || if variable(B3_TRACE_ID).is_none() { b3_multi_decision(&variable) } else { None };
        if reads_b3 { single().or_else(multi) } else { None }
    }

    /// The variables that make `span` the parent of the spans that the command's programs make. `caller` is the trace of
    /// our own caller.
    pub(crate) fn inject(&self, span: SpanContext, is_sampled: bool, caller: Option<TraceId>) -> Changes {
        let (trace_id, span_id) = (span.trace_id, span.span_id);
        let is_debug = is_sampled && self.is_debug;
        let state = if is_sampled { "1" } else { "0" };
        let mut changes = Changes::new();
        for format in &self.formats {
            match format {
                Format::TraceContext => {
                    // If we do not continue the caller's trace, its state does not belong to ours.
                    if caller != Some(trace_id) {
                        changes.push((TRACESTATE, None));
                    }
                    changes.push((TRACEPARENT, Some(Traceparent { span, is_sampled }.to_string())));
                }
                Format::Baggage => {}
                Format::B3 => {
                    let state = if is_debug { "d" } else { state };
                    changes.push((B3, Some(format!("{trace_id}-{span_id}-{state}"))));
                }
                Format::B3Multi => changes.extend([
                    (B3_TRACE_ID, Some(trace_id.to_string())),
                    (B3_SPAN_ID, Some(span_id.to_string())),
                    // With the debug flag, the trace is always sampled. So B3_SAMPLED is not set.
                    (B3_SAMPLED, (!is_debug).then(|| state.to_owned())),
                    (B3_PARENT_SPAN_ID, None),
                    (B3_FLAGS, is_debug.then(|| "1".to_owned())),
                ]),
            }
        }
        changes
    }
}

fn of_trace_context(variable: &impl Fn(&str) -> Option<String>) -> Option<Caller> {
    let value = variable(TRACEPARENT)?;
    let Ok(Traceparent { span, is_sampled }) = value.parse() else {
        console::warn(format_args!("{TRACEPARENT} is ignored: '{value}' is not a W3C trace context"));
        return None;
    };
    let state = variable(TRACESTATE).filter(|state| {
        let is_valid = is_trace_state(state);
        if !is_valid {
            console::warn(format_args!("{TRACESTATE} is ignored: '{state}' is not a W3C trace state"));
        }
        is_valid
    });
    Some(Caller { span, is_sampled: Some(is_sampled), state: state.unwrap_or_default(), from: TRACEPARENT })
}

fn of_b3(variable: &impl Fn(&str) -> Option<String>) -> Option<Caller> {
    // The decision alone is valid too, see `decision`.
    let value = variable(B3).filter(|value| b3_decision(value).is_none())?;
    let mut fields = value.split('-');
    let (trace, span) = (fields.next(), fields.next());
    let (Some(span), is_sampled) = (b3_span(trace, span), fields.next().and_then(b3_decision)) else {
        console::warn(format_args!("{B3} is ignored: '{value}' is not a B3 context"));
        return None;
    };
    Some(Caller { span, is_sampled, state: String::new(), from: B3 })
}

fn of_b3_multi(variable: &impl Fn(&str) -> Option<String>) -> Option<Caller> {
    let (trace, span) = (variable(B3_TRACE_ID)?, variable(B3_SPAN_ID));
    let Some(span) = b3_span(Some(&trace), span.as_deref()) else {
        console::warn(format_args!("{B3_TRACE_ID} is ignored: it and {B3_SPAN_ID} are not a B3 context"));
        return None;
    };
    let is_sampled = b3_multi_decision(variable);
    Some(Caller { span, is_sampled, state: String::new(), from: B3_TRACE_ID })
}

fn b3_multi_decision(variable: &impl Fn(&str) -> Option<String>) -> Option<bool> {
    let is_debug = variable(B3_FLAGS).is_some_and(|flags| flags == "1");
    if is_debug { Some(true) } else { b3_decision(&variable(B3_SAMPLED)?) }
}

/// Whether the decision in B3 is `d`, with or without a span.
fn is_debug(variable: &impl Fn(&str) -> Option<String>) -> bool {
    match variable(B3) {
        Some(value) => is_one_of(value.split('-').nth(2).unwrap_or(&value), &["d"]),
        None => variable(B3_FLAGS).is_some_and(|flags| flags == "1"),
    }
}

/// A span in B3. A trace id can have 16 digits.
fn b3_span(trace: Option<&str>, span: Option<&str>) -> Option<SpanContext> {
    let trace = trace.filter(|trace| [16, 32].contains(&trace.len()))?;
    Some(SpanContext { trace_id: format!("{trace:0>32}").parse().ok()?, span_id: span?.parse().ok()? })
}

/// `d` is a trace for debugging. Older programs write `true` and `false`.
fn b3_decision(state: &str) -> Option<bool> {
    if is_one_of(state, &["1", "d", "true"]) {
        return Some(true);
    }
    is_one_of(state, &["0", "false"]).then_some(false)
}

#[cfg(test)]
mod tests {
    use tracer_model::SpanId;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn extract(propagators: &str, variables: &[(&str, &str)]) -> Option<Caller> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Propagators::read(Some(propagators)).0.extract(variable)
    }

    fn ids(caller: &Caller) -> (String, String) {
        (caller.span.trace_id.to_string(), caller.span.span_id.to_string())
    }

    #[test]
    fn the_default_is_w3c_trace_context_and_baggage() {
        let of = |formats| Propagators { formats, is_debug: false };
        let default = of(vec![Format::TraceContext, Format::Baggage]);
        for value in [None, Some(""), Some(" , ")] {
            assert_eq!(Propagators::read(value), (default.clone(), Vec::new()));
        }
        assert_eq!(Propagators::read(Some("jaeger")), (default, vec!["jaeger".to_owned()]));
        assert_eq!(Propagators::read(Some("none")).0, of(Vec::new()));
        let both = of(vec![Format::B3, Format::TraceContext]);
        assert_eq!(Propagators::read(Some("b3, tracecontext,b3,xray")), (both, vec!["xray".to_owned()]));
    }

    #[test]
    fn a_caller_has_its_state_and_its_decision() {
        let parent = format!("00-{TRACE}-{SPAN}-00");
        let caller = extract("tracecontext", &[("TRACEPARENT", &parent), ("TRACESTATE", "vendor=1")]).unwrap();
        assert_eq!(
            (ids(&caller), caller.is_sampled, caller.state.as_str()),
            ((TRACE.to_owned(), SPAN.to_owned()), Some(false), "vendor=1")
        );
        let caller = extract("tracecontext", &[("TRACEPARENT", &parent), ("TRACESTATE", "vendor")]).unwrap();
        assert_eq!(caller.state, "");
        for propagators in ["none", "baggage", "b3"] {
            assert_eq!(extract(propagators, &[("TRACEPARENT", &parent)]), None, "{propagators}");
        }
    }

    #[test]
    fn b3_is_read_in_both_forms() {
        let single = |value: &str| extract("b3", &[("B3", value)]);
        let caller = single(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90")).unwrap();
        assert_eq!((ids(&caller), caller.is_sampled), ((TRACE.to_owned(), SPAN.to_owned()), Some(true)));
        assert_eq!(single(&format!("{TRACE}-{SPAN}-0")).unwrap().is_sampled, Some(false));
        assert_eq!(single(&format!("{TRACE}-{SPAN}-d")).unwrap().is_sampled, Some(true));
        let short = single(&format!("{}-{SPAN}", &TRACE[16..])).unwrap();
        assert_eq!(
            (short.span.trace_id.to_string(), short.is_sampled),
            (format!("{}{}", "0".repeat(16), &TRACE[16..]), None)
        );
        for malformed in ["0", "nonsense", TRACE, "12-34-1"] {
            assert_eq!(single(malformed), None, "{malformed}");
        }
        let multi = [("X_B3_TRACEID", TRACE), ("X_B3_SPANID", SPAN)];
        assert_eq!(extract("b3multi", &multi).unwrap().is_sampled, None);
        let with = |name, value| extract("b3", &[multi[0], multi[1], (name, value)]).unwrap().is_sampled;
        assert_eq!(
            [with("X_B3_SAMPLED", "false"), with("X_B3_SAMPLED", "1"), with("X_B3_FLAGS", "1")],
            [Some(false), Some(true), Some(true)]
        );
        assert_eq!(extract("b3multi", &multi[..1]), None);
    }

    #[test]
    fn b3_can_name_a_decision_without_a_span() {
        let decide = |propagators: &str, variables: &[(&str, &str)]| {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Propagators::read(Some(propagators)).0.decision(variable)
        };
        for (name, value, decision) in [
            ("B3", "0", Some(false)),
            ("B3", "d", Some(true)),
            ("B3", "nonsense", None),
            ("X_B3_SAMPLED", "0", Some(false)),
            ("X_B3_FLAGS", "1", Some(true)),
        ] {
            assert_eq!(decide("b3", &[(name, value)]), decision, "{name}={value}");
            assert_eq!(decide("b3multi", &[(name, value)]), decision, "{name}={value}");
            assert_eq!(decide("tracecontext", &[(name, value)]), None, "{name}={value}");
        }
        // This decision belongs to a span.
        assert_eq!(decide("b3multi", &[("X_B3_TRACEID", TRACE), ("X_B3_SAMPLED", "0")]), None);
    }

    #[test]
    fn the_last_format_that_names_a_span_counts() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let b3 = format!("{TRACE}-{}-1", "1".repeat(16));
        let caller = extract("tracecontext,b3", &[("TRACEPARENT", &parent), ("B3", &b3)]).unwrap();
        assert_eq!((ids(&caller).1, caller.from), ("1".repeat(16), "B3"));
        let caller = extract("b3,tracecontext", &[("TRACEPARENT", &parent), ("B3", &b3)]).unwrap();
        assert_eq!(caller.from, "TRACEPARENT");
    }

    #[test]
    fn the_command_gets_our_span_in_each_format() {
        let span = SpanContext { trace_id: TraceId([0xab; 16]), span_id: SpanId([0xcd; 8]) };
        let (trace, id) = ("ab".repeat(16), "cd".repeat(8));
        let inject = |names, is_sampled, caller| Propagators::read(Some(names)).0.inject(span, is_sampled, caller);
        let parent = |flags| ("TRACEPARENT", Some(format!("00-{trace}-{id}-{flags}")));
        assert_eq!(inject("tracecontext", true, None), [("TRACESTATE", None), parent("01")]);
        assert_eq!(inject("tracecontext", false, Some(span.trace_id)), [parent("00")]);
        assert_eq!(inject("b3", true, None), [("B3", Some(format!("{trace}-{id}-1")))]);
        let multi = inject("b3multi", false, None);
        assert!(
            multi.contains(&("X_B3_SAMPLED", Some("0".to_owned()))) && multi.contains(&("X_B3_FLAGS", None)),
            "{multi:?}"
        );
        for (name, value, is_debugged) in [
            ("B3", format!("{TRACE}-{SPAN}-d"), true),
            ("B3", "d".to_owned(), true),
            ("X_B3_FLAGS", "1".to_owned(), true),
            ("B3", format!("{TRACE}-{SPAN}-1"), false),
        ] {
            assert_eq!(is_debug(&|asked: &str| (asked == name).then(|| value.clone())), is_debugged, "{name}={value}");
        }
        let debug = |names| Propagators { is_debug: true, ..Propagators::read(Some(names)).0 };
        assert_eq!(debug("b3").inject(span, true, None), [("B3", Some(format!("{trace}-{id}-d")))]);
        assert_eq!(debug("b3").inject(span, false, None), [("B3", Some(format!("{trace}-{id}-0")))]);
        let multi = debug("b3multi").inject(span, true, None);
        assert!(
            multi.contains(&("X_B3_FLAGS", Some("1".to_owned()))) && multi.contains(&("X_B3_SAMPLED", None)),
            "{multi:?}"
        );
        assert!(inject("none", true, None).is_empty() && inject("baggage", true, None).is_empty());
    }
}
