//! Reads the spans of a file.

use std::{fs::File, sync::Arc};

use parquet::{
    errors::ParquetError,
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    record::{Field, Row, reader::RowIter},
};
use tracer_model::{
    SpanId, TraceId, Value,
    semconv::{PROCESS_COMMAND_ARGS, PROCESS_CREATION_TIME},
};

use super::{
    columns::creation_time,
    schema::{
        ATTRIBUTES, DURATION, ERROR, EVENTS, LINKS, NAME, PARENT_IS_REMOTE, PARENT_SPAN_ID, RESOURCE_ATTRIBUTES,
        SPAN_ATTRIBUTES, SPAN_ID, SPAN_KIND, SPAN_NAME, STATUS_CODE, STATUS_MESSAGE, TIMESTAMP, TRACE_ID, TYPES,
    },
    values::Types,
};
use crate::saved::{Attributes, Event, Kind, Link, Span};

/// An iterator over the spans of a file. It ends at the first error.
pub(crate) struct Reader {
    rows: RowIter<'static>,
    types: Types,
    /// The resource of the last span. Nearly always all spans have the same.
    resource: Arc<Attributes>,
}

impl Reader {
    pub(crate) fn new(file: File) -> Result<Self, ParquetError> {
        let reader = SerializedFileReader::new(file)?;
        let metadata = reader.metadata().file_metadata();
        let columns: Vec<_> = metadata.schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
        if let Some(missing) =
            [TIMESTAMP, TRACE_ID, SPAN_ID, SPAN_NAME].iter().find(|name| !columns.iter().any(|column| column == *name))
        {
            return Err(ParquetError::General(format!("it has no column {missing}")));
        }
        let entry = metadata.key_value_metadata().and_then(|list| list.iter().find(|entry| entry.key == TYPES));
        let types = Types::from_json(entry.and_then(|entry| entry.value.as_deref()));
        Ok(Self { rows: RowIter::from_file_into(Box::new(reader)), types, resource: Arc::default() })
    }

    fn span(&mut self, row: Row) -> Span {
        let mut span = Span {
            trace_id: TraceId([0; 16]),
            span_id: SpanId([0; 8]),
            parent_id: None,
            is_parent_remote: false,
            kind: Kind::Unspecified,
            name: String::new(),
            start: 0,
            end: 0,
            attributes: Attributes::new(),
            events: Vec::new(),
            links: Vec::new(),
            has_failed: false,
            message: String::new(),
            resource: Arc::default(),
            is_run: false,
        };
        let mut duration = 0;
        for (name, field) in row.into_columns() {
            match name.as_str() {
                TIMESTAMP => span.start = nanoseconds(&field),
                TRACE_ID => span.trace_id = TraceId(id(&field).unwrap_or_default()),
                SPAN_ID => span.span_id = SpanId(id(&field).unwrap_or_default()),
                PARENT_SPAN_ID => span.parent_id = id(&field).filter(|id| *id != [0; 8]).map(SpanId),
                SPAN_NAME => span.name = text(field),
                SPAN_KIND => span.kind = Kind::of(&text(field)),
                RESOURCE_ATTRIBUTES => {
                    let resource = self.attributes(field);
                    if *self.resource != resource {
                        self.resource = resource.into();
                    }
                }
                SPAN_ATTRIBUTES => span.attributes = self.attributes(field),
                DURATION => duration = nanoseconds(&field),
                STATUS_CODE => span.has_failed = text(field) == ERROR,
                STATUS_MESSAGE => span.message = text(field),
                EVENTS => span.events = elements(field).map(|event| self.event(event)).collect(),
                LINKS => span.links = elements(field).map(link).collect(),
                PARENT_IS_REMOTE => span.is_parent_remote = matches!(field, Field::Bool(true)),
                _ => {}
            }
        }
        if let Some(arguments) = span.value(PROCESS_COMMAND_ARGS).cloned() {
            let of_events = span.events.iter_mut().flat_map(|event| &mut event.attributes);
            let of_span =
                of_events.filter(|(key, value)| key == PROCESS_COMMAND_ARGS && *value == Value::String(String::new()));
            of_span.for_each(|(_, value)| value.clone_from(&arguments));
        }
        for (key, value) in &mut span.attributes {
            if key == PROCESS_CREATION_TIME && *value == Value::String(String::new()) {
                *value = Value::String(creation_time(span.start));
            }
        }
        span.end = span.start.saturating_add(duration);
        span.resource = Arc::clone(&self.resource);
        span
    }

    fn event(&self, row: Row) -> Event {
        let mut event = Event::default();
        for (name, field) in row.into_columns() {
            match name.as_str() {
                TIMESTAMP => event.at = nanoseconds(&field),
                NAME => event.name = text(field),
                ATTRIBUTES => event.attributes = self.attributes(field),
                _ => {}
            }
        }
        event
    }

    fn attributes(&self, field: Field) -> Attributes {
        let Field::MapInternal(map) = field else { return Attributes::new() };
        let entry = |(key, value): &(Field, Field)| {
            let key = text(key.clone());
            let value = self.types.value(&key, text(value.clone()));
            (key, value)
        };
        map.entries().iter().map(entry).collect()
    }
}

impl Iterator for Reader {
    type Item = Result<Span, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.map(|row| self.span(row)))
    }
}

fn link(row: Row) -> Link {
    let mut link = Link { trace_id: TraceId([0; 16]), span_id: SpanId([0; 8]) };
    for (name, field) in row.into_columns() {
        match name.as_str() {
            TRACE_ID => link.trace_id = TraceId(id(&field).unwrap_or_default()),
            SPAN_ID => link.span_id = SpanId(id(&field).unwrap_or_default()),
            _ => {}
        }
    }
    link
}

/// The structures in a list.
fn elements(field: Field) -> impl Iterator<Item = Row> {
    let elements = match field {
        Field::ListInternal(list) => list.elements().to_vec(),
        _ => Vec::new(),
    };
    elements.into_iter().filter_map(|element| match element {
        Field::Group(row) => Some(row),
        _ => None,
    })
}

fn text(field: Field) -> String {
    match field {
        Field::Str(text) => text,
        // Some programs do not say that a column has text.
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        _ => String::new(),
    }
}

/// A time or a duration. Other programs write times with fewer digits.
fn nanoseconds(field: &Field) -> u64 {
    let (number, factor) = match *field {
        Field::Long(number) => (u64::try_from(number).unwrap_or_default(), 1),
        Field::ULong(number) => (number, 1),
        Field::TimestampMicros(number) => (u64::try_from(number).unwrap_or_default(), 1000),
        Field::TimestampMillis(number) => (u64::try_from(number).unwrap_or_default(), 1_000_000),
        _ => (0, 1),
    };
    number.saturating_mul(factor)
}

/// An id in hexadecimal. An id of another length counts as missing.
fn id<const N: usize>(field: &Field) -> Option<[u8; N]> {
    let text = match field {
        Field::Str(text) => text.as_bytes(),
        Field::Bytes(bytes) => bytes.data(),
        _ => return None,
    };
    let mut id = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in id.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(id)
}
