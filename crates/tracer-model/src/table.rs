//! The live subjects of one kind, and the span ids of those that ended.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::{id::SpanId, recent::Recent};

/// The number of ended subjects that a table remembers. A late event does not start a new span for such a subject, and
/// still finds its span. Events are late by microseconds, so this number is more than enough.
pub(crate) const ENDED: usize = 4096;

/// A subject that becomes a span when it ends.
pub(crate) trait Live {
    /// The id of its span.
    fn span_id(&self) -> SpanId;
}

#[derive(Debug)]
pub(crate) struct Table<K, L> {
    live: HashMap<K, L>,
    ended: Recent<K, SpanId>,
}

impl<K: Copy + Eq + Hash + Ord, L: Live> Table<K, L> {
    pub(crate) fn new() -> Self {
        Self { live: HashMap::new(), ended: Recent::new(ENDED) }
    }

    pub(crate) fn get(&self, key: K) -> Option<&L> {
        self.live.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut L> {
        self.live.get_mut(&key)
    }

    pub(crate) fn has_ended(&self, key: K) -> bool {
        self.ended.get(&key).is_some()
    }

    /// The span of a subject that is alive or ended recently.
    pub(crate) fn span_of(&self, key: K) -> Option<SpanId> {
        self.get(key).map(Live::span_id).or_else(|| self.ended.get(&key).copied())
    }

    pub(crate) fn insert(&mut self, key: K, subject: L) -> &mut L {
        self.live.entry(key).insert(subject).into_mut()
    }

    /// Removes a subject that ends. The table keeps the id of its span.
    pub(crate) fn end(&mut self, key: K) -> Option<L> {
        let subject = self.live.remove(&key)?;
        self.ended.insert(key, subject.span_id());
        Some(subject)
    }

    /// Removes all live subjects, in the order of their keys.
    pub(crate) fn drain(&mut self) -> Vec<(K, L)> {
        let mut subjects: Vec<_> = self.live.drain().collect();
        subjects.sort_by_key(|(key, _)| *key);
        subjects
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &L)> {
        self.live.iter().map(|(key, subject)| (*key, subject))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut L> {
        self.live.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }
}
