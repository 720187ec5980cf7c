//! Environment variables, as process-tracer reads them.

use std::env;

/// The value of a variable. An empty variable counts as unset, as OpenTelemetry's specification says.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a switch with this value is on. `None`: the value is neither true nor false.
pub(crate) fn truth(value: &str) -> Option<bool> {
    let value = value.trim();
    if is_one_of(value, &["1", "t", "true", "y", "yes", "on"]) {
        return Some(true);
    }
    is_one_of(value, &["0", "f", "false", "n", "no", "off"]).then_some(false)
}

/// Whether the value is one of these words, in upper or lower case.
pub(crate) fn is_one_of(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// The reason to ignore a switch with this value.
pub(crate) fn is_no_truth(value: &str) -> String {
    format!("'{value}' is neither true nor false")
}
