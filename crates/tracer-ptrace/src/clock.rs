//! The clock of all events.

use std::{fs, sync::OnceLock, time::Duration};

use nix::time::{ClockId, clock_gettime};
use tracer_model::Ktime;

/// The boot clock of the kernel. In a time namespace, `CLOCK_BOOTTIME` has an offset. The times of the kernel have no
/// offset.
#[must_use]
pub fn now() -> Ktime {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let offset = *OFFSET.get_or_init(|| {
        let offsets = fs::read_to_string("/proc/self/timens_offsets");
        offsets.map(|offsets| boot_offset(&offsets)).unwrap_or_default()
    });
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Ktime((time.as_nanos() as u64).wrapping_sub(offset.cast_unsigned()))
}

/// The offset of the boot clock in nanoseconds: time_namespaces(7), `/proc/PID/timens_offsets`.
fn boot_offset(offsets: &str) -> i64 {
    let of_boot = |line: &str| {
        let mut words = line.split_whitespace();
        let is_boot = words.next().is_some_and(|clock| ["boottime", "7"].contains(&clock));
        let mut number = || words.next()?.parse::<i64>().ok();
        let (seconds, nanoseconds) = (number()?, number()?);
        is_boot.then(|| seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds))?
    };
    offsets.lines().find_map(of_boot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_boot_clock_is_read() {
        assert_eq!(
            boot_offset("monotonic           0         0\nboottime       100000         5\n"),
            100_000_000_000_005
        );
        assert_eq!(boot_offset("monotonic 3 0\nboottime -2 0\n"), -2_000_000_000);
        assert_eq!(boot_offset(""), 0);
    }
}
