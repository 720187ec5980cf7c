//! Spans of a large build. `spans.jsonl.gz` has 300 spans of a build of redis 7.0.15: its `configure`, compilers and shells. They
//! are repeated with other ids, times, process ids, names of files and measured values.

use std::{
    collections::HashMap,
    io::{BufReader, Read},
    sync::LazyLock,
};

use flate2::bufread::GzDecoder;
use tracer_model::{Resource, Value, semconv};
use tracer_otlp::{
    JsonLines,
    message::{AnyValue, Event, KeyValue, Span},
};
use tracer_report::SavedSpan;

pub(crate) static BUILD: LazyLock<Vec<Span>> =
    LazyLock::new(|| read(GzDecoder::new(&include_bytes!("spans.jsonl.gz")[..])));

/// Reads the spans of a saved build.
pub(crate) fn read(lines: impl Read) -> Vec<Span> {
    let groups = JsonLines::new(BufReader::new(lines)).flat_map(|line| line.unwrap().data.resource_spans);
    groups.flat_map(|group| group.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// The first `count` spans of repetitions of a build.
pub(crate) fn spans(build: &[Span], count: usize) -> impl Iterator<Item = SavedSpan> {
    let mut chance = Chance(1);
    let begin = build.iter().map(|span| span.start_time_unix_nano).min().unwrap_or_default();
    let end = build.iter().map(|span| span.end_time_unix_nano).max().unwrap_or_default();
    let repetitions = (0..).map(move |number| Repetition::new(number, end - begin, &mut chance));
    repetitions.flat_map(|mut repetition| build.iter().map(move |span| repetition.of(span))).take(count)
}

/// The resource of all spans.
pub(crate) fn resource() -> Resource {
    let attributes = [
        ("service.name", "process-tracer"),
        ("host.name", "runner-7"),
        ("os.description", "Debian GNU/Linux 12 (bookworm)"),
        ("vcs.ref.head.revision", "0af7651916cd43dd8448eb211c80319c0af76519"),
    ];
    Resource::from_iter(attributes.map(|(key, value)| (key, Value::String(value.to_owned()))))
}

/// xorshift64*: <https://doi.org/10.1145/2845077>.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// A value that differs by at most a fifth.
    fn near(&mut self, value: f64) -> f64 {
        value * (0.8 + self.below(1 << 32) as f64 / (1_u64 << 32) as f64 * 0.4)
    }

    fn word(&mut self, letters: u64) -> String {
        (0..letters).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

/// One of the builds.
struct Repetition {
    number: u64,
    /// The time of a build, in nanoseconds.
    length: u64,
    chance: Chance,
    ids: HashMap<Vec<u8>, Vec<u8>>,
    /// The names of files.
    names: HashMap<String, String>,
    /// By how much the current span starts later than the recorded one.
    later: u64,
}

impl Repetition {
    fn new(number: u64, length: u64, chance: &mut Chance) -> Self {
        Self { number, length, chance: Chance(chance.next()), ids: HashMap::new(), names: HashMap::new(), later: 0 }
    }

    fn of(&mut self, span: &Span) -> SavedSpan {
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        self.later = self.number * self.length + self.chance.below(2_000_000);
        let start_time = start + self.later;
        let mut span = Span {
            span_id: self.id(&span.span_id),
            parent_span_id: self.id(&span.parent_span_id),
            start_time_unix_nano: start_time,
            end_time_unix_nano: start_time + self.chance.near((end - start) as f64) as u64,
            ..span.clone()
        };
        span.attributes.iter_mut().for_each(|attribute| self.change(attribute, start_time));
        for Event { time_unix_nano, attributes, .. } in &mut span.events {
            *time_unix_nano += self.later + self.chance.below(100_000);
            attributes.iter_mut().for_each(|attribute| self.change(attribute, start_time));
        }
        span.into()
    }

    fn id(&mut self, recorded: &[u8]) -> Vec<u8> {
        self.ids.entry(recorded.to_vec()).or_insert_with(|| self.chance.next().to_be_bytes().to_vec()).clone()
    }

    fn change(&mut self, KeyValue { key, value }: &mut KeyValue, start: u64) {
        let Some(AnyValue { string_value, int_value, double_value, array_value, .. }) = value else { return };
        if let Some(text) = string_value {
            *text = if key == semconv::PROCESS_CREATION_TIME {
                let start = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(start);
                semconv::creation_time(start)
            } else {
                self.renamed(text)
            };
        }
        for text in array_value.iter_mut().flat_map(|array| &mut array.values).flat_map(|value| &mut value.string_value)
        {
            *text = self.renamed(text);
        }
        if let Some(seconds) = double_value {
            // CPU and wait times have microseconds.
            *seconds = (self.chance.near(*seconds) * 1e6).round() / 1e6;
        }
        if let Some(number) = int_value {
            *number = match key.as_str() {
                semconv::PROCESS_PID | semconv::PROCESS_PARENT_PID => (*number + 400 * self.number as i64) % 4_194_304,
                key if !key.starts_with("process_tracer.") || *number < 64 => *number,
                // Sizes of memory are multiples of a page.
                _ if *number % 4096 == 0 => self.chance.near(*number as f64) as i64 / 4096 * 4096,
                _ => self.chance.near(*number as f64) as i64,
            };
        }
    }

    /// The text with new names for sources and for the files that are made from them.
    fn renamed(&mut self, text: &str) -> String {
        const KINDS: [&str; 8] = ["a", "c", "cc", "cpp", "d", "h", "o", "s"];
        let Self { names, chance, .. } = self;
        let mut change = |word: &str| match word.rsplit_once('.') {
            Some((stem, kind)) if KINDS.contains(&kind) && !stem.is_empty() => {
                let new = names.entry(stem.to_owned()).or_insert_with(|| {
                    // Compilers give temporary files names such as ccNVqNJ2.
                    if stem.starts_with("cc") { format!("cc{}", chance.word(6)) } else { chance.word(4) + stem }
                });
                format!("{new}.{kind}")
            }
            _ => word.to_owned(),
        };
        let mut changed = String::new();
        let mut rest = text;
        while let Some(end) = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))) {
            let (word, after) = rest.split_at(end);
            changed.push_str(&change(word));
            let separator = after.chars().next().map_or(0, char::len_utf8);
            changed.push_str(&after[..separator]);
            rest = &after[separator..];
        }
        changed + &change(rest)
    }
}
