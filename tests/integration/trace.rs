//! A trace for the tests, read from a file of OTLP/JSON lines.

use std::{collections::HashMap, path::Path};

use serde_json::Value;

/// All spans of one file.
#[derive(Debug)]
pub struct Trace {
    pub spans: Vec<Span>,
}

#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub trace_id: String,
    pub span_id: String,
    /// Empty: no parent.
    pub parent_id: String,
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    pub status: u64,
    pub status_message: String,
    pub attributes: Attributes,
    /// Trace and span ids.
    pub links: Vec<(String, String)>,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub at: u64,
    pub attributes: Attributes,
}

/// Values as text: strings and numbers unchanged, arrays as `[a, b]`.
pub type Attributes = HashMap<String, String>;

pub const STATUS_ERROR: u64 = 2;
pub const KIND_CLIENT: u64 = 3;
pub const KIND_SERVER: u64 = 2;

/// A port in the name of a span. An ephemeral one is left out.
pub fn port_in_name(port: &str) -> String {
    if port.parse::<u16>().unwrap() < 32_768 { format!(":{port}") } else { String::new() }
}

/// The address and the port of a connection in the name of a span.
pub fn end_in_name(address: &str, port: &str) -> String {
    match port_in_name(port) {
        none if none.is_empty() => address.trim_matches(['[', ']']).to_owned(),
        port => format!("{address}{port}"),
    }
}

impl Trace {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let spans = text.lines().flat_map(|line| {
            let data: Value = serde_json::from_str(line).unwrap();
            let scopes = items(&data["resourceSpans"]).flat_map(|resource| items(&resource["scopeSpans"]));
            let spans = scopes.flat_map(|scope| items(&scope["spans"]));
            spans.map(Span::read).collect::<Vec<_>>()
        });
        Self { spans: spans.collect() }
    }

    /// The root span. It says whether the trace is complete.
    pub fn root(&self) -> &Span {
        self.only(|span| span.attributes.contains_key("process_tracer.complete"), "root")
    }

    /// The only span of that name.
    pub fn named(&self, name: &str) -> &Span {
        self.only(|span| span.name == name, name)
    }

    /// The only span of that process.
    pub fn process(&self, pid: u32) -> &Span {
        let pid = pid.to_string();
        self.only(|span| span.is_process() && span.attributes.get("process.pid") == Some(&pid), &pid)
    }

    pub fn children_of<'a>(&'a self, parent: &'a Span) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(|span| span.parent_id == parent.span_id)
    }

    pub fn processes(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.is_process())
    }

    pub fn connections(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| {
            span.attributes.get("network.transport").is_some_and(|transport| transport == "tcp")
                && !span.has("dns.question.name")
        })
    }

    pub fn flows(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.has("process_tracer.udp.datagrams_sent"))
    }

    pub fn unix_connects(&self) -> impl Iterator<Item = &Span> {
        self.spans
            .iter()
            .filter(|span| span.attributes.get("network.transport").is_some_and(|transport| transport == "unix"))
    }

    pub fn lookups(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.has("dns.question.name"))
    }

    fn only(&self, matches: impl Fn(&Span) -> bool, what: &str) -> &Span {
        let found: Vec<_> = self.spans.iter().filter(|span| matches(span)).collect();
        assert_eq!(found.len(), 1, "spans of {what} in {self:#?}");
        found[0]
    }

    /// Checks the facts that are true for every trace. It is one tree. Each span is there once. No span ends before it
    /// starts. The root says whether the trace is complete.
    pub fn assert_sound(&self) {
        let root = self.root();
        let unobserved = root.attributes.get("process_tracer.unobserved.kinds");
        let has_processes = unobserved.is_none_or(|kinds| !kinds.contains("processes"));
        let ids: HashMap<&str, &Span> = self.spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
        assert_eq!(ids.len(), self.spans.len(), "span ids recur");
        for span in &self.spans {
            assert!(span.end > span.start, "{span:#?} does not end after it starts");
            assert_eq!(span.trace_id, root.trace_id);
            if span.span_id != root.span_id {
                // The environment of a process can name another program's span as its parent. Then the first link of the
                // process is the process that forked it.
                let above = ids.get(span.parent_id.as_str()).or_else(|| ids.get(span.links.first()?.1.as_str()));
                let parent = above.unwrap_or_else(|| panic!("{span:#?} has no parent"));
                // An accepted connection may be passed to a process that is younger than the connection.
                // A connection has the pid of its last owner. Without process spans all belong to the root.
                let is_of_parent = || span.attribute("process.pid") == parent.attribute("process.pid");
                assert!(span.is_process() || !has_processes || is_of_parent(), "{span:#?}");
                assert!(!span.is_process() || parent.start <= span.start, "{span:#?} starts before its parent");
            }
        }
        assert_eq!(root.attributes["process_tracer.processes"], self.processes().count().to_string());
        for (kind, count) in [
            ("connections", self.connections().count()),
            ("flows", self.flows().count()),
            ("lookups", self.lookups().count()),
        ] {
            // A kind that was not observed has no number.
            let is_observed = unobserved.is_none_or(|kinds| !kinds.contains(kind));
            let number = root.attributes.get(&format!("process_tracer.{kind}"));
            assert_eq!(number, is_observed.then(|| count.to_string()).as_ref(), "{kind}");
        }
        let unix_connects = root.attributes.get("process_tracer.unix_connects").map_or("0", String::as_str);
        assert_eq!(unix_connects, self.unix_connects().count().to_string());
    }

    /// Checks the facts of [`Self::assert_sound`], and that nothing is missing.
    pub fn assert_complete(&self) {
        self.assert_sound();
        assert_eq!(self.root().attributes["process_tracer.complete"], "true", "{:#?}", self.root());
        let repaired = self.spans.iter().find(|span| span.attributes.contains_key("process_tracer.repaired"));
        assert!(repaired.is_none(), "{repaired:#?}");
    }
}

impl Span {
    fn read(span: &Value) -> Self {
        Self {
            name: text(&span["name"]),
            trace_id: text(&span["traceId"]),
            span_id: text(&span["spanId"]),
            parent_id: text(&span["parentSpanId"]),
            kind: span["kind"].as_u64().unwrap(),
            start: text(&span["startTimeUnixNano"]).parse().unwrap(),
            end: text(&span["endTimeUnixNano"]).parse().unwrap(),
            status: span["status"]["code"].as_u64().unwrap_or(0),
            status_message: text(&span["status"]["message"]),
            attributes: attributes(&span["attributes"]),
            links: items(&span["links"]).map(|link| (text(&link["traceId"]), text(&link["spanId"]))).collect(),
            events: items(&span["events"])
                .map(|event| Event {
                    name: text(&event["name"]),
                    at: text(&event["timeUnixNano"]).parse().unwrap(),
                    attributes: attributes(&event["attributes"]),
                })
                .collect(),
        }
    }

    /// Whether it is the span of a process. Spans of network activity also have a pid.
    pub fn is_process(&self) -> bool {
        self.has("process.creation.time")
    }

    /// Whether the span has an attribute.
    pub fn has(&self, key: &str) -> bool {
        self.attributes.contains_key(key)
    }

    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).unwrap_or_else(|| panic!("no {key} in {self:#?}"))
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn attributes(list: &Value) -> Attributes {
    items(list).map(|pair| (text(&pair["key"]), any_value(&pair["value"]))).collect()
}

fn any_value(value: &Value) -> String {
    let (kind, value) = value.as_object().and_then(|value| value.iter().next()).unwrap();
    match (kind.as_str(), value) {
        ("arrayValue", array) => format!("[{}]", items(&array["values"]).map(any_value).collect::<Vec<_>>().join(", ")),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}
