//! `OTEL_TRACES_SAMPLER`: whether the trace is sampled.

use tracer_model::TraceId;

use super::values::is_not_one_of;
use crate::console;
use crate::variables::variable;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The values of the variable.
const SAMPLERS: [(&str, Sampler); 6] = [
    ("always_on", Sampler { follows_parent: false, rule: Rule::Always }),
    ("always_off", Sampler { follows_parent: false, rule: Rule::Never }),
    ("traceidratio", Sampler { follows_parent: false, rule: Rule::Ratio(1.0) }),
    ("parentbased_always_on", Sampler { follows_parent: true, rule: Rule::Always }),
    ("parentbased_always_off", Sampler { follows_parent: true, rule: Rule::Never }),
    ("parentbased_traceidratio", Sampler { follows_parent: true, rule: Rule::Ratio(1.0) }),
];

/// Decides whether a trace is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampler {
    /// A trace with a parent is sampled if the parent is.
    follows_parent: bool,
    /// For the other traces.
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Always,
    Never,
    /// This share of all traces.
    Ratio(f64),
}

impl Sampler {
    /// Samples every trace.
    pub(super) const ALWAYS: Self = Self { follows_parent: false, rule: Rule::Always };

    /// The sampler of the variables. An invalid variable prints a warning and is ignored.
    pub(super) fn of_environment() -> Self {
        let default = Self { follows_parent: true, rule: Rule::Always };
        let Some(name) = variable(SAMPLER) else { return default };
        let Some((_, sampler)) = SAMPLERS.iter().find(|(known, _)| *known == name) else {
            let names = SAMPLERS.map(|(name, _)| name.to_owned());
            console::warn(format_args!("{SAMPLER} is ignored: {}", is_not_one_of(&name, &names)));
            return default;
        };
        sampler.with_argument(variable(ARGUMENT).as_deref())
    }

    /// The same sampler with this ratio. A sampler without a ratio ignores the argument.
    fn with_argument(self, argument: Option<&str>) -> Self {
        let (Rule::Ratio(_), Some(argument)) = (self.rule, argument) else { return self };
        match argument.trim().parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Self { rule: Rule::Ratio(ratio), ..self },
            _ => {
                console::warn(format_args!("{ARGUMENT} is ignored: '{argument}' is not a number from 0 to 1"));
                self
            }
        }
    }

    /// Whether this trace is sampled. `parent`: whether its parent is sampled, or `None` if nobody knows.
    pub(crate) fn samples(self, parent: Option<bool>, trace: TraceId) -> bool {
        if let Some(is_sampled) = parent.filter(|_| self.follows_parent) {
            return is_sampled;
        }
        match self.rule {
            Rule::Always => true,
            Rule::Never => false,
            // As OpenTelemetry's SDKs do, so that all parts of a trace get the same decision.
            Rule::Ratio(ratio) => (low_half(trace) >> 1) < (ratio * (1_u64 << 63) as f64) as u64,
        }
    }
}

/// The last eight bytes of an id.
fn low_half(trace: TraceId) -> u64 {
    trace.0.last_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: &str, argument: Option<&str>) -> Sampler {
        let (_, sampler) = SAMPLERS.iter().find(|(known, _)| *known == name).unwrap();
        sampler.with_argument(argument)
    }

    fn trace(low: u64) -> TraceId {
        let mut id = [0xff; 16];
        id[8..].copy_from_slice(&low.to_be_bytes());
        TraceId(id)
    }

    #[test]
    fn each_sampler_decides_with_and_without_a_parent() {
        for (name, none, unsampled, sampled) in [
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("traceidratio", true, true, true),
            ("parentbased_always_on", true, false, true),
            ("parentbased_always_off", false, false, true),
            ("parentbased_traceidratio", true, false, true),
        ] {
            let decide = |parent| sampler(name, None).samples(parent, trace(u64::MAX));
            assert_eq!([decide(None), decide(Some(false)), decide(Some(true))], [none, unsampled, sampled], "{name}");
        }
    }

    #[test]
    fn the_last_bytes_of_the_trace_id_decide_if_a_ratio_samples_it() {
        let is_sampled = |ratio, low| sampler("traceidratio", Some(ratio)).samples(None, trace(low));
        assert!(!is_sampled("0", 0) && is_sampled("1", u64::MAX) && is_sampled("0.25", u64::MAX / 4 - 1));
        assert!(!is_sampled("0.25", u64::MAX / 4 + 2) && is_sampled("1.0", 0));
        let half = sampler("parentbased_traceidratio", Some("0.5"));
        assert!(half.samples(Some(true), trace(u64::MAX)) && !half.samples(None, trace(u64::MAX)));
    }

    #[test]
    fn an_invalid_ratio_counts_as_none() {
        for invalid in ["", "2", "-0.1", "NaN", "half"] {
            assert_eq!(sampler("traceidratio", Some(invalid)).rule, Rule::Ratio(1.0), "{invalid}");
        }
    }
}
