//! How a step is named: the names from the root to it, and the argument that distinguishes it from its siblings.

use std::collections::{HashMap, HashSet};

use super::{
    align::Joint,
    steps::{Run, SEPARATOR},
};
use crate::untrusted::Untrusted;

/// The most names of a place to keep.
const NAMES: usize = 24;

/// The name of a step for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepLabel {
    /// The last names of its place.
    pub(super) place: Vec<Untrusted>,
    /// The argument that distinguishes it from other steps at a place with these names.
    pub(super) argument: Option<Untrusted>,
}

/// The label of each joint.
pub(super) fn labels(joints: &[Joint], runs: &[Run]) -> Vec<StepLabel> {
    // Joints with the same names above them are at one place.
    let mut places: HashMap<(Option<usize>, &Untrusted), usize> = HashMap::new();
    let mut place_of: Vec<usize> = Vec::with_capacity(joints.len());
    let mut at_place: Vec<Vec<usize>> = Vec::new();
    for (index, joint) in joints.iter().enumerate() {
        let above = joint.parent.map(|parent| place_of[parent]);
        let place = *places.entry((above, &joint.name)).or_insert_with(|| {
            at_place.push(Vec::new());
            at_place.len() - 1
        });
        place_of.push(place);
        at_place[place].push(index);
    }
    let command = |joint: &usize| last_command(&joints[*joint], runs);
    let mut arguments: Vec<Option<Untrusted>> = vec![None; joints.len()];
    for siblings in at_place.iter().filter(|siblings| siblings.len() > 1) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for joint in siblings {
            let words: HashSet<&str> = command(joint).split(SEPARATOR).skip(1).collect();
            words.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
        }
        for joint in siblings {
            arguments[*joint] = distinguishing(command(joint), &counts, siblings.len()).map(Into::into);
        }
    }
    let place = |index: usize| {
        let above = std::iter::successors(Some(index), |joint| joints[*joint].parent);
        let mut names: Vec<_> = above.take(NAMES).map(|joint| joints[joint].name.clone()).collect();
        names.reverse();
        names
    };
    arguments.into_iter().enumerate().map(|(index, argument)| StepLabel { place: place(index), argument }).collect()
}

fn last_command<'a>(joint: &Joint, runs: &'a [Run]) -> &'a str {
    let newest = joint.in_run.iter().enumerate().rev().find_map(|(run, step)| Some((run, (*step)?)));
    newest.map_or("", |(run, step)| &runs[run].steps[step].command)
}

/// The argument that distinguishes a step best: few siblings have it, and it says much. An argument behind an option can be its
/// value, and says less. A source says more than its object file, the value of `-o`.
fn distinguishing<'a>(command: &'a str, counts: &HashMap<&str, usize>, siblings: usize) -> Option<&'a str> {
    let mut previous = "";
    let mut best: Option<(usize, &str)> = None;
    for word in command.split(SEPARATOR).skip(1) {
        let weight = match word {
            _ if word.starts_with('-') => 12,
            _ if previous == "-o" => 5,
            _ if previous.starts_with('-') => 3,
            _ => 2,
        };
        previous = word;
        let count = counts.get(word).copied().unwrap_or_default();
        let is_rare = count == 1 || count * 3 <= siblings;
        let score = count * weight;
        if is_rare && !word.is_empty() && best.is_none_or(|(known, _)| score < known) {
            best = Some((score, word));
        }
    }
    best.map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{align::align, steps::tests::run},
        *,
    };
    use crate::story::story;

    #[test]
    fn the_argument_that_no_sibling_has_distinguishes_a_step() {
        let build = story("make", 0, 100)
            .starts("sh", 0, 9, |sh| {
                sh.arguments(&["sh", "-c", "x"])
                    .starts("cc", 0, 5, |cc| cc.arguments(&["cc", "-O2", "-o", "a.o", "-c", "a.c"]))
            })
            .starts("sh", 10, 9, |sh| {
                sh.arguments(&["sh", "-c", "y"])
                    .starts("cc", 10, 5, |cc| cc.arguments(&["cc", "-O2", "-o", "b.o", "-c", "b.c"]))
            })
            .starts("ld", 20, 9, |ld| ld.arguments(&["ld", "a.o"]));
        let runs = [run(&build)];
        let labels = labels(&align(&runs), &runs);
        let shown: Vec<_> = labels
            .iter()
            .map(|label| {
                let names: Vec<_> = label.place.iter().map(Untrusted::exact).collect();
                format!("{} {}", names.join(">"), label.argument.as_ref().map_or("", Untrusted::exact))
            })
            .collect();
        assert_eq!(shown, ["make ", "make>sh x", "make>sh y", "make>ld ", "make>sh>cc a.c", "make>sh>cc b.c"]);
    }

    #[test]
    fn an_option_distinguishes_a_step_if_nothing_else_does() {
        let counts = HashMap::from([("-v", 1), ("a", 2), ("-o", 2), ("b.o", 1), ("-MD", 2), ("b.d", 1), ("b.c", 1)]);
        let best = |command| distinguishing(command, &counts, 3);
        assert_eq!(best("cc\0-MD\0b.d\0a\0b.c"), Some("b.c"));
        assert_eq!(best("cc\0-v\0a"), Some("-v"));
        assert_eq!(best("cc\0-v\0-o\0b.o"), Some("b.o"));
        assert_eq!(best("cc\0a"), None);
        // A rule that names all sources does not hide the name of each.
        let counts = HashMap::from([("-O0", 1), ("-c", 9), ("b.c", 2)]);
        assert_eq!(distinguishing("cc\0-O0\0-c\0b.c", &counts, 9), Some("b.c"));
    }
}
