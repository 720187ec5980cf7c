//! Leaves out the connections, flows and lookups that the user's rules drop. No span links to one that is left out.

use std::{collections::HashSet, hash::Hash};

use crate::{
    emit::Emitter,
    id::SpanId,
    screen::Traffic,
    table::{Live, Table},
    time::Ktime,
};

/// A subject whose other end can have a span, too.
pub(crate) trait Paired: Live {
    /// The facts for the rules.
    fn traffic(&self) -> Traffic<'_>;

    /// The span of the other end.
    fn other_end(&mut self) -> &mut Option<SpanId>;
}

/// A subject ends. `true`: it has no span. `other` is its other end, which can still be alive.
pub(crate) fn drops<K: Copy + Eq + Hash + Ord, L: Paired>(
    emitter: &mut Emitter,
    at: Ktime,
    subject: &mut L,
    other: Option<K>,
    table: &mut Table<K, L>,
) -> bool {
    if !emitter.has_screen() {
        return false;
    }
    let is_dropped = emitter.drops(at, &subject.traffic());
    if let Some(other) = other.and_then(|other| table.get_mut(other)) {
        if is_dropped {
            *other.other_end() = None;
        } else if emitter.drops(at, &other.traffic()) {
            *subject.other_end() = None;
        }
    }
    is_dropped
}

/// All these subjects end, because the trace ends. Removes those that have no span.
pub(crate) fn remove_dropped<K, L: Paired>(emitter: &mut Emitter, at: Ktime, subjects: &mut Vec<(K, L)>) {
    if !emitter.has_screen() {
        return;
    }
    let mut dropped = HashSet::new();
    for (_, subject) in subjects.iter() {
        if emitter.drops(at, &subject.traffic()) {
            dropped.insert(subject.span_id());
        }
    }
    subjects.retain(|(_, subject)| !dropped.contains(&subject.span_id()));
    for (_, subject) in subjects {
        let other = subject.other_end();
        *other = other.filter(|other| !dropped.contains(other));
    }
}
