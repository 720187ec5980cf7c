//! The eBPF source of events: the programs, their records, and the events decoded from them.
//!
//! - [`probe::check`] says whether this kernel and these privileges allow eBPF.
//! - [`Attached::load`] loads and attaches the programs. Only this step needs privileges.
//! - [`Capture::start`] takes over the attached programs, in this process or in another one. It returns the
//!   [`Source`](tracer_model::source::Source) and its [`EventStream`](tracer_model::source::EventStream).
//!
//! The program `examples/ebpf_events.rs` prints the events of a command.

mod load;
mod programs;
mod read;
mod syscall;
mod wire;

pub use load::{Asked, Limits, LoadError, Options, TypesError, Viewer, probe};
pub use programs::{Attached, Timing};
pub use read::{Capture, CaptureError, DecodeError, Decoder, Stream};
pub use wire::RecordKind;
