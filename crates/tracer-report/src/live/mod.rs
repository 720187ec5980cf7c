//! The live page. A server sends it the spans that have ended, and once a second the running processes.

mod desk;
mod door;
mod server;
mod usage;

pub use self::{desk::Watch, server::Live};
