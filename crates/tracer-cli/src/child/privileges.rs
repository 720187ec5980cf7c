//! The capabilities of process-tracer, and the user id with which it accesses files.
//!
//! Each thread has its own. The main thread drops file capabilities before the launch of the command, and root's after
//! it. Every other thread drops its capabilities before any other work. As root, three kinds of threads keep some
//! capabilities: those that write spans, the one that runs the command for tags, and the tracer of ptrace.

use std::io;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::{
    libc,
    unistd::{Gid, Uid, getegid, geteuid, getgid, getgroups, getuid, setfsgid, setfsuid},
};
use tracer_bpf::{Viewer, probe::hides_processes};

use crate::{child::user::Invoker, console, threads::apart};

/// Drops file capabilities before the command starts. They were needed only to attach the programs.
///
/// Root keeps its capabilities until the command runs, because the command inherits them. With `no_new_privs`, it could
/// not get dropped capabilities back.
pub(crate) fn drop_before_launch() {
    if !geteuid().is_root() {
        keep_or_warn(CapsHashSet::new());
    }
}

/// Drops root's capabilities once the command runs. It keeps CAP_KILL, to forward signals to a command that has changed
/// its user.
pub(crate) fn drop_after_launch() {
    if geteuid().is_root() {
        keep_or_warn(CapsHashSet::from([Capability::CAP_KILL]));
    }
}

/// Drops all capabilities in a thread of ours. By then, the programs are attached, and the files and sockets are open.
pub(crate) fn drop_in_thread() {
    keep_or_warn(CapsHashSet::new());
}

/// Drops capabilities in the thread that runs the command for tags. Root keeps those that change the user of a process and
/// end the processes of that user.
pub(crate) fn drop_in_tags() {
    let kept = [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL];
    keep_or_warn(kept.into_iter().filter(|_| geteuid().is_root()).collect());
}

/// Drops capabilities in a thread that writes spans. Under sudo, the thread becomes the invoker for all file accesses,
/// without capabilities. Root without sudo keeps access to the folders of other users. In a CI container, root works in
/// a folder that belongs to a user of the host. An ordinary user's thread drops all capabilities.
///
/// # Errors
///
/// The thread has not become the invoker. It must not access files.
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

/// Accesses files as the invoker: with their user id, group id and supplementary groups, and without capabilities.
///
/// # Errors
///
/// The errors of `act`. It is also an error if the kernel does not let us become the invoker.
pub(crate) fn as_invoker<T: Send>(invoker: &Invoker, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if is_invoker(invoker) {
        return act();
    }
    apart("files", || {
        become_invoker(invoker)?;
        act()
    })
}

/// Accesses files as root. A thread that has become the invoker has no capabilities. Without them, root is an ordinary
/// user: it can access only what the modes of files allow.
///
/// # Errors
///
/// The errors of `act`.
pub(crate) fn as_root<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    apart("files", || {
        setfsgid(getegid());
        setfsuid(geteuid());
        act()
    })
}

fn is_invoker(invoker: &Invoker) -> bool {
    // An invalid id has no effect: setfsuid(2). Both calls return the id of the thread.
    let (user, group) = (setfsuid(Uid::from_raw(u32::MAX)), setfsgid(Gid::from_raw(u32::MAX)));
    (user, group) == (invoker.uid, invoker.gid) && getgroups().is_ok_and(|groups| groups == invoker.groups)
}

/// Becomes the invoker until the thread ends.
fn become_invoker(invoker: &Invoker) -> io::Result<()> {
    let fail = |reason: String| io::Error::other(format!("cannot act as user {}: {reason}", invoker.uid));
    let groups: Vec<libc::gid_t> = invoker.groups.iter().map(|group| group.as_raw()).collect();
    // The C library's setgroups changes the groups of all threads, as POSIX demands: nptl(7). The system call changes
    // this thread only.
    // SAFETY: the groups outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result != 0 {
        return Err(fail(io::Error::last_os_error().to_string()));
    }
    setfsgid(invoker.gid);
    setfsuid(invoker.uid);
    // When a thread gives up root's id, the kernel removes CAP_DAC_OVERRIDE and similar capabilities, except with
    // SECBIT_NO_SETUID_FIXUP. So all capabilities are dropped here.
    keep(CapsHashSet::new()).map_err(|error| fail(error.to_string()))?;
    // The two calls report no errors.
    if is_invoker(invoker) { Ok(()) } else { Err(fail("the kernel does not allow it".to_owned())) }
}

/// The user who may see only what the kernel would show them. This is any user except root, also with file capabilities
/// on our binary.
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
    // The effective set comes first, because it must stay within the permitted set.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
