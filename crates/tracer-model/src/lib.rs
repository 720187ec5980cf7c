//! The model of the process tree: events in, finished spans out.
//!
//! The model does no I/O. It reads no clock, file, environment or random numbers: the caller passes them in.
//!
//! The model stays consistent for any sequence of events, even if many are missing. Each span ends once. No span ends before
//! it starts. Every parent exists. The memory depends on the number of live processes, connections and flows, not on the
//! length of the trace.
//!
//! A caller does this:
//!
//! ```
//! use std::time::SystemTime;
//! use tracer_model::{
//!     Accounts, Anchor, Captured, Errors, Event, ExitStatus, Hosts, Identity, Ktime, Losses, Settings, SpanId, TraceId, Tracer,
//!     expression::Attributes, redact::Policy,
//! };
//!
//! let mut tracer = Tracer::new(Settings {
//!     trace_id: TraceId([1; 16]),
//!     trace_id_source: "random".to_owned(),
//!     root_span_id: SpanId([1; 8]),
//!     root_parent_id: None,
//!     root_name: "true".to_owned(),
//!     root_label: None,
//!     anchor: Anchor { ktime: Ktime(0), wall: SystemTime::UNIX_EPOCH },
//!     seed: [0; 32],
//!     attributes: Attributes::default(),
//!     arguments: Policy::default(),
//!     captured: Captured::default(),
//!     own_name: "process-tracer".to_owned(),
//!     accounts: Accounts::default(),
//!     cpus: 2,
//!     hosts: Hosts::default(),
//!     peer_names: tracer_model::PeerNames::default(),
//!     version: "0.0.0".to_owned(),
//!     errors: Errors::All,
//!     rules: tracer_model::judge::Rules::default(),
//! });
//! let child = Identity { tgid: 2, start: Ktime(10) };
//! let shell = Identity { tgid: 1, start: Ktime(5) };
//! tracer.handle(Event::Fork { process: child, parent: shell, is_root: true });
//! let status = ExitStatus::Code(0);
//! tracer.handle(Event::Exit { at: Ktime(20), process: child, parent: shell, status, is_oom_victim: false, usage: None });
//! tracer.finish(Ktime(20), Losses::default());
//! while let Some(span) = tracer.poll_span() {
//!     assert_eq!(span.name(), "true");
//! }
//! ```
#![forbid(unsafe_code)]

mod audit;
pub mod blame;
pub mod calls;
mod captured;
pub mod cgroup;
mod connections;
pub mod context;
pub mod dns;
mod emit;
pub mod event;
pub mod expression;
mod failures;
mod flows;
mod folding;
mod hosts;
mod id;
mod image;
pub mod judge;
mod lookups;
pub mod losses;
mod owner;
mod peer_names;
mod peers;
mod process;
mod processes;
mod recent;
pub mod redact;
mod resource;
pub mod screen;
mod screening;
mod script;
pub mod semconv;
pub mod source;
pub mod span;
mod strings;
mod table;
pub mod tags;
mod time;
mod tracer;
pub mod traps;
mod verdict;

pub use captured::{Captured, UnknownKind};
pub use event::{Event, ExitStatus, Identity};
pub use hosts::Hosts;
pub use id::{IdGenerator, ParseIdError, SpanId, TraceId};
pub use image::Accounts;
pub use losses::Losses;
pub use peer_names::{ParsePeerNameError, PeerName, PeerNames};
pub use resource::Resource;
pub use span::{Span, Value};
pub use time::{Anchor, Ktime};
pub use tracer::{Settings, Tracer};
pub use verdict::Errors;
