//! The root span's statement about the whole trace.

use tracer_model::{Value, semconv};

use super::{Origin, Span};
use crate::untrusted::Untrusted;

/// The root span's statement about the whole trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificate {
    pub(crate) is_complete: bool,
    /// Processors that the command could use; 0 if that is not known.
    pub(crate) cpus: u64,
    pub(crate) shortage: Shortage,
    pub(crate) version: Option<Untrusted>,
    /// How much is missing, by attribute.
    pub(crate) losses: Vec<(String, i64)>,
    /// Which events were not observed, and why.
    pub(crate) unobserved: Option<Untrusted>,
}

/// How the machine slowed the command down. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shortage {
    /// Processors; 0 if there is no limit.
    pub(crate) cpu_limit: f64,
    pub(crate) throttled_periods: u64,
    pub(crate) period: u64,
    /// Summed over all processors.
    pub(crate) throttled: u64,
    /// Summed over all processors.
    pub(crate) steal: u64,
    pub(crate) oom_kills: u64,
}

impl Shortage {
    fn set(&mut self, key: &str, value: &Value) {
        match (key, value) {
            (semconv::CPU_LIMIT, Value::Float(limit)) => self.cpu_limit = *limit,
            (semconv::CPU_THROTTLED_PERIODS, Value::Int(count)) => self.throttled_periods = whole(*count),
            (semconv::CPU_PERIOD, Value::Float(seconds)) => self.period = (seconds * 1e9) as u64,
            (semconv::CPU_THROTTLED, Value::Float(seconds)) => self.throttled = (seconds * 1e9) as u64,
            (semconv::STEAL, Value::Float(seconds)) => self.steal = (seconds * 1e9) as u64,
            (semconv::OOM_KILLS, Value::Int(count)) => self.oom_kills = whole(*count),
            _ => {}
        }
    }
}

impl Span<'_> {
    /// The certificate, if the span is the root of the trace or of one of its runs.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        if !self.is_root() && !self.is_run() {
            return None;
        }
        let described;
        let values: &mut dyn Iterator<Item = (&str, &Value)> = match self.origin {
            Origin::Run(span) => {
                described = semconv::describe(span).attributes;
                &mut described.iter().map(|(key, value)| (key.as_ref(), value))
            }
            Origin::Saved(span) => &mut span.attributes.iter().map(|(key, value)| (key.as_str(), value)),
        };
        let mut certificate = Certificate::default();
        for (key, value) in values {
            match (key, value) {
                (semconv::COMPLETE, Value::Bool(is_complete)) => certificate.is_complete = *is_complete,
                (semconv::CUT_OFF, Value::Bool(true)) => {
                    certificate.unobserved = Some("process-tracer was killed before the end".into());
                }
                (semconv::CPUS, Value::Int(cpus)) => certificate.cpus = u64::try_from(*cpus).unwrap_or_default(),
                (semconv::UNOBSERVED, Value::String(text)) => certificate.unobserved = Some(text.as_str().into()),
                (semconv::VERSION, Value::String(text)) => certificate.version = Some(text.as_str().into()),
                (key, Value::Int(count)) if *count > 0 && semconv::is_loss(key) => {
                    certificate.losses.push((key.to_owned(), *count));
                }
                (key, value) => certificate.shortage.set(key, value),
            }
        }
        certificate.is_complete &= certificate.losses.is_empty() && certificate.unobserved.is_none();
        Some(certificate)
    }
}

fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
