//! Spans in batches of columns, as the page reads them. `page/trace.js` reads the same columns.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value as Json, json};
use tracer_model::{SpanId, Value, semconv};

use crate::{
    json::{json_object, json_value},
    row::{Kind, Row},
    span::Span,
};

/// The most distinct strings to remember. A forgotten string is sent again when it recurs.
const STRINGS: usize = 200_000;

/// Spans, column by column.
#[derive(Default)]
pub(crate) struct Columns {
    /// The zero of all times, nanoseconds since the epoch. By default, the start of the first span that came.
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

/// Rows of the batch, and the value of each.
type Cells = (Vec<usize>, Vec<Json>);

/// Strings by their numbers.
#[derive(Default)]
struct Strings {
    known: HashMap<String, usize>,
    count: usize,
    /// The strings that have not been sent yet.
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
    /// Counts time from `origin`, nanoseconds since the epoch, instead of from the first span.
    pub(crate) fn counting_from(origin: u64) -> Self {
        Self { origin: Some(origin), ..Self::default() }
    }

    pub(crate) fn origin(&self) -> u64 {
        self.origin.unwrap_or_default()
    }

    /// A time as the page has it: nanoseconds since the origin.
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

    pub(crate) fn add(&mut self, span: &Span<'_>, row: &Row, failure: Option<&str>) {
        self.origin.get_or_insert(row.start);
        let at = self.len();
        let number = self.span_number(row.id);
        self.number.push(number);
        let parent = row.parent.filter(|_| !row.is_root).map_or(-1, |parent| self.span_number(parent) as i64);
        self.parent.push(parent);
        self.kind.push(match row.kind {
            Kind::Process => 0,
            Kind::Connection => 1,
            Kind::Lookup => 2,
            Kind::Runs | Kind::Other => 3,
        });
        let name = self.strings.number(&span.name);
        self.name.push(name);
        self.id.push(row.id.to_string());
        self.start.push(self.since(row.start));
        self.duration.push(row.duration());
        let flags = [
            // The failed run counts, but not the span above all runs.
            (row.failure.is_some() && row.kind != Kind::Runs, FAILED),
            (row.is_unfinished, UNFINISHED),
            (row.is_fork, FORK),
            (row.is_repaired, REPAIRED),
            (row.is_root, ROOT),
        ];
        self.flags.push(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum());
        let error = failure.map_or(-1, |failure| self.strings.number(failure) as i64);
        self.error.push(error);
        self.cpu.push(row.cpu);
        let details = span.details();
        for (key, value) in &details.attributes {
            self.attribute(at, key, value);
        }
        let is_plain = details.events.len() == 1 && details.events[0].name == semconv::EXEC_EVENT;
        if !details.events.is_empty() && !is_plain {
            let events = details.events.iter().map(|event| {
                json!({"name": event.name, "time": self.since(event.at), "attributes": json_object(&event.attributes)})
            });
            let events = events.collect();
            self.events.0.push(at);
            self.events.1.push(events);
        }
        let links = span.links();
        if !links.is_empty() {
            let links: Vec<_> = links.into_iter().map(|(_, link)| self.span_number(link)).collect();
            self.links.0.push(at);
            self.links.1.push(links.into());
        }
    }

    fn attribute(&mut self, at: usize, key: &str, value: &Value) {
        let (kind, value) = match value {
            Value::Int(value) => ("number", Json::from(*value)),
            Value::Float(value) if value.is_finite() => ("number", Json::from(*value)),
            Value::String(text) => ("string", self.strings.number(text).into()),
            Value::Strings(texts) => {
                ("strings", texts.iter().map(|text| Json::from(self.strings.number(text))).collect())
            }
            other => ("json", json_value(other).to_string().into()),
        };
        let (rows, values) = self.attributes.entry((key.to_owned(), kind)).or_default();
        rows.push(at);
        values.push(value);
    }

    /// Returns the batch so far and begins the next one.
    pub(crate) fn take(&mut self) -> Json {
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
