//! Loads and attaches the eBPF programs: for a run, and for the helper that `--sudo` starts.

use anyhow::{Error, Result};
use tracer_bpf::{Attached, LoadError, Options};

use crate::console;

/// Less room than this is useless.
const LEAST_RING: u32 = 1 << 20;
const LEAST_PROCESSES: u32 = 1000;

/// Loads and attaches the programs. If the kernel refuses a map, it tries half the room, again and again.
///
/// # Errors
///
/// The kernel refuses the programs, or the smallest maps.
pub(crate) fn load(mut options: Options) -> Result<Attached> {
    loop {
        match Attached::load(&options) {
            Err(error) if error.is_about_size() && options.ring_bytes > LEAST_RING => {
                options.ring_bytes /= 2;
                options.max_processes = (options.max_processes / 2).max(LEAST_PROCESSES.min(options.max_processes));
                console::warn(format_args!(
                    "{:#}; trying --buffer-size {}K --max-processes {}",
                    Error::new(error),
                    options.ring_bytes / 1024,
                    options.max_processes
                ));
            }
            result => return result.map_err(explain),
        }
    }
}

/// With the obstacle and its remedy, if they are known.
fn explain(error: LoadError) -> Error {
    match error.obstacle() {
        Some(obstacle) => Error::new(error).context(format!("{obstacle}; {}", obstacle.remedy())),
        None => error.into(),
    }
}
