//! The clock of the trace.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tracer_model::Ktime;

/// The time of the boot clock. Every source stamps its events with this clock.
pub(crate) fn now() -> Ktime {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or_else(|_| Duration::ZERO.into());
    Ktime(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
