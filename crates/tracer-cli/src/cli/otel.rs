//! OpenTelemetry's variables, as its specification defines them.

use super::variables::is_no_truth;
use crate::console;

/// Reads a boolean variable. By the specification only `true` is true, in upper or lower case.
pub(super) fn is_true(name: &str, value: &str) -> bool {
    let is = |word: &str| value.trim().eq_ignore_ascii_case(word);
    if !is("true") && !is("false") {
        console::warn(format_args!("{name} is ignored: {}", is_no_truth(value)));
    }
    is("true")
}
