//! The page as a file that contains the trace.
//!
//! Each batch of spans is an element, gzipped and in base64. A page that is opened from disk may not load another file.

use std::io::{self, Write};

use base64::{engine::general_purpose::STANDARD, write::EncoderWriter};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use tracer_model::Resource;

use crate::{
    by::By,
    columns::Columns,
    page::{about, page},
    report::Report,
    row::Rows,
    span::Span,
};

/// The most spans in one element.
const BATCH: usize = 5_000;

pub(crate) struct Page {
    to: Box<dyn Write + Send>,
    columns: Columns,
    rows: Rows,
}

impl Page {
    pub(crate) fn begin(mut to: Box<dyn Write + Send>, by: Option<&By>) -> io::Result<Self> {
        to.write_all(page(by).as_bytes())?;
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
    fn add(&mut self, span: &Span<'_>) -> io::Result<()> {
        let Some(row) = self.rows.insert(span).map(|index| &self.rows.rows[index]) else { return Ok(()) };
        self.columns.add(span, row, row.failure.map(|failure| self.rows.text(failure).exact()));
        if self.columns.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>, resource: &Resource) -> io::Result<()> {
        self.flush()?;
        self.rows.complete();
        let trace = about(&self.rows, &self.columns, resource);
        self.element("id=\"trace\"", &trace)?;
        self.to.flush()
    }
}
