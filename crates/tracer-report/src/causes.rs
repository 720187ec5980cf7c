//! The causes of the command's failure: processes with a failure that can have reached the root.
//!
//! The rules for one parent and its children are those of the model: see [`blame`] and [`traps`](tracer_model::traps).

use tracer_model::{
    blame::{self, FailedParent, Rank},
    traps::{has_script, runs_in_trap},
};

use crate::{
    analysis::Tree,
    row::{Kind, Rows},
    untrusted::Untrusted,
};

/// Where a failure began. `chain` and `before` are indices of rows. Parents come before children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) chain: Vec<usize>,
    /// Another failure to show with this cause, or empty. If the chain ends at a shell, this is the last failure below the
    /// shell. The shell ended with another code, so it is not known whether this failure is the reason. If the last process of
    /// the chain may be a command of a trap, this is the failure before that process. See [`before_trap`].
    pub(crate) before: Vec<usize>,
    /// How many times this happened: the same command line failed in the same way at the same place.
    pub(crate) times: usize,
}

/// The causes of a failure, in the order of their ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Causes {
    pub(crate) causes: Vec<Cause>,
    /// More causes, which ended earlier.
    pub(crate) earlier: usize,
}

/// The most causes to keep.
const CAUSES: usize = 100;

/// A process that failed, and the way to it.
struct Step {
    row: usize,
    /// The place of the step above.
    above: Option<usize>,
    /// A program above it goes on after a failure.
    keeps_going: bool,
}

impl Causes {
    /// Whether this process is the only cause, and no failure came before it.
    pub(crate) fn is_only(&self, row: usize) -> bool {
        self.earlier == 0
            && matches!(&self.causes[..], [Cause { chain, before, .. }] if chain[..] == [row] && before.is_empty())
    }

    /// Empty if the root did not fail.
    pub(crate) fn new(rows: &Rows, tree: &Tree) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        if rows.rows[tree.root].exit.is_some() {
            steps.push(Step { row: tree.root, above: None, keeps_going: false });
        }
        let mut ends: Vec<usize> = Vec::new();
        let mut next = 0;
        while let Some(&Step { row, keeps_going, .. }) = steps.get(next) {
            let stops = stops_at_failure(rows, row);
            let reasons = reasons(rows, tree, row, stops && !keeps_going);
            if reasons.is_empty() {
                ends.push(next);
            }
            let keeps_going = keeps_going || may_keep_going(rows, row) && !stops;
            steps.extend(reasons.into_iter().map(|row| Step { row, above: Some(next), keeps_going }));
            next += 1;
        }
        ends.sort_by_key(|end| rows.rows[steps[*end].row].end);
        let earlier = ends.len().saturating_sub(CAUSES);
        let cause = |end: &usize| {
            let mut chain = Vec::new();
            let mut place = Some(*end);
            while let Some(Step { row, above, .. }) = place.map(|place| &steps[place]) {
                chain.push(*row);
                place = *above;
            }
            chain.reverse();
            let mut before = before(rows, tree, steps[*end].row);
            if before.is_empty() {
                before = before_trap(rows, tree, &chain);
            }
            Cause { before, chain, times: 1 }
        };
        let mut causes: Vec<Cause> = Vec::new();
        for mut cause in ends[earlier..].iter().map(cause) {
            if let Some(same) = causes.iter().position(|other| are_alike(rows, other, &cause)) {
                cause.times += causes.remove(same).times;
            }
            causes.push(cause);
        }
        Self { causes, earlier }
    }

    /// Whether the chain of a cause ends at this process.
    pub(crate) fn contain(&self, row: usize) -> bool {
        self.causes.iter().any(|cause| cause.chain.last() == Some(&row))
    }
}

/// Whether two causes would look the same in a report.
fn are_alike(rows: &Rows, one: &Cause, other: &Cause) -> bool {
    let names = |cause: &Cause| -> Vec<_> { cause.chain.iter().map(|row| rows.rows[*row].name).collect() };
    let last = |cause: &Cause| cause.chain.last().map(|row| (rows.rows[*row].failure, rows.call(*row)));
    let (Some((failure, Some(call))), Some((other_failure, Some(other_call)))) = (last(one), last(other)) else {
        return false;
    };
    failure == other_failure
        && call == other_call
        && names(one) == names(other)
        && one.before.is_empty()
        && other.before.is_empty()
}

/// The failed children that can explain the failure of a process, each with its rank.
fn possible<'a>(rows: &'a Rows, tree: &'a Tree, row: usize) -> impl Iterator<Item = (Rank, u64, usize)> + 'a {
    let parent = parent(rows, row);
    let shell = parent.filter(|parent| parent.is_shell).and_then(|_| rows.call(row));
    let end = rows.rows[row].end;
    tree.children(row).iter().filter_map(move |child| {
        let child = *child as usize;
        let rank = parent?.rank(rows.rows[child].exit?)?;
        let is_trapped = || {
            let (Some(shell), Some(child)) = (shell, rows.call(child)) else { return false };
            let command: Vec<_> = child.arguments.iter().map(Untrusted::exact).collect();
            runs_in_trap(shell.arguments.iter().map(Untrusted::exact), &command)
        };
        (rows.rows[child].end <= end && !is_trapped()).then_some((rank, rows.rows[child].end, child))
    })
}

fn parent(rows: &Rows, row: usize) -> Option<FailedParent> {
    Some(FailedParent { status: rows.rows[row].exit?, is_shell: rows.rows[row].is_shell })
}

/// The failed children that are a reason for the failure of a process.
fn reasons(rows: &Rows, tree: &Tree, row: usize, stops_at_failure: bool) -> Vec<usize> {
    let Some(parent) = parent(rows, row) else { return Vec::new() };
    let explains = |child: usize| rows.rows[child].exit.is_some_and(|exit| parent.is_explained_by(exit));
    let possible: Vec<_> = possible(rows, tree, row).filter(|(.., child)| explains(*child)).collect();
    let Some(best) = possible.iter().max().map(|(.., child)| *child) else { return Vec::new() };
    if !parent.may_have_several_reasons() {
        return vec![best];
    }
    let is_kill = |child: usize| rows.rows[child].exit.is_some_and(|exit| exit.is_kill());
    // After one child fails, the others are often killed.
    let by_itself = possible.iter().any(|(.., child)| !is_kill(*child));
    let mut reasons: Vec<usize> = possible.iter().map(|(.., child)| *child).collect();
    reasons.retain(|child| !(by_itself && is_kill(*child)));
    if stops_at_failure {
        // If the process started more children after a failure, it ignored this failure.
        let mut children = tree.children(row).iter().map(|child| &rows.rows[*child as usize]);
        let last_start = children.rfind(|child| child.kind == Kind::Process).map_or(0, |child| child.start);
        let stopped = |child: &usize| rows.rows[*child].end > last_start || rows.rows[*child].start == last_start;
        if reasons.iter().any(stopped) {
            reasons.retain(stopped);
        }
    }
    reasons
}

/// The best possible reason below a process, the best one below that one, and so on. They need not explain the exit code of the
/// process. Empty if there is none.
fn before(rows: &Rows, tree: &Tree, row: usize) -> Vec<usize> {
    let mut chain = Vec::new();
    let mut above = row;
    while let Some((.., child)) = possible(rows, tree, above).max() {
        chain.push(child);
        above = child;
    }
    chain
}

/// A trap rarely starts more processes than this.
const TRAP: usize = 3;

/// Returns an earlier failure below a shell of `chain` whose script is not known, and the failures below that one. Empty if
/// there is none.
///
/// The failed child of the shell in `chain` may be a command of a trap. Then an earlier failure can be the reason, because the
/// shell ends with the status that it had before the trap.
fn before_trap(rows: &Rows, tree: &Tree, chain: &[usize]) -> Vec<usize> {
    let other = |shell: usize, last: usize| {
        let parent = parent(rows, shell).filter(|parent| parent.is_shell)?;
        let is_known =
            |shell| rows.call(shell).is_none_or(|call| has_script(call.arguments.iter().map(Untrusted::exact)));
        if is_known(shell) {
            return None;
        }
        let explains = |child: usize| rows.rows[child].exit.is_some_and(|exit| parent.is_explained_by(exit));
        let earlier = possible(rows, tree, shell)
            .map(|(.., child)| child)
            .filter(|child| *child != last && explains(*child) && rows.rows[*child].end <= rows.rows[last].start);
        let other = earlier.max_by_key(|child| rows.rows[*child].end)?;
        let children = tree.children(shell).iter().map(|child| &rows.rows[*child as usize]);
        let later = children.filter(|child| child.kind == Kind::Process && child.start >= rows.rows[other].end);
        (later.count() <= TRAP).then_some(other)
    };
    let other = chain.windows(2).rev().find_map(|pair| other(pair[0], pair[1]));
    other.map_or(Vec::new(), |other| [vec![other], before(rows, tree, other)].concat())
}

fn stops_at_failure(rows: &Rows, row: usize) -> bool {
    let Some(call) = rows.call(row) else { return false };
    blame::stops_at_failure(&call.arguments.iter().map(Untrusted::exact).collect::<Vec<_>>())
}

/// Whether it is a program that stops at a failure, unless an option says otherwise.
fn may_keep_going(rows: &Rows, row: usize) -> bool {
    let program = rows.call(row).and_then(|call| call.arguments.first());
    program.is_some_and(|program| blame::stops_at_failure(&[program.exact()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Story, story};

    /// The names in the chain of each cause. After a `|`, the names in `before`.
    fn causes(story: &Story) -> Vec<String> {
        let rows = story.rows();
        let tree = Tree::grow(&rows.rows).unwrap();
        let names = |chain: &[usize]| {
            chain.iter().map(|row| rows.text(rows.rows[*row].name).exact()).collect::<Vec<_>>().join(" ")
        };
        let shown = |cause: &Cause| match &cause.before[..] {
            [] => names(&cause.chain),
            before => format!("{} | {}", names(&cause.chain), names(before)),
        };
        Causes::new(&rows, &tree).causes.iter().map(shown).collect()
    }

    #[test]
    fn the_cause_is_the_deepest_failed_process() {
        let story = story("make", 0, 100)
            .exits(2)
            .starts("test", 5, 5, |test| test.exits(1))
            .starts("sh", 10, 80, |sh| sh.exits(1).starts("cc", 20, 30, |cc| cc.exits(1)))
            .starts("ok", 11, 1, |ok| ok);
        assert_eq!(causes(&story), ["make sh cc"], "make ignores the failure of test, and goes on");
    }

    #[test]
    fn a_killed_process_is_not_the_cause_if_another_failed() {
        let story = story("sh", 0, 100)
            .exits(3)
            .starts("a", 5, 20, |a| a.exits(3))
            .starts("b", 6, 50, |b| b.dies())
            .starts("false", 60, 5, |last| last.exits(1));
        assert_eq!(causes(&story), ["sh a"]);
        let story =
            self::story("make", 0, 100).exits(2).starts("a", 5, 20, |a| a.exits(3)).starts("b", 6, 50, |b| b.dies());
        assert_eq!(causes(&story), ["make a"]);
    }

    #[test]
    fn an_earlier_failure_is_not_the_cause_of_a_kill() {
        let story = story("sh", 0, 100).dies_by("SIGTERM").starts("grep", 5, 5, |grep| grep.exits(1));
        assert_eq!(causes(&story), ["sh"]);
    }

    #[test]
    fn all_failures_of_make_that_keeps_going_are_causes() {
        let build = |options: &[&str]| {
            let recipe = |name: &'static str, make: Story, start| {
                make.starts("sh", start, 10, |sh| sh.exits(1).starts(name, start + 1, 5, |cc| cc.exits(1)))
            };
            let make = story("make", 1, 90).exits(2).arguments(&["make", "-C", "src"]);
            let make = recipe("c", recipe("b", recipe("a", make, 5), 20), 40);
            causes(&story("make", 0, 100).arguments(&[&["make"], options].concat()).exits(2).above(make))
        };
        assert_eq!(build(&["-j2", "-k"]), ["make make sh a", "make make sh b", "make make sh c"]);
        assert_eq!(build(&[]), ["make make sh c"]);
    }

    #[test]
    fn the_same_failure_is_one_cause() {
        let probe = |make: Story, at, file: &str| make.starts("cc", at, 1, |cc| cc.exits(1).arguments(&["cc", file]));
        let make = story("make", 0, 100).exits(2).arguments(&["make", "-k"]);
        let rows = probe(probe(probe(make, 5, "a.c"), 10, "b.c"), 20, "a.c").rows();
        let causes = Causes::new(&rows, &Tree::grow(&rows.rows).unwrap()).causes;
        let ends: Vec<_> = causes.iter().map(|cause| (cause.chain[1], cause.times)).collect();
        assert_eq!(ends, [(1, 1), (2, 2)]);
    }

    #[test]
    fn failures_at_the_same_time_are_all_causes() {
        let story = story("make", 0, 100)
            .exits(2)
            .starts("cc", 5, 50, |cc| cc.exits(1))
            .starts("ld", 6, 30, |ld| ld.exits(1))
            .starts("ok", 7, 90, |ok| ok);
        assert_eq!(causes(&story), ["make ld", "make cc"]);
        let tests =
            self::story("pytest", 0, 100).exits(1).starts("a", 5, 5, |a| a.exits(1)).starts("b", 20, 5, |b| b.exits(3));
        assert_eq!(causes(&tests), ["pytest a", "pytest b"]);
    }

    #[test]
    fn a_failure_that_cannot_explain_the_exit_code_of_the_shell_is_not_the_cause() {
        let story = story("bash", 0, 100)
            .exits(3)
            .starts("make", 5, 50, |make| make.exits(2).starts("cc", 6, 20, |cc| cc.exits(1)))
            .starts("grep", 60, 5, |grep| grep);
        assert_eq!(causes(&story), ["bash | make cc"]);
    }

    #[test]
    fn a_command_of_a_trap_is_not_the_cause() {
        let script = |script| {
            story("bash", 0, 100)
                .exits(1)
                .arguments(&["bash", "-c", script])
                .starts("gcc", 5, 50, |gcc| gcc.exits(1))
                .starts("grep", 60, 5, |grep| grep.exits(1).arguments(&["grep", "x", "log"]))
        };
        assert_eq!(causes(&script("trap 'grep x log' EXIT; gcc")), ["bash gcc"]);
        assert_eq!(causes(&script("gcc; grep x log")), ["bash grep"]);
    }

    #[test]
    fn the_earlier_failure_is_shown_if_the_last_one_may_be_a_command_of_a_trap() {
        let script = |arguments: &[&str]| {
            story("bash", 0, 100)
                .exits(1)
                .arguments(arguments)
                .starts("test", 1, 1, |test| test.exits(1))
                .starts("make", 5, 50, |make| make.exits(1).starts("cc", 6, 9, |cc| cc.exits(1)))
                .starts("rm", 60, 5, |rm| rm)
                .starts("grep", 70, 5, |grep| grep.exits(1))
        };
        assert_eq!(causes(&script(&["/bin/bash", "./build.sh"])), ["bash grep | make cc"]);
        assert_eq!(causes(&script(&["bash", "-o", "pipefail", "-e", "build.sh", "-c"])), ["bash grep | make cc"]);
        assert_eq!(causes(&script(&["bash"])), ["bash grep | make cc"], "the script comes from stdin");
        assert_eq!(causes(&script(&["bash", "-o", "pipefail", "-ec", "make; rm x; grep y"])), ["bash grep"]);
        let above = story("make", 0, 200).exits(2).above(script(&["sh", "build.sh"]));
        assert_eq!(causes(&above), ["make bash grep | make cc"]);
        let long = (0..9).fold(script(&["sh", "build.sh"]), |sh, i| sh.starts("true", 61 + i, 1, |it| it));
        assert_eq!(causes(&long), ["bash grep"], "a trap seldom runs so many commands");
    }

    #[test]
    fn a_trap_that_ends_with_a_code_of_its_own_hides_the_cause() {
        let script = |script, code| {
            story("sh", 0, 100)
                .exits(1)
                .arguments(&["sh", "-c", script])
                .starts("ls", 5, 50, |ls| ls.exits(code).arguments(&["ls", "/nope"]))
                .starts("rm", 60, 5, |rm| rm.exits(1).arguments(&["rm", "nofile"]))
        };
        let of_its_own = "trap \"rm nofile; exit 1\" EXIT; false; ls /nope";
        assert_eq!(causes(&script(of_its_own, 2)), ["sh | ls"]);
        assert_eq!(causes(&script(of_its_own, 1)), ["sh ls"]);
        assert_eq!(causes(&script("trap \"rm nofile || exit 1\" EXIT; ls /nope", 2)), ["sh rm"]);
    }

    #[test]
    fn a_long_chain_and_many_causes_are_limited() {
        let deep = (0..200).fold(story("last", 0, 1).exits(1), |inner, _| story("x", 0, 1).exits(1).above(inner));
        assert_eq!(causes(&deep)[0].split(' ').count(), 201);
        let many = (0..150).fold(story("x", 0, 900).exits(1), |x, i| {
            x.starts("a", i, 1, |a| a.exits(1).arguments(&["a", &i.to_string()]))
        });
        let rows = many.rows();
        let causes = Causes::new(&rows, &Tree::grow(&rows.rows).unwrap());
        assert_eq!((causes.causes.len(), causes.earlier), (CAUSES, 50));
    }
}
