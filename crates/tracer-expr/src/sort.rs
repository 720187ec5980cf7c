//! Sorting with a comparison that can fail or contradict itself.

use crate::error::Fault;

/// Sorts a list.
pub(crate) struct Sorter<T, F> {
    pub(crate) items: Vec<T>,
    less: F,
}

/// Lists up to this length are sorted by insertion.
const SHORT: usize = 12;

impl<T: Clone, F: FnMut(&T, &T) -> Result<bool, Fault>> Sorter<T, F> {
    pub(crate) fn new(items: Vec<T>, less: F) -> Self {
        Self { items, less }
    }

    pub(crate) fn sort(&mut self) -> Result<(), Fault> {
        self.range(0, self.items.len())
    }

    fn range(&mut self, from: usize, to: usize) -> Result<(), Fault> {
        if to - from <= SHORT {
            return self.insertion(from, to);
        }
        let middle = from + (to - from) / 2;
        self.range(from, middle)?;
        self.range(middle, to)?;
        self.merge(from, middle, to)
    }

    fn insertion(&mut self, from: usize, to: usize) -> Result<(), Fault> {
        for end in from + 1..to {
            let mut at = end;
            while at > from && (self.less)(&self.items[at], &self.items[at - 1])? {
                self.items.swap(at, at - 1);
                at -= 1;
            }
        }
        Ok(())
    }

    fn merge(&mut self, from: usize, middle: usize, to: usize) -> Result<(), Fault> {
        let left = self.items[from..middle].to_vec();
        let (mut left_at, mut right_at, mut out) = (0, middle, from);
        while left_at < left.len() && right_at < to {
            if (self.less)(&self.items[right_at], &left[left_at])? {
                self.items.swap(out, right_at);
                right_at += 1;
            } else {
                self.items[out] = left[left_at].clone();
                left_at += 1;
            }
            out += 1;
        }
        for item in &left[left_at..] {
            self.items[out] = item.clone();
            out += 1;
        }
        Ok(())
    }
}
