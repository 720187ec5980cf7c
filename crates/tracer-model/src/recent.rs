//! A map of limited size. It forgets its oldest entries.

use std::{collections::VecDeque, hash::Hash};

use hashbrown::HashMap;

/// The age of an entry is the age of its key. A new value does not make the entry younger.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    limit: usize,
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// Room for `limit` entries, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, values: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key, value).is_some() {
            return;
        }
        if self.order.len() == self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(key);
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_are_forgotten() {
        let mut recent = Recent::new(100);
        for key in 0..200 {
            recent.insert(key, ());
            recent.insert(key, ());
        }
        assert_eq!((recent.values.len(), recent.order.len()), (100, 100));
        assert!(recent.get(&99).is_none() && recent.get(&100).is_some());
    }
}
