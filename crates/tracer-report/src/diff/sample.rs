//! A measured amount in several runs, and how it changed.

/// An amount in each run of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) runs: Vec<u64>,
}

impl Sample {
    /// The amount that half of the runs do not exceed.
    pub(super) fn median(&self) -> u64 {
        let mut sorted = self.runs.clone();
        sorted.sort_unstable();
        match (sorted.len(), sorted.len() / 2) {
            (0, _) => 0,
            (count, middle) if count % 2 == 1 => sorted[middle],
            (_, middle) => sorted[middle - 1].midpoint(sorted[middle]),
        }
    }

    /// The distance from the median to the run that is furthest from it. `None`: one run has no spread.
    pub(super) fn spread(&self) -> Option<u64> {
        let median = self.median();
        self.runs.iter().map(|run| run.abs_diff(median)).max().filter(|_| self.runs.len() > 1)
    }
}

/// An amount before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: Sample,
    pub(super) after: Sample,
}

impl Change {
    pub(super) fn new(amounts: impl Iterator<Item = u64>, runs_before: usize) -> Self {
        let mut before: Vec<u64> = amounts.collect();
        let after = before.split_off(runs_before.min(before.len()));
        Self { before: Sample { runs: before }, after: Sample { runs: after } }
    }

    /// The difference of the medians.
    pub(super) fn difference(&self) -> i128 {
        i128::from(self.after.median()) - i128::from(self.before.median())
    }

    /// The difference without its sign.
    pub(super) fn size(&self) -> u64 {
        self.after.median().abs_diff(self.before.median())
    }

    /// The difference as a part of the amount before. `None`: there is no amount on one side.
    pub(super) fn ratio(&self) -> Option<f64> {
        let (before, after) = (self.before.median(), self.after.median());
        (before > 0 && after > 0).then(|| after as f64 / before as f64 - 1.0)
    }

    /// The spreads of both sides together. A smaller difference can be chance. `None`: each side has only one run.
    pub(super) fn noise(&self) -> Option<u64> {
        match (self.before.spread(), self.after.spread()) {
            (None, None) => None,
            (before, after) => Some(before.unwrap_or_default().saturating_add(after.unwrap_or_default())),
        }
    }

    /// Whether the difference is larger than the noise. With one run per side, the noise is not known, and
    /// every difference counts.
    pub(super) fn is_beyond_noise(&self) -> bool {
        self.size() > self.noise().unwrap_or_default()
    }

    /// Whether the amount grew by more than this part, by more than the noise, and by at least `smallest`.
    pub(super) fn has_grown(&self, threshold: f64, smallest: u64) -> bool {
        self.size() >= smallest && self.is_beyond_noise() && self.exceeds(threshold)
    }

    /// Whether the amount grew by more than this part.
    pub(super) fn exceeds(&self, threshold: f64) -> bool {
        let (before, after) = (self.before.median(), self.after.median());
        before > 0 && after > before && after as f64 > before as f64 * (1.0 + threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(before: &[u64], after: &[u64]) -> Change {
        Change::new(before.iter().chain(after).copied(), before.len())
    }

    #[test]
    fn the_median_and_the_spread_describe_a_side() {
        let sample = |runs: &[u64]| Sample { runs: runs.to_vec() };
        assert_eq!((sample(&[9, 1, 5]).median(), sample(&[9, 1, 5]).spread()), (5, Some(4)));
        assert_eq!((sample(&[4, 8]).median(), sample(&[4, 8]).spread()), (6, Some(2)));
        assert_eq!((sample(&[7]).median(), sample(&[7]).spread()), (7, None));
        assert_eq!(sample(&[u64::MAX, u64::MAX]).median(), u64::MAX);
    }

    #[test]
    fn a_difference_within_the_spreads_is_noise() {
        assert!(!change(&[100, 110, 90], &[112, 120, 115]).is_beyond_noise(), "15 is not beyond 10 + 5");
        assert!(change(&[100, 110, 90], &[130, 131, 128]).is_beyond_noise());
        assert_eq!(change(&[100], &[101]).noise(), None);
        assert_eq!(change(&[100, 110], &[101]).noise(), Some(5));
        assert_eq!(change(&[100], &[80]).difference(), -20);
    }

    #[test]
    fn growth_counts_beyond_the_threshold_the_noise_and_the_smallest_amount() {
        assert!(change(&[100], &[111]).has_grown(0.1, 10));
        assert!(!change(&[100], &[110]).has_grown(0.1, 10), "exactly the threshold");
        assert!(!change(&[100], &[111]).has_grown(0.1, 12));
        assert!(!change(&[100, 130, 100], &[120, 120, 140]).has_grown(0.1, 10), "noise");
        assert!(!change(&[200], &[100]).has_grown(0.1, 10), "faster");
        assert!(!change(&[0], &[100]).has_grown(0.1, 10), "a new step");
    }
}
