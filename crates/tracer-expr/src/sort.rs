//! Sorting with a comparison that can fail or contradict itself.
//!
//! Go's sort is not stable. Equal elements must get the places that Go gives them. So this is the same algorithm with
//! the same choices: [pattern-defeating quicksort](https://arxiv.org/abs/2106.05123), with insertion for short ranges.

use std::ops::Range;

use crate::error::Fault;

/// Ranges up to this length are sorted by insertion.
const SHORT: usize = 12;

/// From this length on, the pivot is the median of three medians, and elements are shifted.
const LONG: usize = 50;

/// The number of elements out of order that are shifted before the range counts as unsorted.
const MAX_SHIFTS: usize = 5;

/// Sorts a list.
pub(crate) struct Sorter<T, F> {
    pub(crate) items: Vec<T>,
    less: F,
}

/// The order that the search for a pivot has found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    Increasing,
    Decreasing,
    None,
}

impl<T, F: FnMut(&T, &T) -> Result<bool, Fault>> Sorter<T, F> {
    pub(crate) fn new(items: Vec<T>, less: F) -> Self {
        Self { items, less }
    }

    pub(crate) fn sort(&mut self) -> Result<(), Fault> {
        let length = self.items.len();
        self.quicksort(0..length, usize::BITS - length.leading_zeros())
    }

    fn is_less(&mut self, left: usize, right: usize) -> Result<bool, Fault> {
        (self.less)(&self.items[left], &self.items[right])
    }

    /// Sorts a range. After `bad_pivots` more partitions into two parts of very different sizes, it changes to heapsort.
    fn quicksort(&mut self, range: Range<usize>, bad_pivots: u32) -> Result<(), Fault> {
        let (mut range, mut bad_pivots) = (range, bad_pivots);
        let (mut was_balanced, mut was_partitioned) = (true, true);
        while range.len() > SHORT {
            if bad_pivots == 0 {
                return self.heap(range);
            }
            if !was_balanced {
                self.scatter(&range);
                bad_pivots -= 1;
            }
            let (mut pivot, mut hint) = self.pivot(&range)?;
            if hint == Hint::Decreasing {
                self.items[range.clone()].reverse();
                pivot = range.end - 1 - (pivot - range.start);
                hint = Hint::Increasing;
            }
            let looks_sorted = was_balanced && was_partitioned && hint == Hint::Increasing;
            if looks_sorted && self.shift_few(&range)? {
                return Ok(());
            }
            // The element before the range is not larger than any element in the range. If the pivot equals that element,
            // no element of the range is smaller than the pivot, and many elements can equal the pivot.
            if range.start > 0 && !self.is_less(range.start - 1, pivot)? {
                range.start = self.partition_equal(&range, pivot)?;
                continue;
            }
            let middle;
            (middle, was_partitioned) = self.partition(&range, pivot)?;
            let (left, right) = (range.start..middle, middle + 1..range.end);
            let smaller = (middle - range.start).min(range.end - middle);
            was_balanced = smaller >= range.len() / 8;
            // The recursion is for the smaller side, so that calls nest only a few levels.
            if middle - range.start < range.end - middle {
                self.quicksort(left, bad_pivots)?;
                range = right;
            } else {
                self.quicksort(right, bad_pivots)?;
                range = left;
            }
        }
        self.insertion(&range)
    }

    fn insertion(&mut self, range: &Range<usize>) -> Result<(), Fault> {
        for end in range.start + 1..range.end {
            let mut at = end;
            while at > range.start && self.is_less(at, at - 1)? {
                self.items.swap(at, at - 1);
                at -= 1;
            }
        }
        Ok(())
    }

    fn heap(&mut self, range: Range<usize>) -> Result<(), Fault> {
        let length = range.len();
        for root in (0..=(length - 1) / 2).rev() {
            self.sift_down(root, length, range.start)?;
        }
        for end in (0..length).rev() {
            self.items.swap(range.start, range.start + end);
            self.sift_down(0, end, range.start)?;
        }
        Ok(())
    }

    fn sift_down(&mut self, root: usize, end: usize, start: usize) -> Result<(), Fault> {
        let mut root = root;
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return Ok(());
            }
            if child + 1 < end && self.is_less(start + child, start + child + 1)? {
                child += 1;
            }
            if !self.is_less(start + root, start + child)? {
                return Ok(());
            }
            self.items.swap(start + root, start + child);
            root = child;
        }
    }

    /// Moves smaller elements before the pivot, others behind it. Returns the place of the pivot, and whether all
    /// elements were already in their places.
    fn partition(&mut self, range: &Range<usize>, pivot: usize) -> Result<(usize, bool), Fault> {
        let first = range.start;
        self.items.swap(first, pivot);
        let (mut low, mut high) = (first + 1, range.end - 1);
        let mut swaps = 0;
        loop {
            while low <= high && self.is_less(low, first)? {
                low += 1;
            }
            while low <= high && !self.is_less(high, first)? {
                high -= 1;
            }
            if low > high {
                self.items.swap(high, first);
                return Ok((high, swaps == 0));
            }
            self.items.swap(low, high);
            swaps += 1;
            low += 1;
            high -= 1;
        }
    }

    /// Moves elements that equal the pivot to the front. No element is smaller. Returns the place behind them.
    fn partition_equal(&mut self, range: &Range<usize>, pivot: usize) -> Result<usize, Fault> {
        let first = range.start;
        self.items.swap(first, pivot);
        let (mut low, mut high) = (first + 1, range.end - 1);
        loop {
            while low <= high && !self.is_less(first, low)? {
                low += 1;
            }
            while low <= high && self.is_less(first, high)? {
                high -= 1;
            }
            if low > high {
                return Ok(low);
            }
            self.items.swap(low, high);
            low += 1;
            high -= 1;
        }
    }

    /// Sorts a range in which few elements are out of order. False if there are more.
    fn shift_few(&mut self, range: &Range<usize>) -> Result<bool, Fault> {
        let mut at = range.start + 1;
        for _ in 0..MAX_SHIFTS {
            while at < range.end && !self.is_less(at, at - 1)? {
                at += 1;
            }
            if at == range.end {
                return Ok(true);
            }
            if range.len() < LONG {
                return Ok(false);
            }
            self.items.swap(at, at - 1);
            if at - range.start >= 2 {
                let mut left = at - 1;
                while left >= 1 && self.is_less(left, left - 1)? {
                    self.items.swap(left, left - 1);
                    left -= 1;
                }
            }
            if range.end - at >= 2 {
                let mut right = at + 1;
                while right < range.end && self.is_less(right, right - 1)? {
                    self.items.swap(right, right - 1);
                    right += 1;
                }
            }
        }
        Ok(false)
    }

    /// Swaps three elements in the middle with other elements. The choice depends only on the length of the range.
    fn scatter(&mut self, range: &Range<usize>) {
        let length = range.len();
        let mask = (1_usize << (usize::BITS - length.leading_zeros())) - 1;
        let mut random = length as u64;
        let middle = range.start + length / 4 * 2;
        for place in middle - 1..=middle + 1 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let mut other = random as usize & mask;
            if other >= length {
                other -= length;
            }
            self.items.swap(place, range.start + other);
        }
    }

    /// Chooses a pivot of a range that is not short.
    fn pivot(&mut self, range: &Range<usize>) -> Result<(usize, Hint), Fault> {
        let quarter = range.len() / 4;
        let mut places = [1, 2, 3].map(|part| range.start + quarter * part);
        let mut swaps = 0;
        if range.len() >= LONG {
            for place in &mut places {
                *place = self.median([*place - 1, *place, *place + 1], &mut swaps)?;
            }
        }
        let pivot = self.median(places, &mut swaps)?;
        let hint = match swaps {
            0 => Hint::Increasing,
            12 => Hint::Decreasing,
            _ => Hint::None,
        };
        Ok((pivot, hint))
    }

    /// The place of the median of three, and how many of them were out of order.
    fn median(&mut self, places: [usize; 3], swaps: &mut u32) -> Result<usize, Fault> {
        let mut places = places;
        for (left, right) in [(0, 1), (1, 2), (0, 1)] {
            if self.is_less(places[right], places[left])? {
                places.swap(left, right);
                *swaps += 1;
            }
        }
        Ok(places[1])
    }
}
