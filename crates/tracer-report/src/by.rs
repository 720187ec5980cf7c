//! Totals of processes by one of their properties: the group, the user, the container, or an attribute.

use std::{collections::HashMap, convert::Infallible, str::FromStr};

use tracer_model::{SpanId, Value, semconv};

use crate::{
    analysis::Tree,
    row::{Kind, Rows},
    span::Span,
    untrusted::Untrusted,
};

/// The property by which processes are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The group of a rule.
    Group,
    /// The effective user.
    User,
    /// The id of the container.
    Container,
    /// Any attribute.
    Attribute(String),
}

impl FromStr for By {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "group" => Self::Group,
            "user" => Self::User,
            "container" => Self::Container,
            key => Self::Attribute(key.to_owned()),
        })
    }
}

impl By {
    /// The attributes that have it, the best one first.
    fn keys(&self) -> Vec<&str> {
        match self {
            Self::Group => vec![semconv::GROUP],
            Self::User => vec![semconv::PROCESS_USER_NAME, semconv::PROCESS_USER_ID],
            Self::Container => vec![semconv::CONTAINER_ID],
            Self::Attribute(key) => vec![key],
        }
    }

    /// Its name, for a heading.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Group => "group",
            Self::User => "user",
            Self::Container => "container",
            Self::Attribute(key) => key,
        }
    }
}

/// The totals of the processes with one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many they are.
    pub processes: u64,
    /// Time during which no process that they started was alive, nanoseconds.
    pub own: u64,
    /// CPU time, nanoseconds.
    pub cpu: u64,
    /// The largest resident set of any of them, bytes.
    pub peak: u64,
    /// Bytes that they read and wrote.
    pub bytes: u64,
    /// How many of them failed.
    pub failed: u64,
}

/// Collects the spans of a trace for totals.
#[derive(Debug)]
pub struct Totals {
    by: By,
    rows: Rows,
    /// The value of each process that has one.
    values: HashMap<SpanId, Untrusted>,
    /// The peak and the bytes of each process.
    amounts: HashMap<SpanId, (u64, u64)>,
}

impl Totals {
    /// Begins without spans. It keeps at most `limit` spans that are not processes, and twice as many processes.
    #[must_use]
    pub fn new(by: By, limit: usize) -> Self {
        Self { by, rows: Rows::with_limit(limit), values: HashMap::new(), amounts: HashMap::new() }
    }

    /// The property.
    #[must_use]
    pub fn by(&self) -> &By {
        &self.by
    }

    /// Adds a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &Span<'_>) {
        if span.process().is_none() || self.rows.insert(span).is_none() {
            return;
        }
        let attributes = span.details().attributes;
        let value = |key: &str| attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let amount = |key| match value(key) {
            Some(Value::Int(amount)) => u64::try_from(*amount).unwrap_or_default(),
            _ => 0,
        };
        let bytes = amount(semconv::READ_CHARS).saturating_add(amount(semconv::WRITTEN_CHARS));
        self.amounts.insert(span.id, (amount(semconv::MEMORY_PEAK), bytes));
        if let Some(value) = self.by.keys().into_iter().find_map(value) {
            self.values.insert(span.id, value.to_string().into());
        }
    }

    /// The totals of each value. The largest own time or CPU time comes first. Processes without a value have `None`.
    #[must_use]
    pub fn totals(&self) -> Vec<(Option<Untrusted>, Total)> {
        let rows = &self.rows.rows;
        let Some(tree) = Tree::grow(rows) else { return Vec::new() };
        let mut totals: HashMap<Option<&Untrusted>, Total> = HashMap::new();
        for (row, own) in rows.iter().zip(tree.own_time(rows)).filter(|(row, _)| row.kind == Kind::Process) {
            let total = totals.entry(self.values.get(&row.id)).or_default();
            let (peak, bytes) = self.amounts.get(&row.id).copied().unwrap_or_default();
            total.processes += 1;
            total.own = total.own.saturating_add(own);
            total.cpu = total.cpu.saturating_add(row.cpu);
            total.peak = total.peak.max(peak);
            total.bytes = total.bytes.saturating_add(bytes);
            total.failed += u64::from(row.failure.is_some());
        }
        let mut totals: Vec<_> = totals.into_iter().map(|(value, total)| (value.cloned(), total)).collect();
        totals.sort_by(|(one, a), (other, b)| {
            let text = |value: &Option<Untrusted>| value.as_ref().map(|value| value.exact().to_owned());
            b.own.max(b.cpu).cmp(&a.own.max(a.cpu)).then_with(|| text(one).cmp(&text(other)))
        });
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::SavedTrace;

    fn totals(by: &str) -> Vec<(String, Total)> {
        let process = |id: u32, parent: u32, start: u64, end: u64, attributes: &str| {
            let status = if attributes.contains(semconv::PROCESS_EXIT_CODE) { 2 } else { 0 };
            format!(
                r#"{{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"{id:016x}","parentSpanId":"{parent:016x}","name":"p","kind":1,"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}","attributes":[{{"key":"process.pid","value":{{"intValue":"{id}"}}}}{attributes}],"status":{{"code":{status}}}}}"#
            )
        };
        let text = |key: &str, value: &str| format!(r#",{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
        let int = |key: &str, value: u64| format!(r#",{{"key":"{key}","value":{{"intValue":"{value}"}}}}"#);
        let cc = text(semconv::GROUP, "cc") + &int(semconv::MEMORY_PEAK, 7) + &int(semconv::READ_CHARS, 5);
        let other = text(semconv::GROUP, "cc") + &int(semconv::MEMORY_PEAK, 9) + &int(semconv::WRITTEN_CHARS, 6);
        let failed = other + &int(semconv::PROCESS_EXIT_CODE, 1);
        let root = text(semconv::PROCESS_USER_NAME, "builder")
            + r#",{"key":"process_tracer.complete","value":{"boolValue":true}}"#;
        let spans = [process(3, 1, 10, 40, &cc), process(4, 1, 40, 60, &failed), process(1, 9, 0, 100, &root)];
        let file = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
        let mut totals = Totals::new(by.parse().unwrap(), usize::MAX);
        for span in SavedTrace::new(file.as_bytes(), None) {
            totals.add(&Span::from(&span.unwrap()));
        }
        let name = |value: Option<Untrusted>| value.map(|value| value.exact().to_owned()).unwrap_or_default();
        totals.totals().into_iter().map(|(value, total)| (name(value), total)).collect()
    }

    #[test]
    fn processes_with_the_same_value_are_added_up() {
        let groups = totals("group");
        assert_eq!(groups.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["", "cc"]);
        let cc = Total { processes: 2, own: 50, cpu: 0, peak: 9, bytes: 11, failed: 1 };
        assert_eq!((groups[1].1.clone(), groups[0].1.own), (cc, 50));
        assert_eq!(totals("user").iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["", "builder"]);
        assert_eq!(totals("process.pid").len(), 3);
    }
}
