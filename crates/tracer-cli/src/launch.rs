//! Starts the command as it would have been started without us.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
};

use crate::{inheritance::Inheritance, user::User};

/// Puts a variable into our own environment, from which the command inherits it; `None` takes it out. In place, so that
/// the rest keeps its order and its oddities.
///
/// Call it before there is a second thread.
pub(crate) fn set_variable(name: &str, value: Option<&str>) {
    match value {
        // SAFETY: no other thread exists that could read the environment.
        Some(value) => unsafe { env::set_var(name, value) },
        // SAFETY: as above.
        None => unsafe { env::remove_var(name) },
    }
}

/// Forks and executes the command, with what it is to inherit, and as another user if there is one.
///
/// # Errors
///
/// That of exec: `ENOENT` if the command is not found.
pub(crate) fn launch(command: &[OsString], inheritance: Inheritance, user: Option<User>) -> io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: the closure only makes async-signal-safe system calls. It runs after what the standard library does to
    // signals.
    unsafe {
        command.pre_exec(move || {
            inheritance.restore()?;
            user.as_ref().map_or(Ok(()), User::become_it)
        })
    };
    command.spawn()
}
