//! The folder of our own files between runs. It follows the XDG Base Directory specification.

use std::{env, fs, os::unix::fs::MetadataExt, path::PathBuf};

use nix::unistd::geteuid;

use crate::{accounts::Account, child::user::Invoker};

/// `$XDG_STATE_HOME/process-tracer`, else `~/.local/state/process-tracer`. Under sudo, `~` is the home of the user who
/// called sudo. `HOME` counts only if it belongs to the user.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // Under sudo, the kept files belong to the user who called sudo.
    let owner = Invoker::of_root().map_or_else(geteuid, |invoker| invoker.uid);
    let home = || {
        let is_ours = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.uid() == owner.as_raw());
        named("HOME").filter(is_ours).or_else(|| Some(Account::of_number(owner).ok()??.home))
    };
    let state = named("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")))?;
    Some(state.join("process-tracer"))
}
