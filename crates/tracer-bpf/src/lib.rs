//! The eBPF side of process-tracer: the programs, their records, and the stream of events decoded from them.
//!
//! [`probe::check`] says whether this kernel and these privileges allow it; [`Attached::load`] loads and attaches, and is
//! all that takes privileges; [`Capture::start`] takes over, in this process or another; [`Capture::arm`] makes the next
//! fork of this process the root of the trace; [`Stream`] yields the events.

mod capture;
mod decode;
mod dns_stream;
mod flows;
mod kernel_types;
mod loader;
mod mapping;
pub mod probe;
mod ring;
mod shared;
mod stream;
mod syscall;
mod wire;

pub use capture::{Capture, CaptureError};
pub use decode::{DecodeError, Decoder};
pub use kernel_types::TypesError;
pub use loader::{Attached, Limits, LoadError, Options, Timing, Viewer};
pub use stream::Stream;
