//! Finds the known name that is similar to an unknown name.

use crate::builtins;

/// Of the functions of the language and the names in `more`, the one that is most similar to `name`.
pub(super) fn similar<'a>(name: &str, more: impl Iterator<Item = &'a str>) -> Option<String> {
    let functions = builtins::ALL.iter().map(|builtin| builtin.name);
    let most = (name.chars().count() / 3).clamp(1, 3);
    more.chain(functions)
        .map(|known| (distance(name, known), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.to_owned())
}

/// The number of typos that turn one name into the other. A change of case does not count.
fn distance(left: &str, right: &str) -> usize {
    // The time grows with the product of both lengths, so longer names are not compared.
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    strsim::damerau_levenshtein(&left.to_lowercase(), &right.to_lowercase())
}
