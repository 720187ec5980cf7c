//! Observes a command and its descendants with ptrace(2), without any privilege.

pub mod aside;
pub mod reexec;
