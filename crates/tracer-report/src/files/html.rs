//! The page: one file that opens from disk, with the trace in it.
//!
//! The spans stand in elements of their own, batches of them, column by column, gzipped and in base64, since a page opened
//! from disk may not load any other file. The columns' names and units are those of [`Columns`].

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
};

use base64::{engine::general_purpose::STANDARD, write::EncoderWriter};
use flate2::{Compression, write::GzEncoder};
use opentelemetry::{Array, KeyValue, SpanId, Value as OtelValue};
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde_json::{Map, Value, json};

use crate::{
    analysis::Tree,
    command_line::command_line,
    json::json_value,
    report::Report,
    row::{About, Kind, Row, Rows, nanoseconds},
    untrusted::Untrusted,
};

/// Spans in one element.
const BATCH: usize = 5_000;

/// Distinct strings that are remembered; what comes again after it was forgotten is told again.
const STRINGS: usize = 200_000;

/// The page without a trace: it asks the server that it came from.
pub(crate) fn page() -> String {
    [("/*STYLE*/", include_str!("../page/page.css").to_owned()), ("/*SCRIPT*/", SCRIPTS.join("\n"))]
        .into_iter()
        .fold(include_str!("../page/page.html").to_owned(), |page, (mark, text)| page.replacen(mark, &text, 1))
}

/// In the order of their names, which is one that works.
const SCRIPTS: &[&str] = &[
    include_str!("../page/details.js"),
    include_str!("../page/dom.js"),
    include_str!("../page/format.js"),
    include_str!("../page/head.js"),
    include_str!("../page/keys.js"),
    include_str!("../page/lanes.js"),
    include_str!("../page/outline.js"),
    include_str!("../page/overview.js"),
    include_str!("../page/page.js"),
    include_str!("../page/panel.js"),
    include_str!("../page/query.js"),
    include_str!("../page/source.js"),
    include_str!("../page/tables.js"),
    include_str!("../page/tools.js"),
    include_str!("../page/trace.js"),
    include_str!("../page/tree.js"),
    include_str!("../page/view.js"),
];

pub(crate) struct Page {
    to: Box<dyn Write + Send>,
    columns: Columns,
    rows: Rows,
}

impl Page {
    pub(crate) fn begin(mut to: Box<dyn Write + Send>) -> io::Result<Self> {
        to.write_all(page().as_bytes())?;
        Ok(Self { to, columns: Columns::default(), rows: Rows::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let batch = self.columns.take();
        self.element("class=\"spans\"", &batch)
    }

    fn element(&mut self, attribute: &str, value: &Value) -> io::Result<()> {
        write!(self.to, "<script type=\"application/gzip\" {attribute}>")?;
        let mut encoder = GzEncoder::new(EncoderWriter::new(&mut self.to, &STANDARD), Compression::default());
        serde_json::to_writer(&mut encoder, value)?;
        encoder.finish()?.finish()?;
        self.to.write_all(b"</script>\n")
    }
}

impl Report for Page {
    fn add(&mut self, span: &SpanData) -> io::Result<()> {
        let Some(row) = self.rows.insert(span).map(|index| &self.rows.rows[index]) else { return Ok(()) };
        self.columns.add(span, row, row.failure.map(|failure| self.rows.text(failure).exact()));
        if self.columns.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>, resource: &Resource) -> io::Result<()> {
        self.flush()?;
        let trace = about(&self.rows, &self.columns, resource);
        self.element("id=\"trace\"", &trace)?;
        self.to.flush()
    }
}

/// What there is to say of a trace that is over.
pub(crate) fn about(rows: &Rows, columns: &Columns, resource: &Resource) -> Value {
    let tree = Tree::grow(&rows.rows);
    let end = tree.as_ref().map_or(0, |tree| rows.rows[tree.root].end);
    let critical = tree.iter().flat_map(|tree| tree.critical_path(&rows.rows));
    let mut critical: Vec<_> = critical
        .filter_map(|stretch| Some((columns.known(rows.rows[stretch.row].id)?, stretch.start, stretch.end)))
        .map(|(number, start, end)| json!([number, columns.since(start), columns.since(end)]))
        .collect();
    critical.reverse();
    let count = |kind| rows.rows.iter().filter(|row| row.kind == kind).count();
    let counts = (count(Kind::Process), count(Kind::Connection));
    let mut about = about_now(&rows.about, columns, counts, end, resource);
    about["critical"] = critical.into();
    about["complete"] = rows.about.is_complete.into();
    about["problems"] = problems(rows).into();
    about
}

/// Likewise of one that is not, at that time; how many processes and connections there are.
pub(crate) fn about_now(
    about: &About,
    columns: &Columns,
    (processes, connections): (usize, usize),
    now: u64,
    resource: &Resource,
) -> Value {
    let resource: Map<_, _> = resource.iter().map(|(key, value)| (key.to_string(), json_value(value))).collect();
    json!({
        "trace_id": about.trace_id,
        "command": command_line(&about.arguments).as_ref().map_or("", Untrusted::exact),
        "started": columns.origin() / 1_000_000,
        "elapsed": columns.since(now),
        "cores": about.cpus,
        "host": resource.get("host.name"),
        "version": about.version.as_ref().map_or("", Untrusted::exact),
        "complete": null,
        "problems": [],
        "processes": processes,
        "connections": connections,
        "resource": resource,
        "critical": [],
    })
}

/// What is missing, in words.
fn problems(rows: &Rows) -> Vec<String> {
    let about = &rows.about;
    let left_out = (rows.left_out > 0).then(|| format!("{} spans were too many for this page", rows.left_out));
    let losses = about.losses.iter().map(|(key, count)| {
        let key = key.trim_start_matches("process_tracer.").replace(['.', '_'], " ");
        format!("{key}: {count}")
    });
    losses.chain(about.unobserved.as_ref().map(|reason| reason.exact().to_owned())).chain(left_out).collect()
}

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

    fn origin(&self) -> u64 {
        self.origin.unwrap_or_default()
    }

    /// That time, as the page has it.
    fn since(&self, time: u64) -> i64 {
        (time as i64).saturating_sub(self.origin() as i64)
    }

    fn len(&self) -> usize {
        self.number.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.number.is_empty()
    }

    fn known(&self, id: SpanId) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_all_its_scripts_and_asks_for_nothing_else() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let is_in = text.contains("/*SCRIPT*/") || page().contains(text.trim_end());
            assert!(is_in, "not in SCRIPTS: {}", text.lines().next().unwrap());
        }
        let page = page();
        assert!(page.len() < 300_000 && !page.contains("/*S"), "{}", page.len());
        assert_eq!(page.matches("</script").count(), 1, "a script must not end itself");
        assert!(!page.contains("src=") && !page.contains("@import"));
    }
}
