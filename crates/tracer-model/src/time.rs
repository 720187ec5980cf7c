//! The kernel's boot clock, and how it becomes wall time.

use std::time::{Duration, SystemTime};

/// Nanoseconds of the boot clock (`CLOCK_BOOTTIME`), which the BPF programs stamp records with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ktime(pub u64);

/// One instant on both clocks. A trace uses a single anchor, so that a step of the wall clock cannot tear it apart.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    /// The instant on the boot clock.
    pub ktime: Ktime,
    /// The same instant on the wall clock.
    pub wall: SystemTime,
}

impl Anchor {
    /// The wall time of `at`; the epoch where that would lie before it.
    #[must_use]
    pub fn wall_time(&self, at: Ktime) -> SystemTime {
        let wall = if at >= self.ktime {
            self.wall.checked_add(Duration::from_nanos(at.0 - self.ktime.0))
        } else {
            self.wall.checked_sub(Duration::from_nanos(self.ktime.0 - at.0))
        };
        // Where the wall clock was never set, uptime may reach further back than it.
        wall.unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_runs_both_ways_from_the_anchor() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let anchor = Anchor { ktime: Ktime(5_000_000_000), wall };
        assert_eq!(anchor.wall_time(Ktime(6_000_000_000)), wall + Duration::from_secs(1));
        assert_eq!(anchor.wall_time(Ktime(4_000_000_000)), wall - Duration::from_secs(1));
    }
}
