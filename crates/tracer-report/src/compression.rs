//! Compressed files. The end of a file's name says how to write it. The first bytes of a file say how to read it.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Cursor, Read, Write},
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use flate2::{bufread::MultiGzDecoder, write::GzEncoder};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Each kind with the suffix of its files and their first bytes.
const KINDS: [(Compression, &str, &[u8]); 2] =
    [(Compression::Gzip, ".gz", &[0x1f, 0x8b]), (Compression::Zstd, ".zst", &[0x28, 0xb5, 0x2f, 0xfd])];

/// The number of first bytes that decide.
const MAGIC: u64 = 4;

impl Compression {
    /// Splits the suffix of a compression from a file's name.
    pub fn split(name: &str) -> (&str, Option<Self>) {
        let split = KINDS.into_iter().find_map(|(kind, suffix, _)| Some((name.strip_suffix(suffix)?, Some(kind))));
        split.unwrap_or((name, None))
    }

    /// The compression of a file with this name.
    pub fn of_name(path: &Path) -> Option<Self> {
        path.to_str().and_then(|name| Self::split(name).1)
    }

    /// The compression of a file that begins with these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        KINDS.into_iter().find(|(.., magic)| bytes.starts_with(magic)).map(|(kind, ..)| kind)
    }
}

/// Whether a compressed file ended too early.
#[derive(Clone, Debug, Default)]
pub struct CutOff(Rc<Cell<bool>>);

impl CutOff {
    /// Whether the end is missing. A killed run leaves such a file.
    pub fn is_cut_off(&self) -> bool {
        self.0.get()
    }
}

/// Reads a file, compressed or not. If the end of a compressed file is missing, the content ends there.
///
/// # Errors
///
/// The file cannot be read.
pub fn reader<'a>(mut from: impl BufRead + 'a) -> io::Result<(Box<dyn BufRead + 'a>, CutOff)> {
    let mut first = Vec::new();
    from.by_ref().take(MAGIC).read_to_end(&mut first)?;
    let kind = Compression::of_bytes(&first);
    let from = Cursor::new(first).chain(from);
    let cut_off = CutOff::default();
    let content: Box<dyn Read + 'a> = match kind {
        None => return Ok((Box::new(from), cut_off)),
        Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(from)),
        Some(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(from)?),
    };
    Ok((Box::new(BufReader::new(Content { from: content, cut_off: cut_off.clone() })), cut_off))
}

/// The content of a compressed file.
struct Content<'a> {
    from: Box<dyn Read + 'a>,
    cut_off: CutOff,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut_off.0.set(true);
                Ok(0)
            }
            result => result,
        }
    }
}

/// Compresses all written data. After a flush, a reader can read these data even if the end of the file is missing.
#[derive(Clone)]
pub struct Compressor(Arc<Mutex<Encoder>>);

enum Encoder {
    Gzip(GzEncoder<Box<dyn Write + Send>>),
    Zstd(zstd::Encoder<'static, Box<dyn Write + Send>>),
    Finished,
}

impl Compressor {
    /// Begins to write to `to`.
    ///
    /// # Errors
    ///
    /// There is not enough memory.
    pub fn new(kind: Compression, to: Box<dyn Write + Send>) -> io::Result<Self> {
        let encoder = match kind {
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(to, flate2::Compression::default())),
            Compression::Zstd => Encoder::Zstd(zstd::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        };
        Ok(Self(Arc::new(Mutex::new(encoder))))
    }

    /// Writes the end. Nothing can be written afterwards.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn finish(&self) -> io::Result<()> {
        let encoder = self.with(|encoder| std::mem::replace(encoder, Encoder::Finished));
        match encoder {
            Encoder::Gzip(encoder) => encoder.finish()?.flush(),
            Encoder::Zstd(encoder) => encoder.finish()?.flush(),
            Encoder::Finished => Ok(()),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Encoder) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|encoder| match encoder {
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
            Encoder::Finished => Err(io::Error::other("the compressed file is complete")),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|encoder| match encoder {
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
            Encoder::Finished => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Shared;

    /// The text, and whether its end is missing.
    fn read(bytes: &[u8]) -> (String, bool) {
        let (mut from, cut_off) = reader(bytes).unwrap();
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        (text, cut_off.is_cut_off())
    }

    fn compressed(kind: Compression, text: &str, is_finished: bool) -> Vec<u8> {
        let to = Shared::default();
        let mut compressor = Compressor::new(kind, Box::new(to.clone())).unwrap();
        compressor.write_all(text.as_bytes()).unwrap();
        compressor.flush().unwrap();
        if is_finished {
            compressor.finish().unwrap();
        }
        to.take()
    }

    #[test]
    fn compressed_files_are_recognised_by_their_first_bytes() {
        for kind in [Compression::Gzip, Compression::Zstd] {
            let one = compressed(kind, "one\n", true);
            assert_eq!(read(&one), ("one\n".to_owned(), false), "{kind:?}");
            // `cat a.gz b.gz` is a file, too.
            assert_eq!(read(&[one.clone(), one].concat()), ("one\none\n".to_owned(), false), "{kind:?}");
        }
        for text in ["", "{}", "no compression"] {
            assert_eq!(read(text.as_bytes()), (text.to_owned(), false));
        }
    }

    #[test]
    fn a_compressed_file_whose_end_is_missing_is_read_as_far_as_it_goes() {
        for kind in [Compression::Gzip, Compression::Zstd] {
            assert_eq!(read(&compressed(kind, "flushed\n", false)), ("flushed\n".to_owned(), true), "{kind:?}");
        }
    }

    #[test]
    fn the_name_decides_how_a_file_is_written() {
        assert_eq!(Compression::split("t.jsonl.gz"), ("t.jsonl", Some(Compression::Gzip)));
        assert_eq!(Compression::split("t.jsonl.zst"), ("t.jsonl", Some(Compression::Zstd)));
        assert_eq!(Compression::split("t.jsonl"), ("t.jsonl", None));
    }
}
