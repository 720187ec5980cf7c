//! Our capabilities, and getting rid of them.
//!
//! They are a thread's own: the main thread drops its own around the launch, every other first of all.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{getegid, geteuid, getgid, getgroups, getuid, setfsgid, setfsuid};
use tracer_bpf::{Viewer, probe::hides_processes};

use crate::{console, user::invoker};

/// Before the command starts: with file capabilities on our binary, nothing but the attached programs needs them.
///
/// Root keeps its own until the command runs: it is the command's to inherit, and under `no_new_privs` it could not get
/// back what we had dropped.
pub(crate) fn drop_before_launch() {
    if !geteuid().is_root() {
        keep(CapsHashSet::new());
    }
}

/// Once the command runs. What root keeps is leave to forward signals to a command that has changed its user.
pub(crate) fn drop_after_launch() {
    if geteuid().is_root() {
        keep(CapsHashSet::from([Capability::CAP_KILL]));
    }
}

/// In a thread of ours: all of them, since what they were for is attached, open and connected.
pub(crate) fn drop_in_thread() {
    keep(CapsHashSet::new());
}

/// In a thread that writes what there is to keep: as [`drop_in_thread`], and files are made in the name of whoever has called
/// sudo, where they may make some.
pub(crate) fn drop_in_sink() {
    if geteuid().is_root()
        && let Some((user, group)) = invoker()
    {
        setfsgid(group);
        setfsuid(user);
    }
    drop_in_thread();
}

/// Does something that [`drop_in_sink`] has left to whoever has called sudo, as who we are.
pub(crate) fn as_ourselves<T>(act: impl FnOnce() -> T) -> T {
    let (user, group) = (setfsuid(geteuid()), setfsgid(getegid()));
    let result = act();
    setfsgid(group);
    setfsuid(user);
    result
}

/// Who is to be shown no more than the kernel would show them: anybody but root, whatever capabilities our binary has.
pub(crate) fn viewer() -> Option<Viewer> {
    (!geteuid().is_root()).then(|| Viewer {
        user_id: getuid().as_raw(),
        group_id: getgid().as_raw(),
        hides_processes: hides_processes(&getgroups().unwrap_or_default()),
    })
}

fn keep(wanted: CapsHashSet) {
    let held = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let kept: CapsHashSet = wanted.intersection(&held).copied().collect();
    // Effective first: it has to stay within what is permitted.
    for set in [CapSet::Effective, CapSet::Permitted] {
        if let Err(error) = caps::set(None, set, &kept) {
            console::warn(format_args!("cannot drop capabilities: {error}"));
        }
    }
}
