//! Where our own files are between runs, by the XDG Base Directory specification.

use std::{env, fs, os::unix::fs::MetadataExt, path::PathBuf};

use nix::unistd::{User, geteuid};

/// `$XDG_STATE_HOME/process-tracer`, else `~/.local/state/process-tracer`. `~` is not `HOME` if that is somebody else's, as
/// some sudoers have it: without our capabilities we could not write there.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || {
        let is_ours = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.uid() == geteuid().as_raw());
        named("HOME").filter(is_ours).or_else(|| Some(User::from_uid(geteuid()).ok()??.dir))
    };
    let state = named("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")))?;
    Some(state.join("process-tracer"))
}
