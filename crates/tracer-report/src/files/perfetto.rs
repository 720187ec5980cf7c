//! Perfetto's trace format. Each process has a track, nested in the track of the process that forked it. Each connection and
//! lookup has a track below its process. Arrows lead from a fork to the new process, and from one end of a connection to the
//! other.
//!
//! The messages here are a small part of Perfetto's: <https://perfetto.dev/docs/reference/trace-packet-proto>.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use prost::Message;
use tracer_model::{Resource, SpanId, Value};

use crate::{
    report::Report,
    span::{Span, Subject},
};

#[derive(Clone, PartialEq, Message)]
struct Packet {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "11")]
    track_event: Option<TrackEvent>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
    #[prost(enumeration = "SiblingMergeBehavior", optional, tag = "15")]
    sibling_merge_behavior: Option<i32>,
}

/// Whether tracks of one parent that have the same name are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
enum SiblingMergeBehavior {
    /// The default: they are merged.
    Unspecified = 0,
    None = 2,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<DebugAnnotation>,
    #[prost(enumeration = "EventType", tag = "9")]
    r#type: i32,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(string, repeated, tag = "22")]
    categories: Vec<String>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    flow_ids: Vec<u64>,
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    terminating_flow_ids: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
enum EventType {
    Unspecified = 0,
    SliceBegin = 1,
    SliceEnd = 2,
    Instant = 3,
}

#[derive(Clone, PartialEq, Message)]
struct DebugAnnotation {
    #[prost(bool, optional, tag = "2")]
    bool_value: Option<bool>,
    #[prost(int64, optional, tag = "4")]
    int_value: Option<i64>,
    #[prost(double, optional, tag = "5")]
    double_value: Option<f64>,
    #[prost(string, optional, tag = "6")]
    string_value: Option<String>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
    #[prost(message, repeated, tag = "12")]
    array_values: Vec<DebugAnnotation>,
}

/// `Trace.packet`, length-delimited.
const PACKET_TAG: u8 = 1 << 3 | 2;

/// All packets belong to one sequence.
const SEQUENCE: u32 = 1;

pub(crate) struct Tracks {
    to: Box<dyn Write + Send>,
}

impl Tracks {
    pub(crate) fn begin(to: Box<dyn Write + Send>) -> Self {
        Self { to }
    }

    fn write(&mut self, packet: Packet) -> io::Result<()> {
        let packet = Packet { trusted_packet_sequence_id: Some(SEQUENCE), ..packet };
        self.to.write_all(&[PACKET_TAG])?;
        self.to.write_all(&packet.encode_length_delimited_to_vec())
    }

    fn event(&mut self, timestamp: u64, event: TrackEvent) -> io::Result<()> {
        self.write(Packet { timestamp: Some(timestamp), track_event: Some(event), ..Packet::default() })
    }
}

impl Report for Tracks {
    fn add(&mut self, span: &Span<'_>) -> io::Result<()> {
        let (id, process) = (number(span.id), span.process());
        let name = process.map_or_else(|| span.name.to_string(), |process| format!("{} {}", span.name, process.pid));
        let links = span.links();
        // A process whose parent is another program's span is linked to the process that forked it.
        // The root links to the process where its failure began.
        let is_forked = process.is_some_and(|process| !process.is_root && !process.is_run);
        let forked_by = links.iter().find(|(trace, _)| is_forked && *trace == span.trace);
        let parent = forked_by.map(|(_, parent)| *parent).or(span.parent);
        let parent = parent.filter(|_| !span.is_parent_remote).map(number);
        let track = TrackDescriptor {
            uuid: Some(id),
            name: Some(name),
            parent_uuid: parent,
            sibling_merge_behavior: Some(SiblingMergeBehavior::None as i32),
        };
        self.write(Packet { track_descriptor: Some(track), ..Packet::default() })?;

        let details = span.details();
        let event = |kind: EventType| TrackEvent { r#type: kind as i32, track_uuid: Some(id), ..TrackEvent::default() };
        let mut slice = TrackEvent {
            name: Some(span.name.to_string()),
            categories: vec![if process.is_some() { "process" } else { "network" }.to_owned()],
            debug_annotations: details.attributes.iter().map(annotation).collect(),
            ..event(EventType::SliceBegin)
        };
        if let Some(parent) = parent.filter(|_| process.is_some()) {
            let fork = TrackEvent {
                track_uuid: Some(parent),
                name: Some("fork".to_owned()),
                flow_ids: vec![id],
                ..event(EventType::Instant)
            };
            self.event(span.start, fork)?;
            slice.terminating_flow_ids.push(id);
        }
        for (_, link) in links.iter().filter(|_| process.is_none()) {
            let flow = id.min(number(*link));
            match &span.subject {
                Subject::Connection(connection) if connection.is_accepted => slice.terminating_flow_ids.push(flow),
                _ => slice.flow_ids.push(flow),
            }
        }
        self.event(span.start, slice)?;
        for moment in details.events {
            let instant = TrackEvent {
                name: Some(moment.name.into_owned()),
                debug_annotations: moment.attributes.iter().map(annotation).collect(),
                ..event(EventType::Instant)
            };
            self.event(moment.at, instant)?;
        }
        self.event(span.end, event(EventType::SliceEnd))
    }

    fn finish(mut self: Box<Self>, _: &Resource) -> io::Result<()> {
        self.to.flush()
    }
}

fn number(id: SpanId) -> u64 {
    u64::from_be_bytes(id.0)
}

fn annotation((key, value): &(Cow<'static, str>, Value)) -> DebugAnnotation {
    DebugAnnotation { name: Some(key.to_string()), ..annotated(value) }
}

fn annotated(value: &Value) -> DebugAnnotation {
    let none = DebugAnnotation::default;
    let array = |values: Vec<DebugAnnotation>| DebugAnnotation { array_values: values, ..none() };
    match value {
        Value::Bool(value) => DebugAnnotation { bool_value: Some(*value), ..none() },
        Value::Int(value) => DebugAnnotation { int_value: Some(*value), ..none() },
        Value::Float(value) => DebugAnnotation { double_value: Some(*value), ..none() },
        Value::String(value) => DebugAnnotation { string_value: Some(value.clone()), ..none() },
        Value::Bytes(_) => DebugAnnotation { string_value: Some(value.to_string()), ..none() },
        Value::Bools(values) => array(values.iter().map(|value| annotated(&Value::Bool(*value))).collect()),
        Value::Ints(values) => array(values.iter().map(|value| annotated(&Value::Int(*value))).collect()),
        Value::Floats(values) => array(values.iter().map(|value| annotated(&Value::Float(*value))).collect()),
        Value::Strings(values) => array(values.iter().map(|value| annotated(&Value::String(value.clone()))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        saved::Link,
        story::{story, written},
    };

    #[derive(Clone, PartialEq, Message)]
    struct Trace {
        #[prost(message, repeated, tag = "1")]
        packets: Vec<Packet>,
    }

    #[test]
    fn the_root_is_not_below_the_process_where_its_failure_began() {
        let mut spans = story("make", 0, 100).exits(2).starts("cc", 10, 50, |cc| cc.exits(1)).spans();
        let origin = Link { trace_id: spans[0].trace_id, span_id: spans[0].span_id };
        spans[1].links.push(origin);
        let trace = Trace::decode(&*written(&spans, |to| Box::new(Tracks::begin(to)))).unwrap();
        let parents: Vec<_> = trace.packets.iter().filter_map(|packet| packet.track_descriptor.as_ref()).collect();
        assert_eq!(parents.iter().map(|track| track.parent_uuid.is_some()).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_process_under_another_programs_span_is_below_the_process_that_forked_it() {
        let mut spans = story("make", 0, 100).starts("cc", 10, 50, |cc| cc).spans();
        let forked_by = Link { trace_id: spans[1].trace_id, span_id: spans[1].span_id };
        let make = number(forked_by.span_id);
        spans[0].parent_id = Some(SpanId([0xab; 8]));
        spans[0].links.push(forked_by);
        let trace = Trace::decode(&*written(&spans, |to| Box::new(Tracks::begin(to)))).unwrap();
        let tracks: Vec<_> = trace.packets.iter().filter_map(|packet| packet.track_descriptor.as_ref()).collect();
        assert_eq!((tracks[0].parent_uuid, tracks[1].parent_uuid), (Some(make), None));
        let arrows: Vec<_> = trace
            .packets
            .iter()
            .filter_map(|packet| packet.track_event.as_ref())
            .filter(|event| !event.flow_ids.is_empty())
            .map(|event| (event.name.as_deref(), event.track_uuid))
            .collect();
        assert_eq!(arrows, [(Some("fork"), Some(make))]);
    }
}
