//! The part of an argument vector that leaves the machine.

use super::redactor::Redactor;
use crate::event::Strings;

/// Which arguments are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// No arguments.
    None,
    /// Only `argv[0]`.
    Program,
    /// All arguments.
    #[default]
    All,
}

/// The arguments that attributes, events and expressions get.
#[derive(Debug)]
pub struct Policy {
    /// Which arguments.
    pub extent: Extent,
    /// Removes their secrets. `None`: they are exported unchanged.
    pub redactor: Option<Redactor>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { extent: Extent::default(), redactor: Some(Redactor::default()) }
    }
}

impl Policy {
    /// The arguments that are exported instead of these.
    #[must_use]
    pub fn exported(&self, arguments: Strings) -> Strings {
        self.apply(&arguments).0.unwrap_or(arguments)
    }

    /// The exported arguments, if they differ from these, and whether these had secrets.
    pub(crate) fn apply(&self, arguments: &Strings) -> (Option<Strings>, bool) {
        let limited = match self.extent {
            Extent::None => Some(Strings::default()),
            Extent::Program => Some(program(arguments)),
            Extent::All => None,
        };
        let redacted =
            self.redactor.as_ref().and_then(|redactor| redactor.redact(limited.as_ref().unwrap_or(arguments)));
        let is_redacted = redacted.is_some();
        (redacted.or(limited), is_redacted)
    }
}

/// Only `argv[0]`. It is truncated only if its own end is missing.
fn program(arguments: &Strings) -> Strings {
    match arguments.bytes.iter().position(|byte| *byte == 0) {
        Some(end) => arguments.bytes.get(..end).into_iter().collect(),
        None => arguments.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(extent: Extent, arguments: &[&str]) -> Strings {
        Policy { extent, ..Policy::default() }.exported(arguments.iter().copied().collect())
    }

    #[test]
    fn only_allowed_arguments_are_exported() {
        let texts = |extent| exported(extent, &["a", "b", "--token=c"]).iter().map(Into::into).collect::<Vec<String>>();
        assert_eq!(texts(Extent::All), ["a", "b", "--token=***"]);
        assert_eq!(texts(Extent::Program), ["a"]);
        assert!(texts(Extent::None).is_empty());
    }

    #[test]
    fn arguments_that_are_not_exported_are_not_truncated() {
        let cut = Strings { bytes: b"a\0b".to_vec(), size: 1000 };
        let policy = |extent| Policy { extent, ..Policy::default() };
        assert!(!policy(Extent::None).apply(&cut).0.unwrap().is_truncated());
        assert!(!policy(Extent::Program).apply(&cut).0.unwrap().is_truncated());
        let cut = Strings { bytes: b"a".to_vec(), size: 1000 };
        assert!(policy(Extent::Program).apply(&cut).0.unwrap().is_truncated());
    }
}
