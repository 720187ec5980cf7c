//! Writes row groups while the spans come in.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    errors::{ParquetError, Result},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};
use tracer_model::Resource;

use super::{
    columns::{BYTES, Columns, ROWS},
    schema::{TYPES, schema},
    values::Keys,
};
use crate::{report::Report, span::Span};

pub(crate) struct Writer {
    file: SerializedFileWriter<Box<dyn Write + Send>>,
    columns: Columns,
    keys: Keys,
}

impl Writer {
    pub(crate) fn begin(to: Box<dyn Write + Send>) -> io::Result<Self> {
        let begin = || -> Result<Self> {
            let mut properties = WriterProperties::builder()
                .set_created_by(format!("process-tracer version {}", env!("CARGO_PKG_VERSION")))
                .set_compression(zstd(LEVEL)?)
                // The footer must stay small, because it waits in memory until the end.
                .set_statistics_enabled(EnabledStatistics::None)
                .set_offset_index_disabled(true)
                // A column of a row group is one page, because zstd forgets all texts at the end of a page.
                .set_data_page_size_limit(4 * BYTES)
                .set_data_page_row_count_limit(ROWS);
            let path = |column: &str| ColumnPath::new(column.split('.').map(str::to_owned).collect());
            for column in SELECTIVE {
                properties = properties.set_column_statistics_enabled(path(column), EnabledStatistics::Chunk);
            }
            for (column, level) in LEVELS {
                properties = properties.set_column_compression(path(column), zstd(level)?);
            }
            for (column, encoding) in PACKED {
                let column = path(column);
                properties = properties.set_column_dictionary_enabled(column.clone(), false);
                properties = properties.set_column_encoding(column, encoding);
            }
            let file = SerializedFileWriter::new(to, schema()?, Arc::new(properties.build()))?;
            Ok(Self { file, columns: Columns::default(), keys: Keys::default() })
        };
        begin().map_err(io_error)
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.file.next_row_group()?;
        self.columns.flush(|write| {
            let mut column =
                group.next_column()?.ok_or_else(|| ParquetError::General("a column too many".to_owned()))?;
            write(&mut column)?;
            column.close()
        })?;
        group.close()?;
        Ok(())
    }
}

/// Columns with statistics. A query can skip a row group by the smallest and largest values of these columns.
const SELECTIVE: [&str; 4] = ["Timestamp", "TraceId", "ServiceName", "Duration"];

/// Columns whose values rarely repeat. A dictionary would make the file larger.
///
/// Values of attributes are plain: each value stands beside its length, and zstd finds both again in earlier spans. Lengths that
/// are stored separately and packed in bits compress badly.
const PACKED: [(&str, Encoding); 7] = [
    ("Timestamp", Encoding::DELTA_BINARY_PACKED),
    ("SpanId", Encoding::DELTA_LENGTH_BYTE_ARRAY),
    ("ParentSpanId", Encoding::DELTA_LENGTH_BYTE_ARRAY),
    ("SpanAttributes.key_value.value", Encoding::PLAIN),
    ("Duration", Encoding::DELTA_BINARY_PACKED),
    ("Events.list.element.Timestamp", Encoding::DELTA_BINARY_PACKED),
    ("Events.list.element.Attributes.key_value.value", Encoding::PLAIN),
];

/// The level of zstd. Higher levels find short repetitions in random digits, which cost more than they save.
const LEVEL: i32 = 1;

/// Columns with long repetitions, and their levels.
const LEVELS: [(&str, i32); 4] = [
    ("SpanAttributes.key_value.key", 8),
    ("SpanAttributes.key_value.value", 6),
    ("Events.list.element.Attributes.key_value.key", 8),
    ("Events.list.element.Attributes.key_value.value", 6),
];

impl Report for Writer {
    fn add(&mut self, span: &Span<'_>) -> io::Result<()> {
        self.columns.add(span, &mut self.keys);
        if self.columns.is_full() { self.write_group().map_err(io_error) } else { Ok(()) }
    }

    /// Ignores the resource, because each row has the resource of its span.
    fn finish(mut self: Box<Self>, _: &Resource) -> io::Result<()> {
        let mut finish = || -> Result<()> {
            if self.columns.len() > 0 {
                self.write_group()?;
            }
            self.file.append_key_value_metadata(KeyValue::new(TYPES.to_owned(), self.keys.to_json()));
            self.file.finish()?;
            self.file.inner_mut().flush()?;
            Ok(())
        };
        finish().map_err(io_error)
    }
}

fn zstd(level: i32) -> Result<Compression> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(level)?))
}

/// The error of the file, such as "No space left on device", without the words of the library.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
