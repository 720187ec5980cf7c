//! The kernel's boot clock, and its conversion to wall time.

use std::time::{Duration, SystemTime};

/// Nanoseconds of the boot clock (`CLOCK_BOOTTIME`). All events have times of this clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ktime(pub u64);

/// One moment on both clocks. A trace has only one anchor, so that a step of the wall clock cannot reorder its spans.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tracer_model::{Anchor, Ktime};
///
/// let anchor = Anchor { ktime: Ktime(1_000_000_000), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(10) };
/// assert_eq!(anchor.wall_time(Ktime(3_000_000_000)), SystemTime::UNIX_EPOCH + Duration::from_secs(12));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    /// The moment on the boot clock.
    pub ktime: Ktime,
    /// The same moment on the wall clock.
    pub wall: SystemTime,
}

impl Anchor {
    /// The wall time of `at`, and never before the epoch.
    #[must_use]
    pub fn wall_time(&self, at: Ktime) -> SystemTime {
        let wall = if at >= self.ktime {
            self.wall.checked_add(Duration::from_nanos(at.0 - self.ktime.0))
        } else {
            self.wall.checked_sub(Duration::from_nanos(self.ktime.0 - at.0))
        };
        // If the wall clock was never set, the machine may have started before the epoch.
        wall.unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_known_before_and_after_the_anchor() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let anchor = Anchor { ktime: Ktime(5_000_000_000), wall };
        assert_eq!(anchor.wall_time(Ktime(6_000_000_000)), wall + Duration::from_secs(1));
        assert_eq!(anchor.wall_time(Ktime(4_000_000_000)), wall - Duration::from_secs(1));
    }
}
