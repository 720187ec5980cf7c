//! The most recent dead, so that a late event does not bring one back to life.

use std::{collections::VecDeque, hash::Hash};

use hashbrown::HashMap;

/// How many are remembered. Events are late by microseconds, so this is generous.
const REMEMBERED: usize = 4096;

/// A map that forgets its oldest entries.
#[derive(Debug)]
pub(crate) struct Ended<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V> Ended<K, V> {
    pub(crate) fn new() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        if self.values.insert(key, value).is_none() {
            self.order.push_back(key);
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut ended = Ended::new();
        for key in 0..2 * REMEMBERED {
            ended.insert(key, ());
        }
        assert_eq!((ended.values.len(), ended.order.len()), (REMEMBERED, REMEMBERED));
        assert!(ended.get(&(REMEMBERED - 1)).is_none() && ended.get(&REMEMBERED).is_some());
    }
}
