//! The user's rules, as the model sees them: the facts about a process that they get, and their ruling.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    event::{Image, Strings},
    expression::Failure,
    screen::Screen,
    span::Value,
};

/// The rules of a trace.
#[derive(Debug, Default)]
pub struct Rules {
    /// The user's rules.
    pub judge: Option<Box<dyn Judge>>,
    /// The user's rules for connections, flows and lookups.
    pub screen: Option<Box<dyn Screen>>,
    /// The names of the processes above the root.
    pub above: Vec<String>,
    /// A successful process that lives shorter than this, and has no exported spans below it, has no span.
    pub min_duration: Duration,
}

/// Decides how processes appear in the trace.
pub trait Judge: fmt::Debug + Send {
    /// Judges a process after an exec, or after its fork.
    fn judge(&mut self, subject: &Subject<'_>) -> Ruling;

    /// Whether a process and its fork can get different rulings. If not, a fork has the ruling of its parent.
    fn judges_forks(&self) -> bool;

    /// Whether tags can change a ruling. If so, a process with tags is judged once more at its end.
    fn judges_tags(&self) -> bool {
        false
    }

    /// Whether a ruling can leave a process out.
    fn may_drop(&self) -> bool;

    /// Whether rulings depend on environments.
    fn needs_environment(&self) -> bool;

    /// The lineage of the processes above the root. `names` are the names of these processes.
    fn lineage_of(&self, names: &[String]) -> Lineage;

    /// The lineage of a child of a process with this name. `above` is the lineage of that process.
    fn extend(&self, above: &Lineage, name: &str) -> Lineage;

    /// The expressions that failed.
    fn failures(&self) -> Vec<Failure<'_>>;
}

/// The facts that rules need about the processes above a process: one bit for each regular expression over the names of
/// these processes. The bit is set if one of the names matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(pub Arc<[u64]>);

/// A process that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its thread group id in the initial pid namespace.
    pub pid: u32,
    /// The process that forked it.
    pub parent_pid: u32,
    /// Time of its fork.
    pub start: SystemTime,
    /// Time of the exec, or of the fork.
    pub at: SystemTime,
    /// Its image, with the arguments that are exported.
    pub image: &'a Image,
    /// Its environment, if rulings depend on it.
    pub environment: Option<&'a Strings>,
    /// The user's attributes.
    pub attributes: &'a [(String, Value)],
    /// Its tags. `None`: it has not ended, so a tag can still come.
    pub tags: Option<&'a [(String, Value)]>,
    /// The processes above it.
    pub lineage: &'a Lineage,
}

/// How a process appears in the trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruling {
    /// The name of its span. `None`: the name of its program.
    pub name: Option<Arc<str>>,
    /// Its group. `None`: the group of its parent.
    pub group: Option<Group>,
    /// More attributes.
    pub attributes: Vec<(String, Value)>,
    /// Whether it has a span.
    pub fate: Fate,
    /// Whether it has a span if it ends without tags. This differs from `fate` only while a tag can still arrive.
    pub fate_without_tags: Fate,
}

/// A group of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// Whether children without a group of their own belong to it.
    pub has_children: bool,
}

/// Whether a process has a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It has one.
    #[default]
    Keep,
    /// It has none. A failed process has one, unless it is `always` left out.
    Drop {
        /// Whether it has no span even if it fails.
        always: bool,
        /// It has no span only if it lives shorter than this and has no exported spans below it.
        shorter_than: Option<Duration>,
    },
}
