//! The spans of one row group, by column, with the levels that Parquet has for lists:
//! <https://parquet.apache.org/docs/file-format/nestedencoding/>.

use bytes::Bytes;
use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, Int64Type},
    errors::Result,
    file::writer::SerializedColumnWriter,
};
use tracer_model::{Value, semconv::PROCESS_COMMAND_ARGS};

use super::{
    schema::{ERROR, UNSET},
    values::{Types, write_text},
};
use crate::span::Span;

/// The most spans of a row group. More rows compress better, and take more memory.
pub(super) const ROWS: usize = if cfg!(test) { 100 } else { 32_768 };

/// The most bytes of texts of a row group, except if one span has more.
pub(super) const BYTES: usize = 16 << 20;

/// A column of the lowest level.
#[derive(Debug, Default)]
struct Column<V> {
    values: V,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

/// Texts, one after the other, and their ends.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.push_with(|bytes| bytes.extend_from_slice(text.as_bytes()));
    }

    fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The texts. They share their memory.
    fn take(&mut self) -> Vec<ByteArray> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut begin = 0;
        let mut text = |end| ByteArray::from(bytes.slice(std::mem::replace(&mut begin, end)..end));
        std::mem::take(&mut self.ends).into_iter().map(&mut text).collect()
    }
}

impl<V> Column<V> {
    /// The levels of the next value, or of an empty list.
    fn level(&mut self, definition: i16, repetition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
    }

    /// Takes the levels, and leaves none. `None`: the column is not in a list.
    fn levels(&mut self) -> (Option<Vec<i16>>, Option<Vec<i16>>) {
        let levels = [&mut self.definitions, &mut self.repetitions].map(std::mem::take);
        let [definitions, repetitions] = levels.map(|levels| (!levels.is_empty()).then_some(levels));
        (definitions, repetitions)
    }
}

/// Writes its values and forgets them.
trait Flush {
    fn flush(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()>;
}

impl Flush for Column<Texts> {
    fn flush(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let (definitions, repetitions) = self.levels();
        let values = self.values.take();
        to.typed::<ByteArrayType>().write_batch(&values, definitions.as_deref(), repetitions.as_deref())?;
        Ok(())
    }
}

impl Flush for Column<Vec<i64>> {
    fn flush(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let (definitions, repetitions) = self.levels();
        let values = std::mem::take(&mut self.values);
        to.typed::<Int64Type>().write_batch(&values, definitions.as_deref(), repetitions.as_deref())?;
        Ok(())
    }
}

impl Flush for Column<Vec<bool>> {
    fn flush(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let values = std::mem::take(&mut self.values);
        to.typed::<BoolType>().write_batch(&values, None, None)?;
        Ok(())
    }
}

/// A map from text to text.
#[derive(Debug, Default)]
struct Map {
    keys: Column<Texts>,
    values: Column<Texts>,
}

impl Map {
    /// Adds a map. `definition` is the level of an empty map, and `repetition` that of the first entry.
    fn push<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a str, &'a Value)>,
        [definition, mut repetition]: [i16; 2],
        types: &mut Types,
    ) {
        let before = self.keys.values.ends.len();
        for (key, value) in entries {
            self.level(definition + 1, repetition);
            // All other entries are in the same map.
            repetition = definition + 1;
            self.keys.values.push(key);
            self.values.values.push_with(|bytes| write_text(bytes, value));
            types.add(key, value);
        }
        if self.keys.values.ends.len() == before {
            self.level(definition, repetition);
        }
    }

    /// An empty list has no map.
    fn level(&mut self, definition: i16, repetition: i16) {
        self.keys.level(definition, repetition);
        self.values.level(definition, repetition);
    }
}

/// The columns of a row group, in the order of the schema.
#[derive(Debug, Default)]
pub(super) struct Columns {
    timestamp: Column<Vec<i64>>,
    trace_id: Column<Texts>,
    span_id: Column<Texts>,
    parent_span_id: Column<Texts>,
    name: Column<Texts>,
    kind: Column<Texts>,
    service: Column<Texts>,
    resource: Map,
    attributes: Map,
    duration: Column<Vec<i64>>,
    status: Column<Texts>,
    message: Column<Texts>,
    event_at: Column<Vec<i64>>,
    event_name: Column<Texts>,
    event_attributes: Map,
    link_trace_id: Column<Texts>,
    link_span_id: Column<Texts>,
    is_parent_remote: Column<Vec<bool>>,
}

impl Columns {
    pub(super) fn add(&mut self, span: &Span<'_>, types: &mut Types) {
        let details = span.details();
        self.timestamp.values.push(number(span.start));
        push_id(&mut self.trace_id, &span.trace.0);
        push_id(&mut self.span_id, &span.id.0);
        push_id(&mut self.parent_span_id, span.parent.as_ref().map_or(&[][..], |id| &id.0));
        self.name.values.push(&span.name);
        self.kind.values.push(span.kind().name());
        let service = span.resource().find(|(key, _)| *key == SERVICE_NAME).map(|(_, value)| value);
        self.service.values.push_with(|bytes| service.into_iter().for_each(|name| write_text(bytes, name)));
        self.resource.push(span.resource(), [0, 0], types);
        self.attributes.push(details.attributes.iter().map(|(key, value)| (&**key, value)), [0, 0], types);
        self.duration.values.push(number(span.end - span.start));
        let message = span.status_message();
        self.status.values.push(if message.is_some() { ERROR } else { UNSET });
        self.message.values.push(message.as_deref().unwrap_or_default());
        self.is_parent_remote.values.push(span.is_parent_remote);
        if details.events.is_empty() {
            self.event_at.level(0, 0);
            self.event_name.level(0, 0);
            self.event_attributes.level(0, 0);
        }
        for (index, event) in details.events.iter().enumerate() {
            let repetition = i16::from(index > 0);
            self.event_at.level(1, repetition);
            self.event_at.values.push(number(event.at));
            self.event_name.level(1, repetition);
            self.event_name.values.push(&event.name);
            let attributes = event.attributes.iter().map(|attribute @ (key, value)| {
                let is_of_span = key == PROCESS_COMMAND_ARGS && details.attributes.contains(attribute);
                (&**key, if is_of_span { &OF_SPAN } else { value })
            });
            self.event_attributes.push(attributes, [1, repetition], types);
        }
        let links = span.links();
        if links.is_empty() {
            self.link_trace_id.level(0, 0);
            self.link_span_id.level(0, 0);
        }
        for (index, (trace_id, span_id)) in links.iter().enumerate() {
            self.link_trace_id.level(1, i16::from(index > 0));
            push_id(&mut self.link_trace_id, &trace_id.0);
            self.link_span_id.level(1, i16::from(index > 0));
            push_id(&mut self.link_span_id, &span_id.0);
        }
    }

    /// Whether a row group has enough spans.
    pub(super) fn is_full(&self) -> bool {
        let texts = [&self.attributes, &self.event_attributes, &self.resource];
        let bytes = texts.iter().map(|map| map.keys.values.bytes.len() + map.values.values.bytes.len());
        self.len() >= ROWS || bytes.sum::<usize>() >= BYTES
    }

    pub(super) fn len(&self) -> usize {
        self.timestamp.values.len()
    }

    /// Writes each column with `write`, in the order of the schema.
    pub(super) fn flush(
        &mut self,
        mut next: impl FnMut(&mut dyn FnMut(&mut SerializedColumnWriter<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let columns: [&mut dyn Flush; 21] = [
            &mut self.timestamp,
            &mut self.trace_id,
            &mut self.span_id,
            &mut self.parent_span_id,
            &mut self.name,
            &mut self.kind,
            &mut self.service,
            &mut self.resource.keys,
            &mut self.resource.values,
            &mut self.attributes.keys,
            &mut self.attributes.values,
            &mut self.duration,
            &mut self.status,
            &mut self.message,
            &mut self.event_at,
            &mut self.event_name,
            &mut self.event_attributes.keys,
            &mut self.event_attributes.values,
            &mut self.link_trace_id,
            &mut self.link_span_id,
            &mut self.is_parent_remote,
        ];
        for column in columns {
            next(&mut |writer| column.flush(writer))?;
        }
        Ok(())
    }
}

const SERVICE_NAME: &str = "service.name";

/// Replaces the arguments in an exec event if the span has the same ones. Otherwise the file would have this long text twice.
static OF_SPAN: Value = Value::String(String::new());

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An id in hexadecimal. No id is an empty text.
fn push_id(column: &mut Column<Texts>, id: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    column.values.push_with(|bytes| {
        for byte in id {
            bytes.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    });
}
