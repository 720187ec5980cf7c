//! Runs a command with a minimal tracer, and without a tracer.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{
        ForkResult, Gid, Pid, Uid, chdir, dup2_stderr, dup2_stdout, execvpe, fork, pipe, setgroups, setresgid,
        setresuid,
    },
};

/// The ordinary user of these tests.
pub(crate) const NOBODY: u32 = 65534;

/// The output and the exit status of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) output: String,
    pub(crate) status: i32,
}

/// The setting in which a command runs.
pub(crate) struct Setting<'a> {
    pub(crate) directory: &'a Path,
    /// Runs as root, in a separate mount namespace, before the user changes.
    pub(crate) prepare: &'a dyn Fn(),
    /// Becomes the user of tracer and command.
    pub(crate) become_user: &'a dyn Fn(),
}

/// Looks at a process at its PTRACE_EVENT_EXEC stop. Returns a note, and whether the tracer has left the process.
pub(crate) type AtExec = Box<dyn Fn(Pid) -> (Option<String>, bool)>;

pub(crate) fn become_nobody() {
    setgroups(&[]).unwrap();
    setresgid(Gid::from_raw(NOBODY), Gid::from_raw(NOBODY), Gid::from_raw(NOBODY)).unwrap();
    setresuid(Uid::from_raw(NOBODY), Uid::from_raw(NOBODY), Uid::from_raw(NOBODY)).unwrap();
}

/// Runs the command without a tracer.
pub(crate) fn bare(setting: &Setting<'_>, command: &[&str]) -> Run {
    let (run, notes) = run(setting, command, None);
    assert_eq!(notes, "");
    run
}

/// Runs the command under a tracer. Returns also the notes, one in a line.
pub(crate) fn traced(setting: &Setting<'_>, command: &[&str], make: Make<'_>) -> (Run, String) {
    run(setting, command, Some(make))
}

/// Makes the check of the tracer. It runs in the process of the tracer, after this process has changed its user.
type Make<'a> = &'a dyn Fn() -> AtExec;

fn run(setting: &Setting<'_>, command: &[&str], make: Option<Make<'_>>) -> (Run, String) {
    observed(setting, &|output, notes| supervise(command, make, output, notes))
}

/// Runs `work` in a new process with the setting. `work` gets the ends of two pipes, for the output of a command and
/// for notes. It returns the status of the command.
pub(crate) fn observed(setting: &Setting<'_>, work: &dyn Fn(OwnedFd, OwnedFd) -> i32) -> (Run, String) {
    let (output, output_end) = pipe().unwrap();
    let (notes, notes_end) = pipe().unwrap();
    // SAFETY: the child uses only what fork(2) copies. The C library's allocator works after fork(2).
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            drop((output, notes));
            // Otherwise the test runner collects the message in the memory of this process, where no one reads it.
            std::panic::set_hook(Box::new(|panic| drop(std::io::stderr().write_all(format!("{panic}\n").as_bytes()))));
            let work = std::panic::AssertUnwindSafe(|| {
                enter(setting);
                work(output_end, notes_end)
            });
            let status = std::panic::catch_unwind(work).unwrap_or(99);
            // SAFETY: this ends the process without the test runner's handlers.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => {
            drop((output_end, notes_end));
            let mut text = (String::new(), String::new());
            File::from(output).read_to_string(&mut text.0).unwrap();
            File::from(notes).read_to_string(&mut text.1).unwrap();
            let WaitStatus::Exited(_, status) = waitpid(child, None).unwrap() else { panic!("the tracer was killed") };
            assert_ne!(status, 99, "the tracer panicked: {}", text.0);
            (Run { output: text.0, status }, text.1)
        }
    }
}

fn enter(setting: &Setting<'_>) {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .unwrap();
    (setting.prepare)();
    (setting.become_user)();
    // After a change of user, the kernel protects the memory of this process, and that of the command until its exec.
    // This call ends the protection, as an exec by that user does.
    nix::sys::prctl::set_dumpable(true).unwrap();
    chdir(setting.directory).unwrap();
}

/// Starts the command and waits for its end.
fn supervise(command: &[&str], make: Option<Make<'_>>, output: OwnedFd, mut notes: OwnedFd) -> i32 {
    let (start, start_end) = pipe().unwrap();
    // SAFETY: as in `observed`.
    let root = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            dup2_stdout(&output).unwrap();
            dup2_stderr(&output).unwrap();
            drop(start_end);
            File::from(start).read_exact(&mut [0]).unwrap();
            for descriptor in 3..100 {
                // SAFETY: this process executes another program now, so it does not need these.
                unsafe { libc::close(descriptor) };
            }
            let arguments: Vec<_> = command.iter().map(|text| CString::new(*text).unwrap()).collect();
            let Err(error) =
                execvpe(&arguments[0], &arguments, &[c"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
            panic!("{}: {error}", command[0])
        }
        ForkResult::Parent { child } => child,
    };
    drop((output, start));
    let at_exec = make.map(|make| make());
    if at_exec.is_some() {
        let options = Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACESYSGOOD;
        ptrace::seize(root, options).unwrap();
    }
    File::from(start_end).write_all(&[0]).unwrap();
    let mut status = 98;
    while let Ok(change) = waitpid(None, Some(WaitPidFlag::__WALL)) {
        match change {
            WaitStatus::Exited(pid, code) if pid == root => status = code,
            WaitStatus::Signaled(pid, signal, _) if pid == root => status = 128 + signal as i32,
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                let (note, gone) = at_exec.as_ref().unwrap()(pid);
                if let Some(note) = note {
                    let mut file = File::from(notes);
                    writeln!(file, "{note}").unwrap();
                    notes = file.into();
                }
                if !gone {
                    resume(pid, None);
                }
            }
            WaitStatus::PtraceEvent(pid, signal, libc::PTRACE_EVENT_STOP)
                if [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU].contains(&signal) =>
            {
                // SAFETY: PTRACE_LISTEN uses neither address nor data.
                unsafe { libc::ptrace(libc::PTRACE_LISTEN, pid.as_raw(), 0, 0) };
            }
            WaitStatus::PtraceEvent(pid, ..) | WaitStatus::PtraceSyscall(pid) => resume(pid, None),
            WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal)),
            _ => {}
        }
    }
    status
}

/// The process may have been killed in the meantime.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::cont(pid, signal);
}

/// A directory that everyone may read, with programs for these tests.
///
/// Only one test runs at a time, because a test forks and runs its own code in the child. At the fork, the thread of
/// another test could hold a lock, or have a program open for writing.
pub(crate) struct Programs {
    directory: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Programs {
    pub(crate) fn new() -> Self {
        assert!(Uid::effective().is_root(), "these tests make setuid files: run them as root");
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // A failed test must not stop the others.
        Self { directory, _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Compiles `tests/execs/programs/SOURCE` as `name`.
    pub(crate) fn compile(&self, source: &str, name: &str, flags: &[&str]) -> PathBuf {
        let program = self.path().join(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/execs/programs").join(source);
        let done = Command::new("gcc").arg(source).arg("-o").arg(&program).args(flags).status().unwrap();
        assert!(done.success());
        program
    }

    /// Writes a script that everyone may execute.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// Gives a file its owner, then its mode. chown(2) clears the setuid bit.
pub(crate) fn give(path: &Path, owner: u32, group: u32, mode: u32) {
    chown(path, Some(owner), Some(group)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
