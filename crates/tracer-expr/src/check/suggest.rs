//! Finds the known name that is similar to an unknown name.

use crate::builtins;

/// The most similar of the functions of the language and more names.
pub(super) fn similar<'a>(name: &str, more: impl Iterator<Item = &'a str>) -> Option<String> {
    let functions = builtins::ALL.iter().map(|builtin| builtin.name);
    let most = (name.chars().count() / 3).clamp(1, 3);
    more.chain(functions)
        .map(|known| (distance(name, known), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.to_owned())
}

/// The number of characters that must be typed differently. A change of case does not count.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, left) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in right.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
