//! The spans of one row group, by column, with the levels that Parquet has for lists:
//! <https://parquet.apache.org/docs/file-format/nestedencoding/>.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type},
    errors::Result,
    file::writer::SerializedColumnWriter,
};
use tracer_model::semconv::{self, PROCESS_COMMAND_ARGS, PROCESS_CREATION_TIME, ValueRef};

use super::{
    schema::{ERROR, UNSET},
    values::{Keys, write_text},
};
use crate::span::Span;

/// The most spans of a row group. More rows compress better, and take more memory.
pub(super) const ROWS: usize = if cfg!(test) { 100 } else { 32_768 };

/// The most bytes of attributes of a row group in memory, except if one span has more.
pub(super) const BYTES: usize = 16 << 20;

/// A column that holds values, not other columns: a leaf of the schema.
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

    fn text(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[index]]
    }
}

impl<V> Column<V> {
    /// The levels of the next value, or of an empty list.
    fn level(&mut self, definition: i16, repetition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
    }

    /// Writes values, with the levels if the column is in a list. Clears the levels.
    fn write<T: DataType>(&mut self, values: &[T::T], to: &mut SerializedColumnWriter<'_>) -> Result<()> {
        to.typed::<T>().write_batch(values, in_list(&self.definitions), in_list(&self.repetitions))?;
        self.definitions.clear();
        self.repetitions.clear();
        Ok(())
    }
}

/// Levels, if there are any.
fn in_list(levels: &[i16]) -> Option<&[i16]> {
    (!levels.is_empty()).then_some(levels)
}

/// Writes its values and forgets them. It keeps its memory for the next row group.
trait Flush {
    fn flush(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()>;
}

impl Flush for Column<Texts> {
    fn flush(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let mut bytes = Bytes::from(std::mem::take(&mut self.values.bytes));
        let mut begin = 0;
        let text = |end| ByteArray::from(bytes.slice(std::mem::replace(&mut begin, end)..end));
        let values: Vec<_> = self.values.ends.drain(..).map(text).collect();
        self.write::<ByteArrayType>(&values, to)?;
        drop(values);
        bytes.clear();
        self.values.bytes = bytes.into();
        Ok(())
    }
}

macro_rules! flush {
    ($($value:ty: $kind:ty),*) => {$(
        impl Flush for Column<Vec<$value>> {
            fn flush(&mut self, to: &mut SerializedColumnWriter<'_>) -> Result<()> {
                let mut values = std::mem::take(&mut self.values);
                self.write::<$kind>(&values, to)?;
                values.clear();
                self.values = values;
                Ok(())
            }
        }
    )*};
}

flush! { ByteArray: ByteArrayType, bool: BoolType, i64: Int64Type }

/// A map from text to text.
#[derive(Debug, Default)]
struct Map {
    keys: Column<Vec<ByteArray>>,
    values: Column<Texts>,
}

impl Map {
    /// Adds a map. `definition` is the level of an empty map, and `repetition` that of the first entry. If an
    /// entry is equal to `known`, its value is written as an empty text.
    fn push<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>,
        [definition, mut repetition]: [i16; 2],
        known: Option<(&str, &[u8])>,
        limit: Option<usize>,
        keys: &mut Keys,
    ) {
        let before = self.keys.values.len();
        entries.into_iter().for_each(|(key, value)| {
            self.level(definition + 1, repetition);
            // All other entries are in the same map.
            repetition = definition + 1;
            self.keys.values.push(keys.add(key, &value));
            self.values.values.push_with(|bytes| {
                let begin = bytes.len();
                write_text(bytes, &value, limit);
                if known == Some((key, &bytes[begin..])) {
                    bytes.truncate(begin);
                }
            });
        });
        if self.keys.values.len() == before {
            self.level(definition, repetition);
        }
    }

    /// The last value of a key. Entries before `first` are of other spans.
    fn find(&self, key: &str, first: usize) -> Option<&[u8]> {
        let index =
            (first..self.keys.values.len()).rev().find(|index| self.keys.values[*index].data() == key.as_bytes())?;
        Some(self.values.values.text(index))
    }

    /// Writes the levels of an entry, of an empty map, or of an empty list of events, which has no map.
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
    pub(super) fn add(&mut self, span: &Span<'_>, keys: &mut Keys) {
        let limit = span.value_limit;
        self.timestamp.values.push(number(span.start));
        push_id(&mut self.trace_id, &span.trace.0);
        push_id(&mut self.span_id, &span.id.0);
        push_id(&mut self.parent_span_id, span.parent.as_ref().map_or(&[][..], |id| &id.0));
        self.name.values.push(&span.name);
        self.kind.values.push(span.kind().name());
        let resource = || span.resource().map(|(key, value)| (key, ValueRef::from(value)));
        let service = resource().find(|(key, _)| *key == SERVICE_NAME).map(|(_, value)| value);
        self.service.values.push_with(|bytes| service.iter().for_each(|name| write_text(bytes, name, None)));
        self.resource.push(resource(), [0, 0], None, None, keys);
        let creation = creation_time(span.start);
        let known = Some((PROCESS_CREATION_TIME, creation.as_bytes()));
        let first = self.attributes.keys.values.len();
        self.attributes.push(span.attributes(), [0, 0], known, limit, keys);
        self.duration.values.push(number(span.end - span.start));
        let message = span.status_message();
        self.status.values.push(if message.is_some() { ERROR } else { UNSET });
        self.message.values.push(message.as_deref().unwrap_or_default());
        self.is_parent_remote.values.push(span.is_parent_remote);
        let events = span.events();
        if events.is_empty() {
            self.event_at.level(0, 0);
            self.event_name.level(0, 0);
            self.event_attributes.level(0, 0);
        }
        // An exec event often has the same arguments as its span. They are the longest text, so they are written only
        // once.
        let known = self.attributes.find(PROCESS_COMMAND_ARGS, first);
        let known = known.map(|text| (PROCESS_COMMAND_ARGS, text));
        for (index, event) in events.into_iter().enumerate() {
            let repetition = i16::from(index > 0);
            self.event_at.level(1, repetition);
            self.event_at.values.push(number(event.at()));
            self.event_name.level(1, repetition);
            self.event_name.values.push(event.name());
            self.event_attributes.push(event.attributes(), [1, repetition], known, limit, keys);
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
        self.len() >= ROWS || self.bytes() >= BYTES
    }

    /// The bytes of the attributes in memory.
    pub(super) fn bytes(&self) -> usize {
        let maps = [&self.attributes, &self.event_attributes, &self.resource];
        maps.iter().map(|map| size_of_val(&*map.keys.values) + map.values.values.bytes.len()).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.timestamp.values.len()
    }

    /// Writes each column with `next`, in the order of the schema.
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

/// The attribute `process.creation.time` of a span that starts then, in nanoseconds since the epoch.
pub(super) fn creation_time(start: u64) -> String {
    semconv::creation_time(UNIX_EPOCH + Duration::from_nanos(start))
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An id in hexadecimal. A missing id becomes an empty text.
fn push_id(column: &mut Column<Texts>, id: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    column.values.push_with(|bytes| {
        for byte in id {
            bytes.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    });
}
