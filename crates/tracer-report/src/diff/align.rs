//! Finds the same step in each run: by its command line and its place.
//!
//! The roots are the same step, also under another name. The exception is a command that only one run has in a wrapper.
//! Below two steps that are the same, their children are matched in this order:
//!
//! 1. the same name and the same command line;
//! 2. the same name, and an argument that no other unmatched step has, such as the name of the source file;
//! 3. the same name, if each side has only one such unmatched step.
//!
//! Sometimes a rule renames a process in one run and not in another. So 1 and 2 are each tried a second time, with the same
//! program instead of the same name.
//!
//! An unmatched step can be at another place, for example below a wrapper. It is found there if its command line occurs once.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tracer_model::event::base_name;

use super::steps::{Run, SEPARATOR};
use crate::untrusted::Untrusted;

/// A step of one or several runs.
#[derive(Debug)]
pub(super) struct Joint {
    pub(super) parent: Option<usize>,
    pub(super) name: Untrusted,
    /// Its command lines, each once.
    commands: Vec<Arc<str>>,
    /// Its number in each run.
    pub(super) in_run: Vec<Option<usize>>,
}

/// The steps of all runs. Parents come before their children.
pub(super) fn align(runs: &[Run]) -> Vec<Joint> {
    let mut alignment = Alignment { joints: Vec::new(), children: Vec::new(), runs: runs.len() };
    for (number, run) in runs.iter().enumerate() {
        Joining::new(&mut alignment, number, run).join();
    }
    alignment.joints
}

/// A joint of the alignment, and the step of a run that is the same step.
type Pair = (usize, usize);

struct Alignment {
    joints: Vec<Joint>,
    children: Vec<Vec<usize>>,
    runs: usize,
}

impl Alignment {
    fn add(&mut self, parent: Option<usize>, name: &Untrusted) -> usize {
        let in_run = vec![None; self.runs];
        self.joints.push(Joint { parent, name: name.clone(), commands: Vec::new(), in_run });
        self.children.push(Vec::new());
        let joint = self.joints.len() - 1;
        if let Some(parent) = parent {
            self.children[parent].push(joint);
        }
        joint
    }
}

/// Another run on its way into the alignment.
struct Joining<'a> {
    alignment: &'a mut Alignment,
    number: usize,
    run: &'a Run,
    children: Vec<Vec<usize>>,
    /// The joint of each step.
    joint_of: Vec<Option<usize>>,
    /// Pairs whose children are not matched yet.
    pairs: Vec<Pair>,
    /// Steps without a match at their place. Parents come before their children.
    homeless: VecDeque<usize>,
}

type Key<'a> = (&'a str, &'a str);

/// Finds the same steps among these joints and steps. The identity says in which respect they must be the same.
type Method<'a> = fn(&Joining<'a>, &[usize], &[usize], Identity) -> Vec<Pair>;

/// What a step is, from its name and its command line. Empty: unknown.
type Identity = for<'a> fn(&'a Untrusted, &'a str) -> &'a str;

/// The name, which a rule may have made, and the program.
const IDENTITIES: [Identity; 2] = [|name, _| name.exact(), |_, command| base_name(first_word(command))];

fn first_word(command: &str) -> &str {
    command.split(SEPARATOR).next().unwrap_or_default()
}

impl<'a> Joining<'a> {
    fn new(alignment: &'a mut Alignment, number: usize, run: &'a Run) -> Self {
        let mut children = vec![Vec::new(); run.steps.len()];
        for (step, parent) in run.steps.iter().enumerate().filter_map(|(step, it)| Some((step, it.parent?))) {
            children[parent].push(step);
        }
        let joint_of = vec![None; run.steps.len()];
        Self { alignment, number, run, children, joint_of, pairs: Vec::new(), homeless: VecDeque::new() }
    }

    fn join(mut self) {
        let run = self.run;
        let roots = |steps: &mut dyn Iterator<Item = (usize, bool)>| -> Vec<usize> {
            steps.filter(|(_, is_root)| *is_root).map(|(step, _)| step).collect()
        };
        let of_run = roots(&mut run.steps.iter().map(|step| step.parent.is_none()).enumerate());
        let of_joints = roots(&mut self.alignment.joints.iter().map(|joint| joint.parent.is_none()).enumerate());
        if let (Some(joint), Some(step)) = (of_joints.first(), of_run.first()) {
            let pair = self.roots(*joint, *step);
            self.pair(pair);
        }
        self.homeless.extend(of_run);
        self.match_children();
        // A step that has moved can only belong to a joint that has no step of this run yet.
        let known = self.elsewhere();
        let mut counts: HashMap<Key<'_>, usize> = HashMap::new();
        for step in &run.steps {
            *counts.entry((step.name.exact(), &step.command)).or_default() += 1;
        }
        while let Some(step) = self.homeless.pop_front() {
            if self.joint_of[step].is_some() {
                continue;
            }
            let it = &run.steps[step];
            let is_unique = counts.get(&(it.name.exact(), &*it.command)) == Some(&1);
            let place =
                |name: Option<&Untrusted>| match known.get(&(name.cloned(), Arc::clone(&it.command)))?.as_slice() {
                    [joint] if is_unique && self.is_free(*joint) => Some(*joint),
                    _ => None,
                };
            let joint = place(Some(&it.name)).or_else(|| place(None)).unwrap_or_else(|| {
                let parent = it.parent.and_then(|parent| self.joint_of[parent]);
                self.alignment.add(parent, &it.name)
            });
            self.pair((joint, step));
            self.match_children();
        }
    }

    /// The first pair. It is usually the two roots. But a command can be traced once with a wrapper and once without.
    /// Then the root without the wrapper pairs with the step that has the same command line.
    fn roots(&self, joint: usize, step: usize) -> Pair {
        let (joints, steps) = (&self.alignment.joints, &self.run.steps);
        let root = &steps[step];
        let same = |joint: usize, step: usize| joints[joint].commands.contains(&steps[step].command);
        if same(joint, step) || root.command.is_empty() {
            return (joint, step);
        }
        let inner = (0..steps.len())
            .find(|inner| !steps[*inner].command.is_empty() && same(joint, *inner))
            .map(|inner| (joint, inner));
        let outer = || (0..joints.len()).find(|outer| same(*outer, step)).map(|outer| (outer, step));
        inner.or_else(outer).unwrap_or((joint, step))
    }

    fn is_free(&self, joint: usize) -> bool {
        self.alignment.joints[joint].in_run[self.number].is_none()
    }

    fn pair(&mut self, (joint, step): Pair) {
        self.joint_of[step] = Some(joint);
        let command = &self.run.steps[step].command;
        let it = &mut self.alignment.joints[joint];
        it.in_run[self.number] = Some(step);
        if !it.commands.contains(command) {
            it.commands.push(Arc::clone(command));
        }
        self.pairs.push((joint, step));
    }

    fn match_children(&mut self) {
        while let Some((joint, step)) = self.pairs.pop() {
            let mut joints: Vec<usize> =
                self.alignment.children[joint].iter().copied().filter(|joint| self.is_free(*joint)).collect();
            let mut steps: Vec<usize> =
                self.children[step].iter().copied().filter(|step| self.joint_of[*step].is_none()).collect();
            let [name, program] = IDENTITIES;
            let methods: [(Method<'a>, Identity); 5] = [
                (Self::same_command, name),
                (Self::same_command, program),
                (Self::same_argument, name),
                (Self::same_argument, program),
                (Self::only_ones, name),
            ];
            for (method, identity) in methods {
                if joints.is_empty() || steps.is_empty() {
                    break;
                }
                for pair in method(self, &joints, &steps, identity) {
                    // Two steps can want the same joint.
                    if self.is_free(pair.0) && self.joint_of[pair.1].is_none() {
                        self.pair(pair);
                    }
                }
                joints.retain(|joint| self.is_free(*joint));
                steps.retain(|step| self.joint_of[*step].is_none());
            }
            self.homeless.extend(steps);
        }
    }

    fn same_command(&self, joints: &[usize], steps: &[usize], identity: Identity) -> Vec<Pair> {
        let mut by_command: HashMap<Key<'_>, usize> = HashMap::new();
        for joint in joints.iter().rev() {
            let it = &self.alignment.joints[*joint];
            by_command.extend(it.commands.iter().map(|command| ((identity(&it.name, command), &**command), *joint)));
        }
        let of_step = |step: &usize| {
            let it = &self.run.steps[*step];
            let what = identity(&it.name, &it.command);
            Some((*by_command.get(&(what, &*it.command)).filter(|_| !what.is_empty())?, *step))
        };
        steps.iter().filter_map(of_step).collect()
    }

    fn same_argument(&self, joints: &[usize], steps: &[usize], identity: Identity) -> Vec<Pair> {
        let of_joints = joints.iter().map(|joint| {
            let it = &self.alignment.joints[*joint];
            let command = it.commands.last().map_or("", |command| &**command);
            (*joint, identity(&it.name, command), command)
        });
        let of_steps = steps.iter().map(|step| {
            let it = &self.run.steps[*step];
            (*step, identity(&it.name, &it.command), &*it.command)
        });
        let (joint_with, step_with) = (only_holders(of_joints), only_holders(of_steps));
        let mut votes: HashMap<Pair, usize> = HashMap::new();
        for (word, step) in &step_with {
            if let Some(joint) = joint_with.get(word) {
                *votes.entry((*joint, *step)).or_default() += 1;
            }
        }
        let mut pairs: Vec<_> = votes.into_iter().collect();
        pairs.sort_by_key(|(pair, votes)| (std::cmp::Reverse(*votes), *pair));
        pairs.into_iter().map(|(pair, _)| pair).collect()
    }

    fn only_ones(&self, joints: &[usize], steps: &[usize], identity: Identity) -> Vec<Pair> {
        let of_joint = |joint: &usize| {
            let it = &self.alignment.joints[*joint];
            (*joint, identity(&it.name, it.commands.last().map_or("", |command| &**command)))
        };
        let of_step = |step: &usize| {
            let it = &self.run.steps[*step];
            (*step, identity(&it.name, &it.command))
        };
        let (joints, steps) = (alone(joints.iter().map(of_joint)), alone(steps.iter().map(of_step)));
        steps.into_iter().filter_map(|(what, step)| Some((*joints.get(what)?, step))).collect()
    }

    /// The joints that this run does not have: by name and command line, and by command line alone.
    fn elsewhere(&self) -> HashMap<(Option<Untrusted>, Arc<str>), Vec<usize>> {
        let mut known: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, joint) in self.alignment.joints.iter().enumerate().filter(|(index, _)| self.is_free(*index)) {
            for command in &joint.commands {
                let names = [Some(joint.name.clone()), None];
                for name in names.into_iter().filter(|name| name.is_some() || !command.is_empty()) {
                    known.entry((name, Arc::clone(command))).or_default().push(index);
                }
            }
        }
        known
    }
}

/// The words that occur in the command line of only one of these steps, with this step. Options do not count.
fn only_holders<'a>(steps: impl Iterator<Item = (usize, &'a str, &'a str)>) -> HashMap<Key<'a>, usize> {
    let mut holders: HashMap<_, Option<usize>> = HashMap::new();
    for (step, what, command) in steps {
        // The first word is the program.
        let words = command.split([SEPARATOR, ' ', '\t', '\n']).skip(1);
        for word in words.filter(|word| !word.is_empty() && !word.starts_with('-')) {
            let holder = holders.entry((what, word)).or_insert(Some(step));
            if *holder != Some(step) {
                *holder = None;
            }
        }
    }
    holders.into_iter().filter_map(|(word, step)| Some((word, step?))).collect()
}

/// The identities that only one of these steps has.
fn alone<'a>(steps: impl Iterator<Item = (usize, &'a str)>) -> HashMap<&'a str, usize> {
    let mut alone: HashMap<_, Option<usize>> = HashMap::new();
    for (step, what) in steps {
        alone.entry(what).and_modify(|step| *step = None).or_insert(Some(step));
    }
    alone.into_iter().filter_map(|(what, step)| Some((what, step?))).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::steps::tests::run, *};
    use crate::story::{Story, story};

    /// Each step as its command line in the runs, `-` where it is missing.
    fn aligned(stories: &[Story]) -> Vec<String> {
        let runs: Vec<_> = stories.iter().map(run).collect();
        let command = |run: &Run, step: Option<usize>| match step {
            Some(step) => run.steps[step].command.replace(SEPARATOR, " "),
            None => "-".to_owned(),
        };
        let row = |joint: Joint| {
            let commands = runs.iter().zip(&joint.in_run).map(|(run, step)| command(run, *step));
            commands.collect::<Vec<_>>().join(" | ")
        };
        align(&runs).into_iter().map(row).collect()
    }

    fn with(story: Story, commands: &[&str]) -> Story {
        commands.iter().enumerate().fold(story, |story, (at, command)| {
            let arguments: Vec<_> = command.split(' ').collect();
            story.starts(arguments[0], 10 * at as u64, 9, |it| it.arguments(&arguments))
        })
    }

    fn make() -> Story {
        story("make", 0, 1000)
    }

    #[test]
    fn a_changed_option_is_the_same_step() {
        let before = with(make(), &["cc -O2 -c a.c", "cc -O2 -c b.c", "cc -O2 -c c.c"]);
        let after = with(make(), &["cc -O2 -c c.c", "cc -O0 -c b.c", "cc -O2 -c a.c"]);
        let expected = [
            "make | make",
            "cc -O2 -c a.c | cc -O2 -c a.c",
            "cc -O2 -c b.c | cc -O0 -c b.c",
            "cc -O2 -c c.c | cc -O2 -c c.c",
        ];
        assert_eq!(aligned(&[before, after]), expected);
    }

    #[test]
    fn the_same_name_with_other_files_is_another_step() {
        let before = with(make(), &["cc -c a.c", "cc -c b.c", "rm x"]);
        let after = with(make(), &["cc -c d.c", "cc -c e.c", "cc -c a.c", "touch x"]);
        assert_eq!(
            aligned(&[before, after]),
            [
                "make | make",
                "cc -c a.c | cc -c a.c",
                "cc -c b.c | -",
                "rm x | -",
                "- | cc -c d.c",
                "- | cc -c e.c",
                "- | touch x"
            ]
        );
    }

    #[test]
    fn the_only_step_of_a_name_can_change_all_its_arguments() {
        let runs = ["sleep 0.2", "sleep 0.9"].map(|command| with(make(), &[command]));
        assert_eq!(aligned(&runs), ["make | make", "sleep 0.2 | sleep 0.9"]);
    }

    #[test]
    fn a_step_that_a_rule_names_is_the_same_step() {
        let named = |above: Story, names: [&str; 3], option: &str| {
            let commands = [&["/bin/sh", "./run"][..], &["cc1", "a.c"], &["/usr/bin/python3", "setup.py", option]];
            let starts = |story: Story, (name, command)| story.starts(name, 0, 9, |it| it.arguments(command));
            names.into_iter().zip(commands).fold(above, starts)
        };
        let plain = named(make(), ["run", "cc1", "python3"], "-v");
        let smart = ["tests", "cc1 a.c", "python3 setup.py"];
        let mut expected = vec![
            "make | make",
            "/bin/sh ./run | /bin/sh ./run",
            "cc1 a.c | cc1 a.c",
            "/usr/bin/python3 setup.py -v | /usr/bin/python3 setup.py -q",
        ];
        assert_eq!(aligned(&[plain.clone(), named(make(), smart, "-q")]), expected);
        let wrapped = make().starts("time", 0, 9, |time| named(time, smart, "-v"));
        expected[3] = "/usr/bin/python3 setup.py -v | /usr/bin/python3 setup.py -v";
        expected.push("- | time");
        assert_eq!(aligned(&[plain, wrapped]), expected);
    }

    #[test]
    fn a_renamed_root_is_the_same_root() {
        let before = with(story("make", 0, 100), &["cc a.c"]);
        let after = with(story("ninja", 0, 100), &["cc a.c"]);
        assert_eq!(aligned(&[before, after]), ["make | ninja", "cc a.c | cc a.c"]);
    }

    #[test]
    fn a_wrapper_around_the_command_or_a_step_is_a_new_step() {
        let plain = with(story("make", 0, 100), &["cc a.c", "cc b.c"]);
        let wrapped = story("sh", 0, 100).arguments(&["sh", "-c", "make"]).above(plain.clone());
        let expected = ["make | make", "cc a.c | cc a.c", "cc b.c | cc b.c", "- | sh -c make"];
        assert_eq!(aligned(&[plain.clone(), wrapped.clone()]), expected);
        let expected = ["sh -c make | -", "make | make", "cc a.c | cc a.c", "cc b.c | cc b.c"];
        assert_eq!(aligned(&[wrapped, plain.clone()]), expected);
        let cached = story("make", 0, 100).starts("ccache", 0, 50, |it| with(it, &["cc a.c", "cc b.c"]));
        let expected = ["make | make", "cc a.c | cc a.c", "cc b.c | cc b.c", "- | ccache"];
        assert_eq!(aligned(&[plain, cached]), expected);
    }

    #[test]
    fn steps_of_several_runs_are_aligned_even_if_some_runs_lack_them() {
        let runs = [&["cc a.c", "cc b.c"][..], &["cc b.c"], &["cc b.c", "ld"]].map(|steps| with(make(), steps));
        let expected = ["make | make | make", "cc a.c | - | -", "cc b.c | cc b.c | cc b.c", "- | - | ld"];
        assert_eq!(aligned(&runs), expected);
    }
}
