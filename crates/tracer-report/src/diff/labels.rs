//! How a step is named: the names from the root to it, and the argument that distinguishes it from its siblings.

use std::collections::HashMap;

use super::{align::Joint, steps::Run};
use crate::{argument, untrusted::Untrusted, words::Word};

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
    // Joints with the same name, and with the same names above them, are at one place.
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
    let mut arguments: Vec<Option<Untrusted>> = vec![None; joints.len()];
    for siblings in at_place.iter().filter(|siblings| siblings.len() > 1) {
        let commands: Vec<_> = siblings.iter().map(|joint| last_words(&joints[*joint], runs)).collect();
        let name = siblings.first().map_or("", |joint| joints[*joint].name.exact());
        for (joint, choice) in siblings.iter().zip(argument::choose(name, &commands, Untrusted::exact)) {
            arguments[*joint] = choice.map(|choice| choice.shown(choice.word));
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

/// The words of the newest run that has this step.
fn last_words<'a>(joint: &Joint, runs: &'a [Run]) -> Vec<Word<&'a Untrusted>> {
    let newest = joint.in_run.iter().enumerate().rev().find_map(|(run, step)| Some((run, (*step)?)));
    let words = newest.map_or(&[][..], |(run, step)| &runs[run].steps[step].words);
    words.iter().map(|word| Word { text: &word.text, role: word.role }).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{align::align, steps::tests::run},
        *,
    };
    use crate::story::{Story, story};

    fn shown(runs: &[Story]) -> Vec<String> {
        let runs: Vec<_> = runs.iter().map(run).collect();
        let show = |label: StepLabel| {
            let names: Vec<_> = label.place.iter().map(Untrusted::exact).collect();
            format!("{} {}", names.join(">"), label.argument.as_ref().map_or("", Untrusted::exact))
        };
        labels(&align(&runs), &runs).into_iter().map(show).collect()
    }

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
        assert_eq!(
            shown(&[build]),
            ["make ", "make>sh x", "make>sh y", "make>ld ", "make>sh>cc a.c", "make>sh>cc b.c"]
        );
    }

    #[test]
    fn a_step_has_the_argument_that_all_reports_show() {
        let cc1 = |story: Story, file: &str, name: &str| {
            let [source, list, object] = ["c", "d", "o"].map(|ending| format!("{file}.{ending}"));
            let words =
                ["cc1", "-quiet", "-MMD", &list, "-MQ", &object, &source, "-dumpbase", &source, "-o", "/tmp/cc1.s"];
            story.starts(name, 0, 9, |it| it.arguments(&words))
        };
        let build = |names: [&str; 2]| cc1(cc1(story("make", 0, 100), "redis-cli", names[0]), "t_hash", names[1]);
        assert_eq!(shown(&[build(["cc1", "cc1"])]), ["make ", "make>cc1 redis-cli.c", "make>cc1 t_hash.c"]);
        let named = build(["cc1 redis-cli.c", "cc1 t_hash.c"]);
        assert_eq!(shown(std::slice::from_ref(&named)), ["make ", "make>cc1 redis-cli.c ", "make>cc1 t_hash.c "]);
        assert_eq!(shown(&[build(["cc1", "cc1"]), named]), ["make ", "make>cc1 redis-cli.c", "make>cc1 t_hash.c"]);
    }

    #[test]
    fn an_option_distinguishes_a_step_if_nothing_else_does() {
        let with = |option: &str| {
            story("make", 0, 100).starts("cc", 0, 9, |cc| cc.arguments(&["cc", "-c", "a.c", option])).starts(
                "cc",
                9,
                9,
                |cc| cc.arguments(&["cc", "-c", "a.c"]),
            )
        };
        assert_eq!(shown(&[with("-v")])[1], "make>cc -v");
    }
}
