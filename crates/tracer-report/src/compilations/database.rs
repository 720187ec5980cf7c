//! The entries of a compilation database.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader, Write},
    path::{Component, Path, PathBuf},
};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::Serialize;
use tracer_model::{Identity, event::Image};

use super::{
    call::Compiled,
    compiler::Program,
    observer::{Observation, wrapped},
    response::{TooLarge, expand},
};

/// The compilations of a run, one entry for each source.
///
/// Whether a source exists is known only at the end. Until then the entries wait in memory, compressed: the calls of a
/// compiler resemble each other.
#[derive(Debug)]
pub struct Database {
    /// Entries of processes that run. A process can execute another compiler: a wrapper script does.
    running: HashMap<Identity, Vec<Entry>>,
    /// For each compilation two lines: its source, and its entry.
    lines: DeflateEncoder<Vec<u8>>,
    /// Number of the entries in `lines`.
    written: usize,
    /// The number of the last entry for a source and an output, by their hash.
    latest: HashMap<u64, usize>,
    summary: Summary,
}

/// What the database has and lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries.
    pub entries: u64,
    /// Number of sources that are not there at the end, such as those of `configure`.
    pub gone: u64,
    /// Number of calls with arguments that were cut, or with too many arguments. Arguments in response files count, too.
    pub cut: u64,
    /// Number of calls that cannot be written: their arguments are not UTF-8, or their directory is not known.
    pub unknown: u64,
    /// Number of calls with a response file that could not be read.
    pub unread: u64,
    /// Number of calls that there was no time to read.
    pub late: u64,
}

#[derive(Debug, Serialize)]
struct Entry {
    directory: String,
    file: String,
    arguments: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

/// Memory that the entries of a call may take. Each source has an entry with all options, and the traced command can name
/// any number of sources and options.
const CALL: usize = 64 << 20;

/// Why a call has no entries.
enum Missing {
    Cut,
    Unknown,
    Unread,
    /// It compiles nothing.
    Nothing,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            running: HashMap::new(),
            lines: DeflateEncoder::new(Vec::new(), Compression::fast()),
            written: 0,
            latest: HashMap::new(),
            summary: Summary::default(),
        }
    }
}

impl Database {
    /// Adds an observation. `read` returns the content of a response file. Its second argument is the id of the user who
    /// runs the compiler.
    pub fn add(&mut self, observation: Observation, read: &mut dyn FnMut(&Path, u32) -> Option<Vec<u8>>) {
        match observation {
            Observation::Compiler { process, image, has_our_files } => {
                match entries(&image, &mut |path| has_our_files.then(|| read(path, image.user_id))?) {
                    Ok(entries) => {
                        self.running.insert(process, entries);
                    }
                    Err(Missing::Cut) => self.summary.cut += 1,
                    Err(Missing::Unknown) => self.summary.unknown += 1,
                    Err(Missing::Unread) => self.summary.unread += 1,
                    Err(Missing::Nothing) => {}
                }
            }
            Observation::End(process) => {
                let entries = self.running.remove(&process).unwrap_or_default();
                entries.iter().for_each(|entry| self.keep(entry));
            }
        }
    }

    /// Counts calls that there was no time to read.
    pub fn count_late(&mut self, calls: u64) {
        self.summary.late += calls;
    }

    /// Keeps an entry. It replaces the entry of an earlier compilation of the same source to the same output.
    fn keep(&mut self, entry: &Entry) {
        let mut hasher = DefaultHasher::new();
        (&entry.file, &entry.output).hash(&mut hasher);
        if entry.output.is_none() {
            entry.directory.hash(&mut hasher);
        }
        // Writing texts to memory cannot fail.
        let _ = self.lines.write_all(line(&entry.file).as_bytes());
        let _ = self.lines.write_all(line(entry).as_bytes());
        self.latest.insert(hasher.finish(), self.written);
        self.written += 1;
    }

    /// Writes the file. It has the entries whose source `exists`.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn finish(mut self, mut exists: impl FnMut(&Path) -> bool, mut to: impl Write) -> io::Result<Summary> {
        let mut running: Vec<_> = std::mem::take(&mut self.running).into_iter().collect();
        running.sort_unstable_by_key(|(process, _)| *process);
        for (_, entries) in running {
            entries.iter().for_each(|entry| self.keep(entry));
        }
        let latest: HashSet<_> = self.latest.into_values().collect();
        let compressed = self.lines.finish()?;
        let mut lines = BufReader::new(DeflateDecoder::new(&compressed[..])).lines();
        let mut separator = "[\n";
        for number in 0..self.written {
            let (Some(source), Some(entry)) = (lines.next().transpose()?, lines.next().transpose()?) else { break };
            if !latest.contains(&number) {
                continue;
            }
            let source: PathBuf = serde_json::from_str(&source)?;
            if exists(&source) {
                write!(to, "{separator}{entry}")?;
                separator = ",\n";
                self.summary.entries += 1;
            } else {
                self.summary.gone += 1;
            }
        }
        to.write_all(if self.summary.entries == 0 { b"[]\n" } else { b"\n]\n" })?;
        to.flush()?;
        Ok(self.summary)
    }
}

/// A value as JSON in one line.
fn line(value: &(impl Serialize + ?Sized)) -> String {
    // This cannot fail, because every text can be written as JSON.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// The entries of a call.
fn entries(image: &Image, read: &mut dyn FnMut(&Path) -> Option<Vec<u8>>) -> Result<Vec<Entry>, Missing> {
    if image.arguments.is_truncated() {
        return Err(Missing::Cut);
    }
    let bytes = image.arguments.bytes.strip_suffix(b"\0").unwrap_or(&image.arguments.bytes);
    let words = str::from_utf8(bytes).map_err(|_| Missing::Unknown)?.split('\0');
    let directory = image.directory.as_deref().and_then(|path| str::from_utf8(path).ok()).ok_or(Missing::Unknown)?;
    // A path that is not UTF-8 has this character here, so its bytes are not known.
    let is_exact = |path: &&str| !path.contains('\u{fffd}');
    let mut arguments: Vec<_> = if image.is_script {
        // The kernel puts the interpreter and its option before the path of the script.
        words.skip_while(|word| *word != image.file).skip(1).map(str::to_owned).collect()
    } else {
        words.skip(1).map(str::to_owned).collect()
    };
    let compiler = match Program::of(image.name()) {
        Some(Program::Wrapper) => {
            let place = wrapped(arguments.iter()).ok_or(Missing::Nothing)?;
            arguments.drain(..=place).next_back().ok_or(Missing::Nothing)?
        }
        _ => {
            // If exec got only a descriptor, `file` is not the path of the compiler.
            let is_path = image.name() == tracer_model::event::base_name(&image.file);
            let file = if is_path { Some(image.file.as_str()) } else { image.executable.as_deref() };
            absolute(directory, file.filter(is_exact).ok_or(Missing::Unknown)?)
        }
    };
    let arguments = expand(arguments, Path::new(directory), read).map_err(|TooLarge| Missing::Cut)?;
    let Some(compiled) = Compiled::of(&arguments) else {
        let is_unread = arguments.iter().any(|argument| argument.len() > 1 && argument.starts_with('@'));
        return Err(if is_unread { Missing::Unread } else { Missing::Nothing });
    };
    let size: usize = arguments.iter().map(|argument| argument.len() + size_of::<String>()).sum();
    if size.saturating_mul(compiled.sources.len()) > CALL {
        return Err(Missing::Cut);
    }
    let entry = |source: &usize| {
        let is_of_entry = |place: &usize| place == source || compiled.sources.binary_search(place).is_err();
        let own = arguments.iter().enumerate().filter(|(place, _)| is_of_entry(place)).map(|(_, word)| word.clone());
        let source = &arguments[*source];
        Entry {
            directory: directory.to_owned(),
            file: absolute(directory, source),
            arguments: std::iter::once(compiler.clone()).chain(own).collect(),
            output: compiled.output(source).map(|output| absolute(directory, &output)),
        }
    };
    Ok(compiled.sources.iter().map(entry).collect())
}

/// A path from the root, without `.`. A `..` stays, because a link may come before it.
fn absolute(directory: &str, path: &str) -> String {
    let joined = Path::new(directory).join(path);
    let parts: PathBuf = joined.components().filter(|part| *part != Component::CurDir).collect();
    parts.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tracer_model::{Ktime, event::Strings};

    use super::*;

    fn call(arguments: &[&str]) -> Image {
        let (file, directory) = (arguments[0].to_owned(), Some("/w".into()));
        Image { file, directory, arguments: arguments.iter().collect(), ..Image::default() }
    }

    fn observation(tgid: u32, image: Image) -> Observation {
        let process = Identity { tgid, start: Ktime(1) };
        Observation::Compiler { process, image: Arc::new(image), has_our_files: true }
    }

    fn response(path: &Path, _: u32) -> Option<Vec<u8>> {
        match path.to_str()? {
            "/w/a.rsp" => Some(b"-DX='a b' -c r.c -o r.o".to_vec()),
            "/w/options.rsp" => Some(b"-g ".repeat(10_000)),
            "/w/sources.rsp" => Some(b"a.c ".repeat(10_000)),
            _ => None,
        }
    }

    /// The file for these calls. Each call is made by a process of its own.
    fn written(images: impl IntoIterator<Item = Image>) -> (Summary, Vec<Value>) {
        let mut database = Database::default();
        for (tgid, image) in (1..).zip(images) {
            database.add(observation(tgid, image), &mut response);
            database.add(Observation::End(Identity { tgid, start: Ktime(1) }), &mut response);
        }
        finish(database)
    }

    fn finish(database: Database) -> (Summary, Vec<Value>) {
        let mut file = Vec::new();
        let summary = database.finish(|path| !path.ends_with("conftest.c"), &mut file).unwrap();
        (summary, serde_json::from_slice(&file).unwrap())
    }

    #[test]
    fn an_entry_has_all_arguments_and_only_its_own_source() {
        let (summary, entries) = written([
            call(&["/usr/bin/gcc", "-DTOKEN=s3cret", "-c", "a b.c", "./c.c"]),
            call(&["/usr/bin/cc", "main.c", "a.o", "-o", "prog", "-lm"]),
            call(&["/usr/bin/ccache", "gcc-12", "-c", "d.c", "-o", "d.o"]),
            call(&["bin/gcc", "@a.rsp"]),
        ]);
        assert_eq!(summary, Summary { entries: 5, ..Summary::default() });
        assert_eq!(
            Value::from(entries),
            json!([
                {
                    "directory": "/w", "file": "/w/a b.c", "output": "/w/a b.o",
                    "arguments": ["/usr/bin/gcc", "-DTOKEN=s3cret", "-c", "a b.c"]
                },
                {
                    "directory": "/w", "file": "/w/c.c", "output": "/w/c.o",
                    "arguments": ["/usr/bin/gcc", "-DTOKEN=s3cret", "-c", "./c.c"]
                },
                {
                    "directory": "/w", "file": "/w/main.c", "output": "/w/prog",
                    "arguments": ["/usr/bin/cc", "main.c", "a.o", "-o", "prog", "-lm"]
                },
                {
                    "directory": "/w", "file": "/w/d.c", "output": "/w/d.o",
                    "arguments": ["gcc-12", "-c", "d.c", "-o", "d.o"]
                },
                {
                    "directory": "/w", "file": "/w/r.c", "output": "/w/r.o",
                    "arguments": ["/w/bin/gcc", "-DX=a b", "-c", "r.c", "-o", "r.o"]
                },
            ])
        );
    }

    #[test]
    fn calls_that_cannot_be_written_are_counted() {
        let cut = Strings { bytes: b"gcc\0-c\0a.c".to_vec(), size: 100 };
        let (summary, entries) = written([
            Image { arguments: cut, ..call(&["gcc"]) },
            Image { directory: None, ..call(&["gcc", "-c", "a.c"]) },
            Image { directory: Some(b"/\xff".to_vec()), ..call(&["gcc", "-c", "a.c"]) },
            Image { arguments: [&b"gcc"[..], b"-c", b"\xff.c"].into_iter().collect(), ..call(&["gcc"]) },
            call(&["gcc", "@none.rsp"]),
            call(&["gcc", "-c", "conftest.c"]),
            call(&["gcc", "a.o", "-o", "prog"]),
            call(&["gcc", "-c", "@options.rsp", "@sources.rsp"]),
        ]);
        assert_eq!(summary, Summary { entries: 0, gone: 1, cut: 2, unknown: 3, unread: 1, late: 0 });
        assert!(entries.is_empty());
    }

    #[test]
    fn a_source_has_one_entry_for_each_output() {
        let object = |output| call(&["gcc", "-c", "a.c", "-o", output]);
        let again = call(&["gcc", "-O2", "-c", "a.c", "-o", "./a.o"]);
        let (summary, entries) = written([object("a.o"), object("pic/a.o"), object("a.o"), again]);
        assert_eq!(summary.entries, 2);
        let arguments: Vec<_> = entries.iter().map(|entry| entry["arguments"].as_array().unwrap().len()).collect();
        assert_eq!(arguments, [5, 6], "the last compilation counts");
    }

    #[test]
    fn the_last_compiler_that_a_process_executes_counts() {
        let mut database = Database::default();
        let script = Image { is_script: true, ..call(&["/bin/sh", "-e", "/opt/gcc", "-c", "a.c"]) };
        let script = Image { file: "/opt/gcc".to_owned(), ..script };
        database.add(observation(1, script), &mut response);
        assert_eq!(database.running.values().next().unwrap()[0].arguments, ["/opt/gcc", "-c", "a.c"]);
        database.add(observation(1, call(&["/usr/bin/gcc", "-Wall", "-c", "a.c"])), &mut response);
        database.add(observation(1, call(&["/usr/bin/clang", "-cc1", "a.c"])), &mut response);
        let (_, entries) = finish(database);
        assert_eq!(entries[0]["arguments"], json!(["/usr/bin/gcc", "-Wall", "-c", "a.c"]));
        assert_eq!(entries.len(), 1);
    }
}
