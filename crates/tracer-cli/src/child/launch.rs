//! Starts the command in the state in which it would run without process-tracer.

use std::{env, ffi::OsString, io, os::unix::process::CommandExt, process::Command};

use tracer_model::source::{AfterFork, Child, Spawn};

use crate::{
    child::{inheritance::Inheritance, user::User, wait::Forked},
    threads::SingleThread,
};

/// Names and values of variables. `None`: the variable does not exist.
pub(crate) type Variables = Vec<(&'static str, Option<OsString>)>;

/// Sets variables in our own environment. The command inherits them. `None` removes a variable. All other variables keep
/// their order, also malformed ones. Returns the former values.
pub(crate) fn set_variables(
    variables: impl IntoIterator<Item = (&'static str, Option<String>)>,
    _: &SingleThread,
) -> Variables {
    let set = |(name, value)| {
        let former = env::var_os(name);
        match value {
            // SAFETY: no other thread exists that could read the environment.
            Some(value) => unsafe { env::set_var(name, value) },
            // SAFETY: no other thread exists that could read the environment.
            None => unsafe { env::remove_var(name) },
        }
        (name, former)
    };
    variables.into_iter().map(set).collect()
}

/// Returns a function that forks and executes the command. The command gets its inheritance back, and becomes `user`.
pub(crate) fn spawn(command: Vec<OsString>, inheritance: Inheritance, user: Option<User>) -> Spawn {
    Box::new(move |after_fork| {
        let id = fork(&command, inheritance, user, after_fork)?;
        Ok(Box::new(Forked::new(id)) as Box<dyn Child>)
    })
}

/// Executes the command in place of process-tracer. This needs neither a new process nor a descriptor. The command gets
/// these variables, too. Returns only if that is impossible.
pub(crate) fn replace(
    command: &[OsString],
    inheritance: Inheritance,
    user: Option<User>,
    variables: Variables,
) -> io::Error {
    let mut command = match prepare(command, inheritance, user, None) {
        Ok(command) => command,
        Err(error) => return error,
    };
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.exec()
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
    // SAFETY: the closure only makes async-signal-safe system calls. `after_fork` does so by its contract. The
    // standard library calls the closure after it has changed the signals.
    unsafe {
        command.pre_exec(move || {
            after_fork.as_mut().map_or(Ok(()), |after_fork| after_fork())?;
            inheritance.restore()?;
            user.as_ref().map_or(Ok(()), User::become_it)
        })
    };
    Ok(command)
}
