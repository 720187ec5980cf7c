//! Which failed child can be the reason for the failure of its parent. The model and the reports share these rules.

use crate::event::{ExitStatus, Image, base_name};

/// A process that failed, as the parent of other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedParent {
    /// How it ended.
    pub status: ExitStatus,
    /// It is a shell. See [`is_shell`].
    pub is_shell: bool,
}

/// How well the failure of a child explains the failure of its parent. A greater rank explains it better. If two ranks are
/// equal, the child that ended later explains it better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The parent has the exit code of the child, as a shell passes it on.
    has_same_code: bool,
    /// The child failed by itself. Others are often killed after the first failure.
    failed_by_itself: bool,
}

impl FailedParent {
    /// The rank of a failed child that ended before the parent did. `None`: it cannot be the reason.
    ///
    /// If somebody killed the parent with a signal, a child is not the reason, unless both have the same exit code. For
    /// example, Ctrl-C sends SIGINT to both.
    ///
    /// ```
    /// use tracer_model::{ExitStatus::Code, blame::FailedParent};
    ///
    /// let make = FailedParent { status: Code(2), is_shell: false };
    /// assert!(make.rank(Code(2)) > make.rank(Code(1)));
    /// assert_eq!(make.rank(Code(0)), None);
    /// ```
    #[must_use]
    pub fn rank(self, child: ExitStatus) -> Option<Rank> {
        let has_same_code = child.shell_code() == self.status.shell_code();
        let is_possible = child.has_failed() && self.status.has_failed() && (has_same_code || !self.status.is_kill());
        is_possible.then_some(Rank { has_same_code, failed_by_itself: !child.is_kill() })
    }

    /// Whether the failure of this child can explain the exit code of the parent. A shell ends with the code of a command, or with
    /// one of its own. So a child with another exit code does not explain it.
    #[must_use]
    pub fn is_explained_by(self, child: ExitStatus) -> bool {
        let has_same_code = || child.shell_code() == self.status.shell_code();
        self.rank(child).is_some() && (!self.is_shell || has_same_code())
    }

    /// Whether each failed child can be a reason. Otherwise only the child of the greatest rank can.
    ///
    /// A shell script runs many commands that may fail, such as grep or test. Its exit code is the exit code of one
    /// command. Other programs, such as make with `-k`, go on after a failure, and fail in the end.
    #[must_use]
    pub fn may_have_several_reasons(self) -> bool {
        !self.is_shell
    }
}

/// Whether a program stops after a child has failed: it then starts no more children. make stops, except with `-k`. `arguments`
/// begin with the program.
#[must_use]
pub fn stops_at_failure(arguments: &[&str]) -> bool {
    let Some((program, options)) = arguments.split_first() else { return false };
    // `-j2k` is `-j2 -k`. If an option begins with one of the letters below, the rest is its value: `-fMakefile.k`.
    let keeps_going = |option: &&str| {
        let letters = option.strip_prefix('-').filter(|rest| !rest.starts_with(['-', 'f', 'C', 'I', 'o', 'W', 'E']));
        option.starts_with("--keep-going") || letters.is_some_and(|letters| letters.contains('k'))
    };
    matches!(base_name(program), "make" | "gmake" | "ninja" | "samu") && !options.iter().any(keeps_going)
}

/// The base names of shells.
const SHELLS: [&str; 15] = [
    "sh", "dash", "bash", "ash", "rbash", "zsh", "ksh", "ksh93", "mksh", "oksh", "posh", "yash", "fish", "hush", "osh",
];

/// busybox contains many programs. One of them is a shell.
const BUSYBOX: &str = "busybox";

/// Whether a program is a shell. `executable` is the mapped file, `command` the first argument. busybox is a shell if it is
/// called by the name of a shell. A script of busybox is a shell script.
#[must_use]
pub fn is_shell(executable: &str, command: &str, is_script: bool) -> bool {
    let is_name = |name: &str| SHELLS.contains(&name);
    match base_name(executable) {
        // A login shell is called `-sh`.
        BUSYBOX => is_script || is_name(base_name(command).trim_start_matches('-')),
        name => is_name(name),
    }
}

/// Whether this image is a shell.
#[must_use]
pub fn runs_shell(image: &Image) -> bool {
    let command = image.arguments.iter().next().unwrap_or_default();
    is_shell(image.executable.as_deref().unwrap_or(&image.file), &command, image.is_script)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ExitStatus::{Code, Withheld};

    fn killed(number: u8) -> ExitStatus {
        ExitStatus::Signal { number, core_dumped: false }
    }

    #[test]
    fn the_same_exit_code_explains_a_failure_best() {
        let sh = FailedParent { status: Code(1), is_shell: true };
        assert!(sh.rank(Code(1)) > sh.rank(Code(2)));
        assert!(sh.rank(Code(2)) > sh.rank(killed(9)));
        let sh = FailedParent { status: Code(128 + 13), is_shell: true };
        assert!(sh.rank(killed(13)) > sh.rank(Code(1)), "a shell shows a signal as 128 + N");
    }

    #[test]
    fn a_success_explains_nothing() {
        let make = FailedParent { status: Code(2), is_shell: false };
        assert_eq!([make.rank(Code(0)), make.rank(Withheld)], [None; 2]);
        let make = FailedParent { status: Code(0), is_shell: false };
        assert_eq!(make.rank(Code(1)), None);
        let sudo = FailedParent { status: Withheld, is_shell: false };
        assert_eq!(sudo.rank(Withheld), None);
    }

    #[test]
    fn only_the_same_signal_explains_a_kill() {
        let make = FailedParent { status: killed(15), is_shell: false };
        assert_eq!(make.rank(Code(1)), None);
        assert!(make.rank(killed(15)).is_some());
        let crashed = FailedParent { status: killed(6), is_shell: false };
        assert!(crashed.rank(Code(1)).is_some(), "a program may abort because a child failed");
    }

    #[test]
    fn only_the_same_exit_code_explains_the_exit_code_of_a_shell() {
        let sh = FailedParent { status: Code(3), is_shell: true };
        assert!(sh.is_explained_by(Code(3)) && !sh.is_explained_by(Code(2)));
        assert!(FailedParent { is_shell: false, ..sh }.is_explained_by(Code(2)));
        assert!(!FailedParent { is_shell: false, ..sh }.is_explained_by(Code(0)));
    }

    #[test]
    fn make_stops_at_a_failure_unless_it_keeps_going() {
        assert!(stops_at_failure(&["/usr/bin/make", "-j2", "-fMakefile.k", "-C", "k", "all"]));
        for option in ["-k", "-j2k", "--keep-going", "-ik", "-k0"] {
            assert!(!stops_at_failure(&["make", "all", option]), "{option}");
        }
        assert!(!stops_at_failure(&["pytest"]) && !stops_at_failure(&[]));
    }

    #[test]
    fn busybox_is_a_shell_if_it_is_called_by_the_name_of_a_shell() {
        assert!(is_shell("/usr/bin/dash", "sh", false));
        assert!(is_shell("/bin/busybox", "-sh", false) && is_shell("/bin/busybox", "/bin/ash", false));
        assert!(is_shell("/bin/busybox", "./configure", true));
        assert!(!is_shell("/bin/busybox", "make", false) && !is_shell("/usr/bin/make", "sh", false));
    }
}
