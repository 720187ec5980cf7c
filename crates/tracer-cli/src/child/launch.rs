//! Starts the command in the state in which it would run without process-tracer.

use std::{env, ffi::OsString, io, os::unix::process::CommandExt, process::Command};

use tracer_model::source::{AfterFork, Child, Spawn};

use crate::{
    child::{inheritance::Inheritance, user::User, wait::Forked},
    threads::SingleThread,
};

/// Sets a variable in our own environment. The command inherits it. `None` removes the variable. All other variables
/// keep their order, also malformed ones.
pub(crate) fn set_variable(name: &str, value: Option<&str>, _: &SingleThread) {
    match value {
        // SAFETY: no other thread exists that could read the environment.
        Some(value) => unsafe { env::set_var(name, value) },
        // SAFETY: no other thread exists that could read the environment.
        None => unsafe { env::remove_var(name) },
    }
}

/// Returns a function that forks and executes the command. The command gets its inheritance back, and becomes `user`.
pub(crate) fn spawn(command: Vec<OsString>, inheritance: Inheritance, user: Option<User>) -> Spawn {
    Box::new(move |after_fork| {
        let id = fork(&command, inheritance, user, after_fork)?;
        Ok(Box::new(Forked::new(id)) as Box<dyn Child>)
    })
}

/// Executes the command in place of process-tracer, which needs neither a process nor a descriptor. Returns only if that is
/// impossible.
pub(crate) fn replace(command: &[OsString], inheritance: Inheritance, user: Option<User>) -> io::Error {
    match prepare(command, inheritance, user, None) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

/// Forks and executes the command. Returns its pid.
///
/// # Errors
///
/// The error of exec: `ENOENT` if the command is not found.
fn fork(
    command: &[OsString],
    inheritance: Inheritance,
    user: Option<User>,
    after_fork: Option<AfterFork>,
) -> io::Result<u32> {
    Ok(prepare(command, inheritance, user, after_fork)?.spawn()?.id())
}

fn prepare(
    command: &[OsString],
    inheritance: Inheritance,
    user: Option<User>,
    mut after_fork: Option<AfterFork>,
) -> io::Result<Command> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: the closure only makes async-signal-safe system calls. `after_fork` does so by its contract. It runs
    // after the standard library has changed the signals.
    unsafe {
        command.pre_exec(move || {
            after_fork.as_mut().map_or(Ok(()), |after_fork| after_fork())?;
            inheritance.restore()?;
            user.as_ref().map_or(Ok(()), User::become_it)
        })
    };
    Ok(command)
}
