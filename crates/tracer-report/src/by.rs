//! Totals of processes by one of their properties: the group, the user, the container, or an attribute.

use std::{cmp::Reverse, collections::HashMap, convert::Infallible, str::FromStr};

use tracer_model::{Value, semconv};

use crate::{analysis::Tree, row::Row, span::Span, untrusted::Untrusted};

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
    /// The attributes that hold the property. The best one comes first.
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
pub(crate) struct Total {
    /// Number of these processes, and of those below them that have no span.
    pub(crate) processes: u64,
    /// Time during which no process that they started was alive, nanoseconds.
    pub(crate) own: u64,
    /// CPU time, also of those that have no span, nanoseconds.
    pub(crate) cpu: u64,
    /// The largest resident set of any of them, bytes.
    pub(crate) peak: u64,
    /// Bytes that they read and wrote.
    pub(crate) bytes: u64,
    /// How many of them failed.
    pub(crate) failed: u64,
}

/// What the processes of a report add to the totals.
#[derive(Debug)]
pub(crate) struct Shares {
    by: By,
    /// By the row of the process.
    of_row: HashMap<usize, Share>,
}

#[derive(Debug)]
struct Share {
    value: Option<Untrusted>,
    peak: u64,
    bytes: u64,
}

/// The totals of each value.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) by: By,
    /// The largest own time or CPU time comes first. Processes without a value have `None`.
    pub(crate) of_value: Vec<(Option<Untrusted>, Total)>,
}

impl Shares {
    pub(crate) fn new(by: By) -> Self {
        Self { by, of_row: HashMap::new() }
    }

    /// Adds the span of a row.
    pub(crate) fn add(&mut self, row: usize, span: &Span<'_>) {
        if span.process().is_none() {
            return;
        }
        let attributes = span.details().attributes;
        let value = |key: &str| attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let amount = |key| match value(key) {
            Some(Value::Int(amount)) => u64::try_from(*amount).unwrap_or_default(),
            _ => 0,
        };
        let share = Share {
            value: self.by.keys().into_iter().find_map(value).map(|value| value.to_string().into()),
            peak: amount(semconv::MEMORY_PEAK),
            bytes: amount(semconv::READ_CHARS).saturating_add(amount(semconv::WRITTEN_CHARS)),
        };
        self.of_row.insert(row, share);
    }

    pub(crate) fn totals(&self, rows: &[Row], tree: &Tree) -> Totals {
        let own = tree.own_time(rows);
        let mut of_value: HashMap<Option<&Untrusted>, Total> = HashMap::new();
        for (index, share) in &self.of_row {
            let row = &rows[*index];
            let total = of_value.entry(share.value.as_ref()).or_default();
            total.processes = total.processes.saturating_add(1).saturating_add(row.folded.processes);
            total.own = total.own.saturating_add(own[*index]);
            total.cpu = total.cpu.saturating_add(row.cpu).saturating_add(row.folded.cpu);
            total.peak = total.peak.max(share.peak);
            total.bytes = total.bytes.saturating_add(share.bytes);
            total.failed += u64::from(row.failure.is_some());
        }
        let mut of_value: Vec<_> = of_value.into_iter().collect();
        of_value.sort_by_key(|(value, total)| (Reverse(total.own.max(total.cpu)), *value));
        let of_value = of_value.into_iter().map(|(value, total)| (value.cloned(), total)).collect();
        Totals { by: self.by.clone(), of_value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read::SavedTrace, row::Rows};

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
        let folded = r#",{"key":"process_tracer.folded.cpu_time","value":{"doubleValue":0.000000004}}"#;
        let cc = cc + &int(semconv::FOLDED_PROCESSES, 3) + folded;
        let root = text(semconv::PROCESS_USER_NAME, "builder")
            + r#",{"key":"process_tracer.complete","value":{"boolValue":true}}"#;
        let spans = [process(3, 1, 10, 40, &cc), process(4, 1, 40, 60, &failed), process(1, 9, 0, 100, &root)];
        let file = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
        let (mut rows, mut shares) = (Rows::default(), Shares::new(by.parse().unwrap()));
        for saved in SavedTrace::new(file.as_bytes(), None) {
            let saved = saved.unwrap();
            let span = Span::from(&saved);
            shares.add(rows.insert(&span).unwrap(), &span);
        }
        let name = |value: Option<Untrusted>| value.map(|value| value.exact().to_owned()).unwrap_or_default();
        let totals = shares.totals(&rows.rows, &Tree::grow(&rows.rows).unwrap());
        totals.of_value.into_iter().map(|(value, total)| (name(value), total)).collect()
    }

    #[test]
    fn processes_with_the_same_value_are_added_up() {
        let groups = totals("group");
        assert_eq!(groups.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["", "cc"]);
        // Three more processes have no span.
        let cc = Total { processes: 5, own: 50, cpu: 4, peak: 9, bytes: 11, failed: 1 };
        assert_eq!((groups[1].1.clone(), groups[0].1.own), (cc, 50));
        assert_eq!(totals("user").iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["", "builder"]);
        assert_eq!(totals("process.pid").len(), 3);
    }
}
