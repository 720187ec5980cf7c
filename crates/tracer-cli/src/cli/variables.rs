//! Environment variables, as process-tracer reads them.

use std::env;

/// The value of a variable. An empty variable counts as unset, as OpenTelemetry's specification says.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
