//! Our capabilities, and in whose name we touch files.
//!
//! Both are a thread's own: the main thread drops its capabilities around the launch, every other first of all.

use std::io;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::{
    libc,
    unistd::{Gid, Uid, getegid, geteuid, getgid, getgroups, getuid, setfsgid, setfsuid},
};
use tracer_bpf::{Viewer, probe::hides_processes};

use crate::{child::user::Invoker, console, threads::apart};

/// Before the command starts: with file capabilities on our binary, nothing but the attached programs needs them.
///
/// Root keeps its own until the command runs: it is the command's to inherit, and under `no_new_privs` it could not get
/// back what we had dropped.
pub(crate) fn drop_before_launch() {
    if !geteuid().is_root() {
        keep_or_warn(CapsHashSet::new());
    }
}

/// Once the command runs. What root keeps is leave to forward signals to a command that has changed its user.
pub(crate) fn drop_after_launch() {
    if geteuid().is_root() {
        keep_or_warn(CapsHashSet::from([Capability::CAP_KILL]));
    }
}

/// In a thread of ours: all of them, since what they were for is attached, open and connected.
pub(crate) fn drop_in_thread() {
    keep_or_warn(CapsHashSet::new());
}

/// In a thread that writes spans. Under sudo the thread becomes the invoker for all that it does with files, without
/// capabilities. Root without sudo keeps its access to folders of others: in a CI container root works in the folder of a user
/// outside. An ordinary user's thread drops all capabilities.
///
/// # Errors
///
/// The thread is not the invoker, and must not touch files.
pub(crate) fn drop_in_sink() -> io::Result<()> {
    match Invoker::of_root() {
        Some(invoker) => become_invoker(invoker),
        None => {
            let is_root = geteuid().is_root();
            keep_or_warn(is_root.then_some(Capability::CAP_DAC_OVERRIDE).into_iter().collect());
            Ok(())
        }
    }
}

/// Does something with files as the invoker: with their user id, group id and supplementary groups, and no capabilities.
///
/// # Errors
///
/// Those of `act`; and if the kernel does not let us become the invoker.
pub(crate) fn as_invoker<T: Send>(invoker: &Invoker, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if is_invoker(invoker) {
        return act();
    }
    apart("files", || {
        become_invoker(invoker)?;
        act()
    })
}

/// Does something with files as root. A thread that became the invoker has no capabilities: there, root can do what the
/// owner of a file can.
///
/// # Errors
///
/// Those of `act`.
pub(crate) fn as_root<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    apart("files", || {
        setfsgid(getegid());
        setfsuid(geteuid());
        act()
    })
}

fn is_invoker(invoker: &Invoker) -> bool {
    // An invalid id changes nothing: setfsuid(2). Both give the id that the thread has.
    let (user, group) = (setfsuid(Uid::from_raw(u32::MAX)), setfsgid(Gid::from_raw(u32::MAX)));
    (user, group) == (invoker.uid, invoker.gid) && getgroups().is_ok_and(|groups| groups == invoker.groups)
}

/// For the rest of the thread.
fn become_invoker(invoker: &Invoker) -> io::Result<()> {
    let fail = |reason: String| io::Error::other(format!("cannot act as user {}: {reason}", invoker.uid));
    let groups: Vec<libc::gid_t> = invoker.groups.iter().map(|group| group.as_raw()).collect();
    // The C library's setgroups changes the groups of all threads, as POSIX has it: nptl(7). The kernel's changes this one.
    // SAFETY: the groups outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result != 0 {
        return Err(fail(io::Error::last_os_error().to_string()));
    }
    setfsgid(invoker.gid);
    setfsuid(invoker.uid);
    // The kernel takes CAP_DAC_OVERRIDE and its kind away with root's id, but not under SECBIT_NO_SETUID_FIXUP.
    keep(CapsHashSet::new()).map_err(|error| fail(error.to_string()))?;
    // Neither of the two calls reports an error.
    if is_invoker(invoker) { Ok(()) } else { Err(fail("the kernel does not allow it".to_owned())) }
}

/// Who is to be shown no more than the kernel would show them: anybody but root, whatever capabilities our binary has.
pub(crate) fn viewer() -> Option<Viewer> {
    (!geteuid().is_root()).then(|| Viewer {
        user_id: getuid().as_raw(),
        group_id: getgid().as_raw(),
        hides_processes: hides_processes(&getgroups().unwrap_or_default()),
    })
}

fn keep_or_warn(wanted: CapsHashSet) {
    if let Err(error) = keep(wanted) {
        console::warn(format_args!("cannot drop capabilities: {error}"));
    }
}

fn keep(wanted: CapsHashSet) -> Result<(), CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = wanted.intersection(&held).copied().collect();
    // Effective first: it has to stay within what is permitted.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
