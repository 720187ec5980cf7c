//! Spans in columns: Apache Parquet. DuckDB, ClickHouse, Spark and DataFusion read many such files at once.
//!
//! The columns have the names of the table `otel_traces` of the OpenTelemetry exporter for ClickHouse. As there, the
//! values of attributes are texts. `values` keeps the original types in the metadata of the file, for the reader.
//!
//! - `schema` names the columns.
//! - `columns` holds the spans of one row group.
//! - `writer` writes row groups while the spans come in, so memory is bounded.
//! - `reader` reads the spans back.

mod columns;
mod reader;
mod schema;
mod values;
mod writer;

pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tracer_model::{Resource, SpanId, TraceId, Value};

    use super::*;
    use crate::{Report, SavedTrace, saved, span, story::story};

    /// Writes these spans and reads them back.
    fn round_trip(spans: &[saved::Span]) -> (Resource, Vec<saved::Span>) {
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::begin(Box::new(file.try_clone().unwrap())).unwrap();
        for span in spans {
            writer.add(&span::Span::from(span)).unwrap();
        }
        Box::new(writer).finish(&Resource::default()).unwrap();
        read(file).unwrap()
    }

    fn read(file: File) -> Result<(Resource, Vec<saved::Span>), crate::ReadError> {
        let mut trace = SavedTrace::<&[u8]>::of_parquet(file, None)?;
        let spans = trace.by_ref().collect::<Result<Vec<_>, _>>()?;
        Ok((trace.finish()?, spans))
    }

    fn link(byte: u8) -> saved::Link {
        saved::Link { trace_id: TraceId([byte; 16]), span_id: SpanId([byte; 8]) }
    }

    #[test]
    fn a_span_that_is_read_back_is_the_same() {
        let text = |text: &str| Value::String(text.to_owned());
        let attributes = vec![
            ("text".to_owned(), text("ä\u{0} 5")),
            ("empty".to_owned(), text("")),
            ("number".to_owned(), Value::Int(-5)),
            ("float".to_owned(), Value::Float(0.1)),
            ("whole float".to_owned(), Value::Float(3.0)),
            ("no".to_owned(), Value::Bool(false)),
            ("bytes".to_owned(), Value::Bytes(b"a\0\xff".to_vec())),
            ("words".to_owned(), Value::Strings(vec!["a \"b\"".to_owned(), String::new()])),
            ("none".to_owned(), Value::Strings(Vec::new())),
            ("numbers".to_owned(), Value::Ints(vec![1, i64::MIN])),
            ("floats".to_owned(), Value::Floats(vec![1.5, f64::INFINITY])),
            ("flags".to_owned(), Value::Bools(vec![true])),
            ("process.command_args".to_owned(), Value::Strings(vec!["make".to_owned()])),
        ];
        let wrapper =
            vec![("process.command_args".to_owned(), Value::Strings(vec!["env".to_owned(), "make".to_owned()]))];
        let event = |attributes| saved::Event { name: "exec".to_owned(), at: 7, attributes };
        let resource = [("service.name".to_owned(), text("ci")), ("host.cpu".to_owned(), Value::Int(2))];
        let plain = saved::Span { message: String::new(), ..story("make", 0, 10).spans().remove(0) };
        let full = saved::Span {
            parent_id: Some(SpanId([9; 8])),
            is_parent_remote: true,
            attributes: attributes.clone(),
            events: vec![event(Vec::new()), event(wrapper.clone()), event(attributes), event(Vec::new())],
            links: vec![link(3), link(4)],
            has_failed: true,
            message: "exit code 2".to_owned(),
            resource: resource.to_vec().into(),
            ..plain.clone()
        };
        let bare = saved::Span {
            attributes: Vec::new(),
            events: vec![event(wrapper)],
            kind: saved::Kind::Client,
            ..plain.clone()
        };
        let kinds = [saved::Kind::Unspecified, saved::Kind::Server].map(|kind| saved::Span { kind, ..bare.clone() });
        let spans = [&[full, bare.clone(), plain, bare][..], &kinds].concat();
        let (first, read) = round_trip(&spans);
        assert_eq!(format!("{read:#?}"), format!("{spans:#?}"));
        assert_eq!(first, Resource::from_iter(resource));
    }

    #[test]
    fn the_creation_time_is_written_only_if_it_is_not_the_start() {
        let at = |time: &str| ("process.creation.time".to_owned(), Value::String(time.to_owned()));
        let span = saved::Span {
            start: 1_795_814_674_104_770_530,
            end: 1_795_814_674_104_770_531,
            message: String::new(),
            ..story("make", 0, 10).spans().remove(0)
        };
        let spans = ["2026-11-27T21:24:34.104770Z", "2026-11-27T21:24:34.104771Z"]
            .map(|time| saved::Span { attributes: vec![at(time)], ..span.clone() });
        let (_, read) = round_trip(&spans);
        assert_eq!(format!("{read:#?}"), format!("{spans:#?}"));

        let mut columns = columns::Columns::default();
        let mut is_written = |span| {
            let before = columns.bytes();
            columns.add(&span::Span::from(span), &mut values::Keys::default());
            columns.bytes() - before > size_of::<parquet::data_type::ByteArray>()
        };
        assert_eq!(spans.each_ref().map(&mut is_written), [false, true]);
    }

    #[test]
    fn spans_of_several_row_groups_keep_their_order() {
        let many: Vec<_> = story("make", 0, 10).spans().into_iter().cycle().take(3 * columns::ROWS / 2).collect();
        let numbered = many.into_iter().zip(0_u64..);
        let spans: Vec<_> =
            numbered.map(|(span, number)| saved::Span { span_id: SpanId(number.to_be_bytes()), ..span }).collect();
        let (_, read) = round_trip(&spans);
        assert!(read.iter().map(|span| span.span_id).eq(spans.iter().map(|span| span.span_id)));
    }

    #[test]
    fn a_file_with_other_content_is_refused() {
        use std::io::Write;

        for content in [&b"PAR1"[..], b"PAR1 no parquet at all PAR1", b""] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            assert!(matches!(read(file), Err(crate::ReadError::Parquet(_))), "{content:?}");
        }
    }
}
