//! What changed between two sides: the whole, each step, each name.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    align::{Joint, align},
    labels::{StepLabel, labels},
    sample::Change,
    steps::{Run, SEPARATOR, Step},
};
use crate::{
    text::{Style, style::duration},
    untrusted::Untrusted,
};

/// The smallest growth that counts as slower, in nanoseconds. Scheduling alone causes smaller ones.
pub(super) const SMALLEST: u64 = 10_000_000;

/// The growth of a step counts only if it is at least one PART_OF_WHOLEth of the whole. With hundreds of steps, a few
/// small ones always take longer.
const PART_OF_WHOLE: u64 = 100;

/// Two sides of one or several runs, step by step.
#[derive(Debug)]
pub struct Comparison {
    pub(super) runs: Vec<Run>,
    /// How many of `runs` belong to the side before the change. They come first.
    pub(super) runs_before: usize,
    /// The largest growth that is no regression, as a part: 0.1 is 10 %.
    pub(super) threshold: Option<f64>,
    pub(super) wall: Change,
    pub(super) cpu: Change,
    pub(super) processes: Change,
    /// Parents come before their children.
    pub(super) steps: Vec<ComparedStep>,
    pub(super) names: Vec<ComparedName>,
}

/// A step of both sides, or of one of them.
#[derive(Debug)]
pub(super) struct ComparedStep {
    pub(super) parent: Option<usize>,
    pub(super) label: StepLabel,
    pub(super) presence: Presence,
    pub(super) processes: Change,
    /// Nanoseconds.
    pub(super) own: Change,
    pub(super) cpu: Change,
    pub(super) critical: Change,
    /// How it ended in the runs of each side that have it. Each outcome occurs once.
    pub(super) outcomes: [BTreeSet<Outcome>; 2],
    /// The arguments on each side, unchanged.
    pub(super) arguments: [Option<Arc<str>>; 2],
    /// The words that only one side's command line has.
    pub(super) words: [Vec<Untrusted>; 2],
}

/// The sides that have a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Both,
    OnlyBefore,
    OnlyAfter,
}

/// Why processes of a step failed in one run. Each reason has its number of processes. Empty: all processes succeeded.
pub(super) type Outcome = Vec<(Untrusted, u64)>;

/// All processes of a name.
#[derive(Debug)]
pub(super) struct ComparedName {
    pub(super) name: Untrusted,
    pub(super) processes: Change,
    pub(super) own: Change,
}

/// A growth beyond the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Regression {
    Whole,
    Step(usize),
}

impl Comparison {
    /// Compares the runs. With a threshold, 0.1 for 10 %, it also looks for regressions.
    pub fn new(before: Vec<Run>, after: Vec<Run>, threshold: Option<f64>) -> Self {
        let runs_before = before.len();
        let mut runs = before;
        runs.extend(after);
        let of_runs = |amount: fn(&Run) -> u64| Change::new(runs.iter().map(amount), runs_before);
        let joints = align(&runs);
        let labels = labels(&joints, &runs);
        let names = names(&joints, &runs, runs_before);
        let steps =
            joints.into_iter().zip(labels).map(|(joint, label)| ComparedStep::new(joint, label, &runs, runs_before));
        Self {
            runs_before,
            threshold,
            wall: of_runs(|run| run.wall),
            cpu: of_runs(|run| run.cpu),
            processes: of_runs(|run| run.processes),
            steps: steps.collect(),
            names,
            runs,
        }
    }

    /// Whether the whole or a step became slower by more than the threshold, by more than the noise, and by at least the
    /// smallest growth that counts.
    pub fn has_regressions(&self) -> bool {
        !self.regressions().is_empty()
    }

    /// The whole comes first, then the steps with the largest growth.
    pub(super) fn regressions(&self) -> Vec<Regression> {
        let Some(threshold) = self.threshold else { return Vec::new() };
        let smallest = self.smallest();
        let mut slower: Vec<_> =
            (0..self.steps.len()).filter(|step| self.steps[*step].own.has_grown(threshold, smallest)).collect();
        slower.sort_by_key(|step| (Reverse(self.steps[*step].own.size()), *step));
        let whole = self.wall.has_grown(threshold, SMALLEST).then_some(Regression::Whole);
        whole.into_iter().chain(slower.into_iter().map(Regression::Step)).collect()
    }

    /// By how much something must be slower to be a regression. The noise and the smallest growth are left out if they make no
    /// difference.
    pub(super) fn limits(&self, style: &Style) -> String {
        let threshold = self.threshold.unwrap_or_default();
        let smallest = self.smallest();
        let grown = || {
            self.steps
                .iter()
                .map(|step| (&step.own, smallest))
                .chain([(&self.wall, SMALLEST)])
                .filter(|(amount, _)| amount.exceeds(threshold))
        };
        let mut limits = format!("more than {} %", threshold * 100.0);
        if grown().any(|(amount, _)| !amount.is_beyond_noise()) {
            limits.push_str(" and by more than the noise");
        }
        if grown().any(|(amount, smallest)| amount.is_beyond_noise() && amount.size() < smallest) {
            limits.push_str(&format!(" and by at least {}", duration(smallest, style)));
        }
        limits
    }

    /// The smallest growth of a step that counts.
    fn smallest(&self) -> u64 {
        SMALLEST.max(self.wall.before.median() / PART_OF_WHOLE)
    }

    /// Steps with an amount that changed by more than the noise, the largest change first; and how many changes were not
    /// more than the noise.
    pub(super) fn changed(&self, amount: impl Fn(&ComparedStep) -> &Change) -> (Vec<&ComparedStep>, usize) {
        let all = self.steps.iter().filter(|step| amount(step).size() > 0);
        let (mut changed, noise): (Vec<_>, Vec<_>) = all.partition(|step| amount(step).is_beyond_noise());
        changed.sort_by_key(|step| Reverse(amount(step).size()));
        (changed, noise.len())
    }

    /// The steps of both sides that ended in another way.
    pub(super) fn with_other_outcome(&self) -> Vec<&ComparedStep> {
        let mut steps: Vec<_> = self.steps.iter().filter(|step| step.has_other_outcome()).collect();
        // The failure that caused the others is the deepest.
        steps.sort_by_key(|step| Reverse(step.label.place.len()));
        steps
    }

    /// The topmost steps that only this side has, the longest first, with the steps below them added up.
    pub(super) fn only_on(&self, side: Presence) -> Vec<Branch<'_>> {
        let mut branches: Vec<Branch<'_>> = Vec::new();
        let mut branch_of: Vec<Option<usize>> = vec![None; self.steps.len()];
        for (index, step) in self.steps.iter().enumerate().filter(|(_, step)| step.presence == side) {
            let above = step.parent.and_then(|parent| branch_of[parent]);
            let branch = above.unwrap_or(branches.len());
            branch_of[index] = Some(branch);
            if branch == branches.len() {
                branches.push(Branch { top: step, processes: 0, own: 0 });
            }
            let amounts = |change: &Change| change.before.median().max(change.after.median());
            branches[branch].processes += amounts(&step.processes);
            branches[branch].own = branches[branch].own.saturating_add(amounts(&step.own));
        }
        branches.sort_by_key(|branch| Reverse(branch.own));
        branches
    }

    /// The steps of both sides with another command line, the largest change of own time first.
    pub(super) fn with_other_command(&self) -> Vec<&ComparedStep> {
        let mut steps: Vec<_> = self.steps.iter().filter(|step| step.has_other_command()).collect();
        steps.sort_by_key(|step| Reverse(step.own.size()));
        steps
    }

    /// Facts that make the comparison less certain.
    pub(super) fn notes(&self) -> Vec<String> {
        let (before, after) = self.runs.split_at(self.runs_before);
        let mut notes = Vec::new();
        for (side, runs) in [("before", before), ("after", after)] {
            let without_root = runs.iter().filter(|run| run.root_is_missing).count();
            if without_root > 0 {
                let of = if runs.len() == 1 {
                    String::new()
                } else {
                    format!(" in {without_root} of {} traces", runs.len())
                };
                notes.push(format!(
                    "{side}: the root span is missing{of}, so the outcome of the command is not known, and the time is from the first process to the last"
                ));
                continue;
            }
            let incomplete = runs.iter().filter(|run| !run.is_complete).count();
            if incomplete > 0 && runs.len() == 1 {
                notes.push(format!("{side}: the trace is incomplete, so steps can be missing"));
            } else if incomplete > 0 {
                notes.push(format!(
                    "{side}: {incomplete} of {} traces are incomplete, so steps can be missing",
                    runs.len()
                ));
            }
        }
        notes
    }
}

/// Steps that only one side has: the topmost of them, and all below it.
#[derive(Debug)]
pub(super) struct Branch<'a> {
    pub(super) top: &'a ComparedStep,
    pub(super) processes: u64,
    pub(super) own: u64,
}

impl ComparedStep {
    fn new(joint: Joint, label: StepLabel, runs: &[Run], runs_before: usize) -> Self {
        let steps: Vec<Option<&Step>> =
            joint.in_run.iter().zip(runs).map(|(step, run)| Some(&run.steps[(*step)?])).collect();
        let change =
            |amount: fn(&Step) -> u64| Change::new(steps.iter().map(|step| step.map_or(0, amount)), runs_before);
        let (before, after) = steps.split_at(runs_before);
        let side = |steps: &[Option<&Step>]| -> BTreeSet<Outcome> {
            let outcome = |step: &&Step| -> Outcome {
                step.failures.iter().map(|(reason, count)| (reason.clone(), *count)).collect()
            };
            steps.iter().flatten().map(outcome).collect()
        };
        let first = |steps: &[Option<&Step>]| steps.iter().flatten().next().map(|step| Arc::clone(&step.arguments));
        let command = |steps: &[Option<&'_ Step>]| steps.iter().flatten().next().map(|step| Arc::clone(&step.command));
        let commands = [command(before), command(after)];
        Self {
            parent: joint.parent,
            label,
            presence: match commands {
                [Some(_), None] => Presence::OnlyBefore,
                [None, _] => Presence::OnlyAfter,
                [Some(_), Some(_)] => Presence::Both,
            },
            processes: change(|step| step.processes),
            own: change(|step| step.own),
            cpu: change(|step| step.cpu),
            critical: change(|step| step.critical),
            outcomes: [side(before), side(after)],
            arguments: [first(before), first(after)],
            words: match &commands {
                [Some(before), Some(after)] => [only_in(before, after), only_in(after, before)],
                _ => Default::default(),
            },
        }
    }

    pub(super) fn has_other_outcome(&self) -> bool {
        self.presence == Presence::Both && self.outcomes[0] != self.outcomes[1]
    }

    pub(super) fn has_other_command(&self) -> bool {
        self.words.iter().any(|words| !words.is_empty())
    }

    /// How it ended on a side, for people: `ok`, `exit 1`, `2 × SIGSEGV`. Outcomes of several runs are joined by `or`.
    pub(super) fn outcome(&self, side: usize, style: &Style) -> String {
        let one = |outcome: &Outcome| match outcome.as_slice() {
            [] => "ok".to_owned(),
            failures => {
                let failure = |(reason, count): &(Untrusted, u64)| match count {
                    1 => style.show(reason),
                    _ => format!("{count} {} {}", style.times(), style.show(reason)),
                };
                failures.iter().map(failure).collect::<Vec<_>>().join(", ")
            }
        };
        self.outcomes[side].iter().map(one).collect::<Vec<_>>().join(" or ")
    }
}

/// The words of a command line that the other one does not have. Scripts of shells are split, too.
fn only_in(command: &str, other: &str) -> Vec<Untrusted> {
    let words = |text| <str>::split(text, [SEPARATOR, ' ', '\t', '\n']).filter(|word| !word.is_empty());
    let mut left: HashMap<&str, usize> = HashMap::new();
    words(other).for_each(|word| *left.entry(word).or_default() += 1);
    let mut missing = Vec::new();
    for word in words(command) {
        match left.get_mut(word) {
            Some(count) if *count > 0 => *count -= 1,
            _ => missing.push(word.into()),
        }
    }
    missing
}

/// All names, the largest change of own time first. A step has the same name in all runs.
fn names(joints: &[Joint], runs: &[Run], runs_before: usize) -> Vec<ComparedName> {
    let mut amounts: HashMap<&Untrusted, Vec<(u64, u64)>> = HashMap::new();
    for joint in joints {
        let of_runs = amounts.entry(&joint.name).or_insert_with(|| vec![(0, 0); runs.len()]);
        for ((amount, run), step) in of_runs.iter_mut().zip(runs).zip(&joint.in_run) {
            let Some(step) = step.map(|step| &run.steps[step]) else { continue };
            *amount = (amount.0 + step.processes, amount.1.saturating_add(step.own));
        }
    }
    let name = |(name, of_runs): (&Untrusted, Vec<(u64, u64)>)| ComparedName {
        name: name.clone(),
        processes: Change::new(of_runs.iter().map(|(processes, _)| *processes), runs_before),
        own: Change::new(of_runs.iter().map(|(_, own)| *own), runs_before),
    };
    let mut names: Vec<_> = amounts.into_iter().map(name).collect();
    names.sort_by(|one, other| other.own.size().cmp(&one.own.size()).then_with(|| one.name.cmp(&other.name)));
    names
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::steps::tests::run, *};
    use crate::story::{Story, story};

    /// A build. `slow` milliseconds for b.c, which has this option and exit code.
    pub(in crate::diff) fn build(slow: u64, option: &str, exit: i64) -> Story {
        story("make", 0, 1000 + slow)
            .cpu(10)
            .exits(exit)
            .starts("cc", 100, 300, |cc| cc.cpu(300).arguments(&["cc", "-O2", "-c", "a.c"]))
            .starts("cc", 400, slow, |cc| cc.cpu(slow).arguments(&["cc", option, "-c", "b.c"]).exits(exit))
    }

    pub(in crate::diff) fn compared(before: &[Story], after: &[Story], threshold: Option<f64>) -> Comparison {
        Comparison::new(before.iter().map(run).collect(), after.iter().map(run).collect(), threshold)
    }

    #[test]
    fn a_slower_step_is_a_regression_beyond_the_threshold() {
        let slower = |threshold| compared(&[build(500, "-O2", 0)], &[build(600, "-O2", 0)], threshold);
        let step = |comparison: &Comparison| match comparison.regressions().as_slice() {
            [Regression::Step(step)] => comparison.steps[*step].label.argument.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(step(&slower(Some(0.1))), Some("b.c".into()), "the whole grew by 7 %");
        assert_eq!(slower(Some(0.05)).regressions().len(), 2);
        assert_eq!(slower(Some(0.05)).regressions()[0], Regression::Whole);
        assert!(!slower(Some(0.2)).has_regressions() && !slower(None).has_regressions());
        assert!(!compared(&[build(600, "-O2", 0)], &[build(500, "-O2", 0)], Some(0.0)).has_regressions());
    }

    #[test]
    fn a_growth_within_the_noise_is_no_regression() {
        let runs = |slow: [u64; 3]| slow.map(|slow| build(slow, "-O2", 0));
        assert!(!compared(&runs([400, 500, 640]), &runs([560, 620, 610]), Some(0.1)).has_regressions());
        assert!(compared(&runs([490, 500, 510]), &runs([600, 610, 620]), Some(0.1)).has_regressions());
        // A new step did not become slower.
        let with = build(500, "-O2", 0).starts("ld", 900, 90, |ld| ld);
        assert!(!compared(&[build(500, "-O2", 0)], &[with], Some(0.1)).has_regressions());
    }

    #[test]
    fn a_small_step_is_no_regression() {
        let with = |length| build(5000, "-O2", 0).starts("sed", 5500, length, |sed| sed);
        assert!(!compared(&[with(20)], &[with(60)], Some(0.1)).has_regressions(), "less than 1 % of the whole");
        assert!(compared(&[with(20)], &[with(100)], Some(0.1)).has_regressions());
    }

    #[test]
    fn a_step_counts_for_one_name_if_a_rule_names_it_on_one_side() {
        let with = |name: &str| story("make", 0, 100).starts(name, 0, 50, |it| it.arguments(&["python3", "setup.py"]));
        let comparison = compared(&[with("python3")], &[with("python3 setup.py")], None);
        let names: Vec<_> = comparison.names.iter().map(|name| name.name.exact()).collect();
        assert_eq!(names, ["make", "python3"]);
    }

    #[test]
    fn only_the_topmost_new_step_is_shown_with_all_below_it() {
        let after = build(500, "-O2", 0).starts("sh", 950, 40, |sh| sh.starts("ld", 950, 30, |ld| ld));
        let comparison = compared(&[build(500, "-O2", 0)], &[after], None);
        let new = comparison.only_on(Presence::OnlyAfter);
        let shown: Vec<_> = new
            .iter()
            .map(|branch| (branch.top.label.place.last().unwrap().exact(), branch.processes, branch.own / 1_000_000))
            .collect();
        assert_eq!(shown, [("sh", 2, 40)]);
        assert!(comparison.only_on(Presence::OnlyBefore).is_empty());
    }

    #[test]
    fn an_incomplete_trace_is_noted() {
        let comparison = || compared(&[build(5, "", 0)], &[build(5, "", 0), build(5, "", 0)], None);
        assert_eq!(comparison().notes(), [""; 0]);
        let mut incomplete = comparison();
        incomplete.runs[0].is_complete = false;
        incomplete.runs[2].is_complete = false;
        assert_eq!(
            incomplete.notes(),
            [
                "before: the trace is incomplete, so steps can be missing",
                "after: 1 of 2 traces are incomplete, so steps can be missing"
            ]
        );
    }

    #[test]
    fn a_word_that_a_command_line_repeats_counts_each_time() {
        assert_eq!(only_in("cc\0-O0\0a.c\0a.c", "cc\0-O2\0a.c"), ["-O0".into(), "a.c".into()]);
        assert_eq!(only_in("sh\0-c\0cc  -O0 a.c", "sh\0-c\0cc -O2 a.c"), ["-O0".into()]);
    }
}
