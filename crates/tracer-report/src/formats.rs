//! The table of formats: the values of `-o`. The command line, its help and its messages use this table. A new format gets a
//! row here and a file in `text/` or `files/`.

use tracer_model::event::base_name;

use crate::compression::Compression;

/// The meaning of a value of `-o`. A run can write all of them, except [`Target::Stdout`]. `process-tracer report` can write
/// all of them, except [`Target::Otlp`] and [`Target::CompileCommands`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// OTLP to a collector.
    Otlp,
    /// A text for a terminal.
    Text(Text),
    /// A file of OTLP/JSON lines: the trace itself. [`SavedTrace`](crate::SavedTrace) reads it.
    JsonLines,
    /// A file for a browser or for another program.
    File(Format),
    /// The compilation database of the build. It comes from the events of a run. See [`compilations`](crate::compilations).
    CompileCommands,
    /// The content of a file of this format, on stdout. Only `process-tracer report` can write it.
    Stdout(Format),
}

/// A report that is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Where the time went, and what failed.
    Summary,
    /// The tree of processes.
    Tree,
    /// The summary as Markdown, for the page of a CI job. `-o` has no value for it.
    Markdown,
}

/// A report that is a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page for a browser.
    Html,
    /// A trace for <https://ui.perfetto.dev>.
    Perfetto,
    /// Chrome's trace events.
    Chrome,
    /// All spans in columns, for databases. [`SavedTrace`](crate::SavedTrace) reads it, too.
    Parquet,
    /// Stacks for flame graphs, by wall time.
    FoldedWall,
    /// Stacks for flame graphs, by CPU time.
    FoldedCpu,
    /// All processes as JSON, for scripts.
    Json,
    /// All processes as CSV, for scripts.
    Csv,
}

/// A row of the table: one value of `-o`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The value of `-o`: a word; `FILE` and the suffix that the file's name must have; or the name of a file, in any folder.
    pub name: &'static str,
    /// The content of a file, in words. Empty for a word.
    pub holds: &'static str,
    /// Its meaning.
    pub target: Target,
}

/// The table, in the order in which people read it.
pub const FORMATS: [Entry; 15] = [
    row("otlp", "", Target::Otlp),
    row("summary", "", Target::Text(Text::Summary)),
    row("tree", "", Target::Text(Text::Tree)),
    row("json", "", Target::Stdout(Format::Json)),
    row("csv", "", Target::Stdout(Format::Csv)),
    row("FILE.jsonl", "OTLP/JSON lines", Target::JsonLines),
    row("FILE.html", "a page for a browser", Target::File(Format::Html)),
    row("FILE.pftrace", "a trace for Perfetto", Target::File(Format::Perfetto)),
    row("FILE.json", "Chrome's trace events", Target::File(Format::Chrome)),
    row("FILE.parquet", "columns for databases", Target::File(Format::Parquet)),
    row("FILE.folded", "flame graphs of wall time", Target::File(Format::FoldedWall)),
    row("FILE.cpu.folded", "flame graphs of CPU time", Target::File(Format::FoldedCpu)),
    row("FILE.processes.json", "all processes as JSON", Target::File(Format::Json)),
    row("FILE.csv", "all processes as CSV", Target::File(Format::Csv)),
    row("compile_commands.json", "all compiler calls, for clangd", Target::CompileCommands),
];

const fn row(name: &'static str, holds: &'static str, target: Target) -> Entry {
    Entry { name, holds, target }
}

impl Entry {
    /// The suffix of a file's name, with its dot. `None` for a word and for the name of a file.
    pub fn suffix(&self) -> Option<&'static str> {
        self.name.strip_prefix("FILE")
    }

    fn is_file(&self) -> bool {
        !self.holds.is_empty()
    }
}

impl Target {
    /// The meaning of a value of `-o`. If several suffixes fit, the longest counts. The name of a file can also end with the
    /// suffix of a [`Compression`].
    pub fn of(value: &str) -> Option<Self> {
        match Compression::split(value) {
            (_, None) => Self::of_plain(value),
            (name, Some(_)) => Self::of_plain(name).filter(|target| target.is_compressible()),
        }
    }

    fn of_plain(value: &str) -> Option<Self> {
        let is_name = |row: &&Entry| row.name == if row.is_file() { base_name(value) } else { value };
        let word = FORMATS.iter().find(|row| row.suffix().is_none() && is_name(row));
        let fits = |row: &&Entry| row.suffix().is_some_and(|suffix| value.ends_with(suffix));
        let file = || FORMATS.iter().filter(fits).max_by_key(|row| row.name.len());
        word.or_else(file).map(|row| row.target)
    }

    /// Whether it can be a compressed file. No browser opens a compressed page.
    fn is_compressible(self) -> bool {
        match self {
            Self::JsonLines => true,
            // The columns of Parquet are compressed already.
            Self::File(format) => ![Format::Html, Format::Parquet].contains(&format),
            Self::Otlp | Self::Text(_) | Self::Stdout(_) | Self::CompileCommands => false,
        }
    }
}

impl Format {
    /// The name of a file with this format, for a message.
    pub fn file_name(self) -> &'static str {
        FORMATS.iter().find(|row| row.target == Target::File(self)).map_or("FILE", |row| row.name)
    }
}

/// The names of all rows, for a message.
pub fn names() -> String {
    FORMATS.map(|row| row.name).join(", ")
}

/// All files and their content, for the help.
pub fn files() -> String {
    let files = FORMATS.iter().filter(|row| row.is_file());
    let files: Vec<_> = files.map(|row| format!("{}: {}", row.name, row.holds)).collect();
    files.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_word_or_by_its_longest_suffix() {
        for row in FORMATS {
            assert_eq!(Target::of(&row.name.replace("FILE", "a/t")), Some(row.target), "{}", row.name);
        }
        assert_eq!(Target::of("t.cpu.folded"), Some(Target::File(Format::FoldedCpu)));
        assert_eq!(Target::of("build/compile_commands.json"), Some(Target::CompileCommands));
        assert_eq!(Target::of("my_compile_commands.json"), Some(Target::File(Format::Chrome)));
        assert_eq!(Target::of("t.processes.json"), Some(Target::File(Format::Json)));
        assert_eq!(Target::of("t.json"), Some(Target::File(Format::Chrome)));
        assert_eq!(Target::of("t.jsonl.zst"), Some(Target::JsonLines));
        assert_eq!(Target::of("t.cpu.folded.gz"), Some(Target::File(Format::FoldedCpu)));
        for none in [
            "",
            "t.gz",
            "summary.gz",
            "t.jsonl.gz.gz",
            "t.txt",
            "summary ",
            "Summary",
            "html",
            "t.html.gz",
            "t.parquet.zst",
        ] {
            assert_eq!(Target::of(none), None, "{none}");
        }
    }

    #[test]
    fn the_documentation_names_each_row() {
        let page = include_str!("../../../docs/options.md");
        for row in FORMATS {
            assert!(page.contains(&format!("`-o {}`", row.name)), "{}", row.name);
        }
    }
}
