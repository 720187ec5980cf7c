//! Spans as the page reads them: in batches, column by column. `page/trace.js` reads the same columns.

use std::collections::{BTreeMap, HashMap};

use opentelemetry::{Array, KeyValue, SpanId, Value as OtelValue};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Map, Value, json};

use crate::{
    json::json_value,
    row::{Kind, Row, nanoseconds},
};

/// Distinct strings that are remembered; what comes again after it was forgotten is told again.
const STRINGS: usize = 200_000;

/// Spans, column by column.
#[derive(Default)]
pub(crate) struct Columns {
    /// When the first one that came began, nanoseconds since the epoch.
    origin: Option<u64>,
    numbers: HashMap<SpanId, usize>,
    strings: Strings,
    number: Vec<usize>,
    parent: Vec<i64>,
    kind: Vec<u8>,
    name: Vec<usize>,
    id: Vec<String>,
    start: Vec<i64>,
    duration: Vec<u64>,
    flags: Vec<u8>,
    error: Vec<i64>,
    cpu: Vec<u64>,
    /// By key and type.
    attributes: BTreeMap<(String, &'static str), Cells>,
    events: Cells,
    links: Cells,
}

/// Rows of the batch, and what each of them has.
type Cells = (Vec<usize>, Vec<Value>);

/// Strings by their numbers.
#[derive(Default)]
struct Strings {
    known: HashMap<String, usize>,
    count: usize,
    /// Those not told yet.
    new: Vec<String>,
}

impl Strings {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        if self.known.len() == STRINGS {
            self.known.clear();
        }
        self.known.insert(text.to_owned(), self.count);
        self.new.push(text.to_owned());
        self.count += 1;
        self.count - 1
    }
}

/// Bits of the column `flags`.
const FAILED: u8 = 1;
const UNFINISHED: u8 = 2;
const FORK: u8 = 4;
const REPAIRED: u8 = 8;
const ROOT: u8 = 16;

impl Columns {
    /// Counts time from then on, nanoseconds since the epoch; else it is from the first span.
    pub(crate) fn counting_from(origin: u64) -> Self {
        Self { origin: Some(origin), ..Self::default() }
    }

    pub(crate) fn origin(&self) -> u64 {
        self.origin.unwrap_or_default()
    }

    /// That time, as the page has it.
    pub(crate) fn since(&self, time: u64) -> i64 {
        (time as i64).saturating_sub(self.origin() as i64)
    }

    pub(crate) fn len(&self) -> usize {
        self.number.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.number.is_empty()
    }

    pub(crate) fn known(&self, id: SpanId) -> Option<usize> {
        self.numbers.get(&id).copied()
    }

    fn span_number(&mut self, id: SpanId) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(id).or_insert(next)
    }

    pub(crate) fn add(&mut self, span: &SpanData, row: &Row, failure: Option<&str>) {
        self.origin.get_or_insert(row.start);
        let at = self.len();
        let number = self.span_number(row.id);
        self.number.push(number);
        let has_parent = row.parent != SpanId::INVALID && !row.is_root;
        let parent = if has_parent { self.span_number(row.parent) as i64 } else { -1 };
        self.parent.push(parent);
        self.kind.push(match row.kind {
            Kind::Process => 0,
            Kind::Connection => 1,
            Kind::Lookup => 2,
            Kind::Other => 3,
        });
        let name = self.strings.number(&span.name);
        self.name.push(name);
        self.id.push(row.id.to_string());
        self.start.push(self.since(row.start));
        self.duration.push(row.duration());
        let flags = [
            (row.failure.is_some(), FAILED),
            (row.is_unfinished, UNFINISHED),
            (row.is_fork, FORK),
            (row.is_repaired, REPAIRED),
            (row.is_root, ROOT),
        ];
        self.flags.push(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum());
        let error = failure.map_or(-1, |failure| self.strings.number(failure) as i64);
        self.error.push(error);
        self.cpu.push(row.cpu);
        for attribute in &span.attributes {
            self.attribute(at, attribute);
        }
        let is_plain = span.events.events.len() == 1 && span.events.events[0].name == tracer_model::semconv::EXEC_EVENT;
        if !span.events.events.is_empty() && !is_plain {
            let event = |event: &opentelemetry::trace::Event| {
                let attributes: Map<_, _> =
                    event.attributes.iter().map(|kv| (kv.key.to_string(), json_value(&kv.value))).collect();
                json!({"name": event.name, "time": self.since(nanoseconds(event.timestamp)), "attributes": attributes})
            };
            let events = span.events.events.iter().map(event).collect();
            self.events.0.push(at);
            self.events.1.push(events);
        }
        if !span.links.links.is_empty() {
            let links: Vec<_> = span.links.iter().map(|link| self.span_number(link.span_context.span_id())).collect();
            self.links.0.push(at);
            self.links.1.push(links.into());
        }
    }

    fn attribute(&mut self, at: usize, attribute: &KeyValue) {
        let (kind, value) = match &attribute.value {
            OtelValue::I64(_) | OtelValue::F64(_) => ("number", json_value(&attribute.value)),
            OtelValue::String(text) => ("string", self.strings.number(text.as_str()).into()),
            OtelValue::Array(Array::String(texts)) => {
                ("strings", texts.iter().map(|text| Value::from(self.strings.number(text.as_str()))).collect())
            }
            other => ("json", json_value(other).to_string().into()),
        };
        let (rows, values) = self.attributes.entry((attribute.key.to_string(), kind)).or_default();
        rows.push(at);
        values.push(value);
    }

    /// The batch so far, and begins the next one.
    pub(crate) fn take(&mut self) -> Value {
        use std::mem::take;
        let count = self.len();
        let columns = take(&mut self.attributes).into_iter().map(|((key, kind), (rows, values))| {
            let mut column = json!({"key": key, "type": kind, "values": values});
            if rows.len() < count {
                column["rows"] = rows.into();
            }
            column
        });
        json!({
            "strings": take(&mut self.strings.new),
            "columns": columns.collect::<Vec<_>>(),
            "number": take(&mut self.number),
            "parent": take(&mut self.parent),
            "kind": take(&mut self.kind),
            "name": take(&mut self.name),
            "id": take(&mut self.id),
            "start": take(&mut self.start),
            "duration": take(&mut self.duration),
            "flags": take(&mut self.flags),
            "error": take(&mut self.error),
            "cpu": take(&mut self.cpu),
            "events": {"rows": take(&mut self.events.0), "values": take(&mut self.events.1)},
            "links": {"rows": take(&mut self.links.0), "values": take(&mut self.links.1)},
        })
    }
}
