//! The kinds of spans that the user asks for.

use std::{fmt, str::FromStr};

/// The kinds of spans that a trace has besides the root. By default it has all.
///
/// ```
/// use tracer_model::Captured;
///
/// let captured: Captured = "processes,lookups".parse().unwrap();
/// assert_eq!(captured.left_out().collect::<Vec<_>>(), ["connections", "flows"]);
/// let error = "all".parse::<Captured>().unwrap_err();
/// assert_eq!(error.to_string(), "'all' is not one of processes, connections, flows and lookups");
/// assert!("".parse::<Captured>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Spans of processes. Without them, all other spans are children of the root.
    pub processes: bool,
    /// Spans of TCP connections.
    pub connections: bool,
    /// Spans of UDP flows.
    pub flows: bool,
    /// Spans of name lookups.
    pub lookups: bool,
}

/// A name that is not a kind of span. An empty list counts as one empty name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not one of processes, connections, flows and lookups")]
pub struct UnknownKind(String);

impl Captured {
    fn named(self) -> [(&'static str, bool); 4] {
        let Self { processes, connections, flows, lookups } = self;
        [("processes", processes), ("connections", connections), ("flows", flows), ("lookups", lookups)]
    }

    /// The names of the kinds that the trace does not have.
    pub fn left_out(self) -> impl Iterator<Item = &'static str> {
        self.named().into_iter().filter(|(_, is_captured)| !is_captured).map(|(name, _)| name)
    }
}

impl fmt::Display for Captured {
    /// Writes the list that [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.named().into_iter().filter(|(_, is_captured)| *is_captured).map(|(name, _)| name);
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}

impl Default for Captured {
    fn default() -> Self {
        Self { processes: true, connections: true, flows: true, lookups: true }
    }
}

impl FromStr for Captured {
    type Err = UnknownKind;

    /// Reads names with commas in between.
    fn from_str(list: &str) -> Result<Self, UnknownKind> {
        let mut captured = Self { processes: false, connections: false, flows: false, lookups: false };
        for name in list.split(',').map(str::trim) {
            *match name {
                "processes" => &mut captured.processes,
                "connections" => &mut captured.connections,
                "flows" => &mut captured.flows,
                "lookups" => &mut captured.lookups,
                _ => return Err(UnknownKind(name.to_owned())),
            } = true;
        }
        Ok(captured)
    }
}
