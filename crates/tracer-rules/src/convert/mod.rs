//! Converts configurations of process-exporter, DeepFlow and DataKit into rules files.
//!
//! Each format has its own module. `document.rs` reads YAML and TOML, `write.rs` writes the rules file.
//! docs/coming-from.md describes the translation for users.

mod datakit;
mod deepflow;
mod document;
mod filter;
mod flags;
mod process_exporter;
mod template;
#[cfg(test)]
mod tests;
mod write;

use self::{document::Node, write::Draft};
use crate::{
    error::Error,
    located::{Located, Place},
    schema::Rule,
};

/// A converted configuration.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The rules file.
    pub text: String,
    /// The parts of the configuration that the rules file does not have, each with the reason.
    pub untranslated: Vec<String>,
}

/// Converts a configuration. Its format is recognised by its keys.
///
/// # Errors
///
/// The text is not such a configuration, or its own tool would refuse it.
pub fn convert(text: &str) -> Result<Conversion, Error> {
    let mut output = Output::default();
    match Format::of(text) {
        Some(Format::ProcessExporter) => process_exporter::convert(&yaml(text)?, &mut output)?,
        Some(Format::Flags) => flags::convert(text, &mut output)?,
        Some(Format::DeepFlow) => deepflow::convert(&yaml(text)?, &mut output)?,
        Some(Format::DataKit) => datakit::convert(&toml(text)?, &mut output)?,
        None => {
            let text = "there is no configuration of process-exporter (process_names, -procnames, -namemapping), DeepFlow \
                        (os-proc-regex, process_matcher) or DataKit ([[inputs.ebpf]])";
            return Err(Error::new(None, text));
        }
    }
    Ok(Conversion { text: output.draft.text(), untranslated: output.untranslated })
}

/// The formats that are understood.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    ProcessExporter,
    Flags,
    DeepFlow,
    DataKit,
}

impl Format {
    /// The format of a text, by the first of its keys.
    fn of(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        for line in lines {
            if line.trim_start_matches('[').trim_start().starts_with("inputs.ebpf") {
                return Some(Self::DataKit);
            }
            // A line can have several keys: `{inputs: {proc: {process_matcher: […]}}}`.
            for part in line.split('{') {
                let key = part.split(':').next().unwrap_or_default().trim_matches(['-', ' ', '"', '\'']);
                if key == "process_names" {
                    return Some(Self::ProcessExporter);
                }
                if part.contains(':') && deepflow::KEYS.contains(&key) {
                    return Some(Self::DeepFlow);
                }
            }
            if flags::NAMES.iter().any(|name| line.contains(&format!("-{name}"))) {
                return Some(Self::Flags);
            }
        }
        None
    }
}

/// What a converter writes.
#[derive(Debug, Default)]
struct Output {
    draft: Draft,
    untranslated: Vec<String>,
}

impl Output {
    /// Something that a rules file cannot express.
    fn leave_out(&mut self, what: impl Into<String>) {
        self.untranslated.push(what.into());
    }

    /// Adds a rule. `origin` is the part of the configuration that it comes from.
    fn rule(&mut self, origin: impl Into<String>, rule: Rule) {
        self.draft.rules.push((origin.into(), rule));
    }
}

fn located(texts: Vec<String>) -> Vec<Located<String>> {
    texts.into_iter().map(Located::from).collect()
}

fn yaml(text: &str) -> Result<Node, Error> {
    serde_saphyr::from_str(text).map_err(Error::from)
}

fn toml(text: &str) -> Result<Node, Error> {
    ::toml::from_str(text).map_err(|error| {
        let place = error.span().and_then(|span| {
            let before = text.get(..span.start)?;
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            Some(Place { line: u64::try_from(line).ok()?, column: u64::try_from(column).ok()? })
        });
        Error::new(place, error.message().lines().collect::<Vec<_>>().join("; "))
    })
}
