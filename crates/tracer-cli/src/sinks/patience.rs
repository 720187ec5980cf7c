//! Decides when to stop waiting for a sink.

use std::time::{Duration, Instant};

/// The time that the end of a sink takes in addition to the delivery.
const GRACE: Duration = Duration::from_secs(2);

/// A sink that computes less than this in [`GRACE`] waits for something, for example for a reader of its pipe. Even
/// with only 0.1 % of a processor, a sink gets 2 ms of processor time in [`GRACE`].
const LEAST_WORK: Duration = Duration::from_millis(1);

/// A period of [`GRACE`] must have this many glances before a sink is given up.
const LEAST_GLANCES: u32 = 10;

/// The state of a sink at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glance {
    pub(super) at: Instant,
    /// Spans that are not counted yet.
    pub(super) pending: u64,
    /// The time to deliver is over.
    pub(super) is_over: bool,
    /// The processor time that its thread has used so far.
    pub(super) work: Duration,
}

/// The patience with one sink. The sink makes progress if it counts spans.
///
/// A starved machine gives a sink little processor time. So a sink that works without progress is given up only after it
/// has used more than [`GRACE`] of processor time. A sink that waits for something is given up after [`GRACE`] of real
/// time.
#[derive(Debug)]
pub(super) struct Patience {
    progress: Glance,
    /// The start of the current period of [`GRACE`].
    start: Glance,
    /// Glances since then. If the whole process gets no processor time, time passes without glances.
    glances: u32,
}

impl Patience {
    pub(super) fn new(first: Glance) -> Self {
        Self { progress: first, start: first, glances: 0 }
    }

    /// Whether the sink is given up.
    pub(super) fn is_lost(&mut self, now: Glance) -> bool {
        if now.pending < self.progress.pending || !now.is_over {
            *self = Self::new(now);
        }
        self.glances += 1;
        if now.at - self.start.at <= GRACE || self.glances < LEAST_GLANCES {
            return false;
        }
        let is_idle = now.work.saturating_sub(self.start.work) < LEAST_WORK;
        (self.start, self.glances) = (now, 0);
        is_idle || now.work.saturating_sub(self.progress.work) > GRACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts time in tenths of a second. Returns the number of the tenth in which a sink is given up. In each tenth,
    /// the sink uses `work` of processor time. It has ten spans, and counts one in each `per_span` tenths. `None`: it
    /// is not given up before it has counted all spans. A sink that counts none is watched for ten minutes.
    fn tenths(work: Duration, per_span: Option<u32>) -> Option<u32> {
        let tenth = Duration::from_millis(100);
        let start = Instant::now();
        let glance = |number: u32| Glance {
            at: start + tenth * number,
            pending: 10 - u64::from(per_span.map_or(0, |tenths| number / tenths)).min(10),
            is_over: true,
            work: work * number,
        };
        let mut patience = Patience::new(glance(0));
        (1..per_span.map_or(6000, |tenths| 10 * tenths)).find(|number| patience.is_lost(glance(*number)))
    }

    #[test]
    fn a_sink_that_waits_for_something_is_given_up() {
        assert_eq!(tenths(Duration::ZERO, None), Some(21));
        // This sink wakes up often, to check whether it can go on.
        assert_eq!(tenths(Duration::from_micros(20), None), Some(21));
    }

    #[test]
    fn a_sink_with_little_processor_time_is_waited_for() {
        // The processor time in each tenth of a second. In the last line, the sink needs 200 ms for each span.
        let quota = Duration::from_millis(2);
        assert!(tenths(quota, None).is_some_and(|tenths| quota * tenths >= GRACE));
        assert_eq!(tenths(quota, Some(100)), None);
    }

    #[test]
    fn a_sink_that_counts_spans_is_waited_for() {
        assert_eq!(tenths(Duration::ZERO, Some(20)), None);
    }

    #[test]
    fn a_sink_that_computes_for_ever_is_given_up() {
        assert!(tenths(Duration::from_millis(100), None).is_some_and(|tenths| tenths < 50));
    }

    #[test]
    fn a_sink_is_not_given_up_before_the_time_to_deliver_is_over() {
        let start = Instant::now();
        let glance = |seconds, is_over| Glance {
            at: start + Duration::from_secs(seconds),
            pending: 1,
            is_over,
            work: Duration::ZERO,
        };
        let mut patience = Patience::new(glance(0, false));
        assert!(!patience.is_lost(glance(60, false)) && !patience.is_lost(glance(61, true)));
        // The process stood still.
        assert!(!patience.is_lost(glance(70, true)));
        assert!((71..90).any(|second| patience.is_lost(glance(second, true))));
    }
}
