//! The command of the user that prints tags of processes: `tags:` of a rules file.
//!
//! A thread runs it at the start and then at intervals. The thread that reads the events takes the latest tags. A run of
//! the command that fails only causes a warning at the end.

use std::{
    env,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, geteuid, setsid},
};
use tracer_model::tags::Snapshot;
use tracer_ptrace::clock::now;
use tracer_rules::tags::{TagCommand, parse};

use crate::{
    child::{
        privileges,
        user::{INVOKER, Invoker, User},
    },
    cli::propagation,
    threads::{self, Threads},
};

/// The user of the command, if root runs process-tracer without sudo and the file names no user. The command runs as root
/// only if the file says so.
const NOBODY: &str = "nobody";

/// A run of the command takes at most this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that it prints at most.
const MAX_OUTPUT: usize = 1 << 20;

/// Bytes of its messages that a warning can quote.
const MAX_MESSAGE: usize = 200;

/// How often to check whether the command has ended, after it has closed its output.
const GLANCE: Duration = Duration::from_millis(10);

/// A killed command ends within this time. If the command has become another user, as sudo does, the kernel can refuse
/// our signal.
const END: Duration = Duration::from_secs(1);

/// The variables of our environment that a command of another user gets.
const KEPT: [&str; 2] = ["PATH", "LANG"];

/// The command, its user, and the interval between two runs.
#[derive(Debug)]
pub(crate) struct Tagging {
    command: Vec<String>,
    interval: Duration,
    /// `None`: the user who runs process-tracer, who is not root.
    user: Option<User>,
}

impl Tagging {
    /// Looks up the user.
    ///
    /// # Errors
    ///
    /// There is no such user, or only root can become that user.
    pub(crate) fn new(command: TagCommand) -> Result<Self> {
        let TagCommand { command, interval, user } = command;
        let user = match &user {
            Some(name) => {
                let place = name.place.map(|place| format!("{place}: ")).unwrap_or_default();
                Some(User::look_up(&name.value).map_err(|error| anyhow!("{place}tags: {error:#}"))?)
            }
            None if Invoker::of_root().is_some() => Some(User::look_up(INVOKER)?),
            None if geteuid().is_root() => Some(User::look_up(NOBODY)?),
            None => None,
        };
        Ok(Self { command, interval, user })
    }
}

/// The latest tags, for the thread that reads the events.
pub(crate) type Latest = Arc<Mutex<Option<Snapshot>>>;

/// Takes the latest tags, if there are new ones.
pub(crate) fn take(latest: &Latest) -> Option<Snapshot> {
    latest.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The thread that runs the command.
pub(crate) struct TagRunner {
    thread: JoinHandle<Failures>,
    stop: Arc<EventFd>,
}

/// Runs of the command that failed.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    first: Option<String>,
}

impl TagRunner {
    /// Starts the thread. It must start after the launch of the traced command, because the first process that we fork
    /// is the traced one. It must start before root drops its capabilities, because it changes the user.
    ///
    /// # Errors
    ///
    /// The kernel cannot start another thread.
    pub(crate) fn start(tagging: Tagging, root_pid: u32, latest: Latest, threads: Threads) -> Result<Self> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let thread = threads.start_quiet("tags", {
            let stop = Arc::clone(&stop);
            move || {
                privileges::drop_in_tags();
                repeat(&tagging, root_pid, &latest, &stop)
            }
        });
        Ok(Self { thread: thread.context("cannot start a thread")?, stop })
    }

    /// Ends the thread and the running command. Returns a warning, if the command or the thread failed.
    pub(crate) fn finish(self) -> Option<String> {
        let _ = self.stop.write(1);
        let Failures { count, first } = match self.thread.join() {
            Ok(failures) => failures,
            Err(panic) => return Some(format!("tags: {}", threads::bug(panic.as_ref()))),
        };
        let first = first?;
        let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
        Some(format!("tags: {first}{times}"))
    }
}

fn repeat(command: &Tagging, root_pid: u32, latest: &Latest, stop: &EventFd) -> Failures {
    let mut failures = Failures::default();
    loop {
        let started = Instant::now();
        let at = now();
        match run(command, stop) {
            Ok(Some(output)) => match parse(&output) {
                Ok(processes) => {
                    let snapshot = Snapshot { at, root_pid, processes };
                    *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
                }
                Err(error) => failures.add(command, &format!("it does not print tags: {error}")),
            },
            Ok(None) => return failures,
            Err(Trouble::Failed(error)) => failures.add(command, &error.to_string()),
            Err(Trouble::Unstoppable(pid)) => {
                failures.add(command, &format!("process-tracer cannot end it, so it still runs as process {pid}"));
                // Each further run could leave another process behind.
                return failures;
            }
        }
        if wait(&[stop.as_fd()], command.interval.saturating_sub(started.elapsed())).first() == Some(&true) {
            return failures;
        }
    }
}

impl Failures {
    fn add(&mut self, command: &Tagging, reason: &str) {
        self.count += 1;
        let program = command.command.first().map(String::as_str).unwrap_or_default();
        self.first.get_or_insert_with(|| format!("'{program}': {reason}"));
    }
}

/// Why a run of the command has no output.
#[derive(Debug)]
enum Trouble {
    Failed(io::Error),
    /// The process with this pid does not end. We may not kill it.
    Unstoppable(u32),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Runs the command once. Returns its output, or `None` if the trace has ended.
fn run(command: &Tagging, stop: &EventFd) -> Result<Option<String>, Trouble> {
    let mut running = Running(spawn(command)?);
    let output = read(&mut running, stop);
    running.end()?;
    Ok(output?)
}

/// Reads the output of a command until its end.
fn read(running: &mut Running, stop: &EventFd) -> io::Result<Option<String>> {
    let deadline = Instant::now() + TIMEOUT;
    let Child { stdout, stderr, .. } = &mut running.0;
    let (mut stdout, mut stderr) = (Pipe::new(stdout.take()), Pipe::new(stderr.take()));
    loop {
        let is_over = stdout.is_over() && stderr.is_over();
        if is_over && let Some(status) = running.status()? {
            return finished(status, stdout.content, &stderr.content).map(Some);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other(format!("it took more than {} s", TIMEOUT.as_secs())));
        }
        let ready = wait(
            &[stop.as_fd(), stdout.as_fd().unwrap_or(stop.as_fd()), stderr.as_fd().unwrap_or(stop.as_fd())],
            if is_over { left.min(GLANCE) } else { left },
        );
        let [stopped, printed, complained] = ready[..] else { return Ok(None) };
        if stopped {
            return Ok(None);
        }
        if printed {
            stdout.read()?;
        }
        if complained {
            stderr.read()?;
            stderr.content.truncate(MAX_MESSAGE);
        }
        if stdout.content.len() > MAX_OUTPUT {
            return Err(io::Error::other(format!("it printed more than {} MiB", MAX_OUTPUT >> 20)));
        }
    }
}

fn spawn(command: &Tagging) -> io::Result<Child> {
    let (program, arguments) = command.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut spawned = Command::new(program);
    spawned.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // If the command makes spans itself, they must not become part of this trace.
    for name in propagation::VARIABLES {
        spawned.env_remove(name);
    }
    if let Some(user) = &command.user {
        if user.is_other() {
            // Our environment can have secrets, such as the headers for the collector.
            spawned.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        }
        spawned.envs(user.variables());
    }
    let user = command.user.clone();
    // SAFETY: the closure only makes async-signal-safe system calls.
    unsafe {
        spawned.pre_exec(move || {
            setsid()?;
            user.as_ref().map_or(Ok(()), User::become_it)
        })
    };
    spawned.spawn()
}

/// The output of a command that has ended.
fn finished(status: Ended, output: Vec<u8>, message: &[u8]) -> io::Result<String> {
    match status {
        Ended::Known(status) if !status.success() => {
            let message = String::from_utf8_lossy(message);
            let line = message.lines().map(str::trim).find(|line| !line.is_empty());
            let reason = line.map(|line| format!(": {line}")).unwrap_or_default();
            Err(io::Error::other(format!("{status}{reason}")))
        }
        _ => String::from_utf8(output).map_err(|_| io::Error::other("it does not print tags: no UTF-8")),
    }
}

/// The end of the command. If process-tracer is pid 1, another thread reaps all children. Then the status is not known
/// here.
enum Ended {
    Known(ExitStatus),
    Reaped,
}

/// A command that runs. It leads a group of its own, with its children in it.
struct Running(Child);

impl Running {
    /// Its end, if it has ended. Then its children are killed.
    fn status(&mut self) -> io::Result<Option<Ended>> {
        if self.is_zombie() {
            // Until it is reaped, no other group can have its number.
            self.kill_group();
        }
        match self.0.try_wait() {
            Ok(status) => Ok(status.map(Ended::Known)),
            Err(error) if error.raw_os_error() == Some(Errno::ECHILD as i32) => Ok(Some(Ended::Reaped)),
            Err(error) => Err(error),
        }
    }

    /// Ends it and its children.
    fn end(mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + END;
        while self.status()?.is_none() {
            if Instant::now() >= deadline {
                return Err(Trouble::Unstoppable(self.0.id()));
            }
            self.kill_group();
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn is_zombie(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.pid()), flags).is_ok_and(|status| status != WaitStatus::StillAlive)
    }

    fn kill_group(&self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }
}

/// A pipe from the command.
struct Pipe<R> {
    pipe: Option<R>,
    content: Vec<u8>,
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(pipe: Option<R>) -> Self {
        Self { pipe, content: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.pipe.is_none()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut buffer = [0; 8192];
        match pipe.read(&mut buffer)? {
            0 => self.pipe = None,
            count => self.content.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
        Ok(())
    }
}

/// Waits until one of these is readable or closed. Says which are.
fn wait(descriptors: &[BorrowedFd<'_>], time: Duration) -> Vec<bool> {
    let mut ready: Vec<_> = descriptors.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    // Part of a millisecond counts as one, so that the loop does not spin.
    let time = time.saturating_add(Duration::from_micros(999));
    let _ = poll(&mut ready, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
    ready.iter().map(|fd| fd.any().unwrap_or(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tagging {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Tagging { command, interval: Duration::from_secs(3600), user: None }
    }

    fn never() -> EventFd {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap()
    }

    #[test]
    fn a_panic_is_a_warning() {
        let thread = Threads::of_test().start_quiet("tags", || panic!("at the {}", "disco")).unwrap();
        let warning = TagRunner { thread, stop: Arc::new(never()) }.finish();
        assert_eq!(warning.unwrap(), "tags: this is a bug, please report it: at the disco");
    }

    #[test]
    fn the_output_of_the_command_is_read() {
        let script =
            "[ $(ps -o sid= -p $$) -eq $$ ] && [ -z \"$(cat)\" ] && echo '- {pid: 7, tags: [{key: a, value: b}]}'";
        let output = run(&shell(script), &never()).unwrap().unwrap();
        assert_eq!(output, "- {pid: 7, tags: [{key: a, value: b}]}\n");
    }

    #[test]
    fn a_command_that_fails_or_prints_too_much_is_an_error() {
        let error = |command: &Tagging| match run(command, &never()).unwrap_err() {
            Trouble::Failed(error) => error,
            trouble @ Trouble::Unstoppable(_) => panic!("{trouble:?}"),
        };
        let missing = Tagging { command: vec!["/no/such/command".to_owned()], ..shell("") };
        assert_eq!(error(&missing).kind(), io::ErrorKind::NotFound);
        let error = |script: &str| error(&shell(script)).to_string();
        assert_eq!(error("echo oops >&2; echo more >&2; exit 3"), "exit status: 3: oops");
        assert_eq!(error("head -c 2000000 /dev/zero; sleep 60"), "it printed more than 1 MiB");
        assert!(error("kill -9 $$").contains("signal: 9"), "{}", error("kill -9 $$"));
    }

    /// Whether a process ends soon. Its new parent may not have read its status yet.
    fn ends(pid: &str) -> bool {
        let is_dead = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.is_err() || stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
        };
        for _ in 0..1000 {
            if is_dead() {
                return true;
            }
            thread::sleep(GLANCE);
        }
        false
    }

    #[test]
    fn the_end_of_the_trace_ends_the_command_and_its_children() {
        let stop = never();
        stop.write(1).unwrap();
        let command = shell("sleep 1000 & echo $!; wait");
        let mut running = Running(spawn(&command).unwrap());
        let mut pid = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(running.0.stdout.take().unwrap()), &mut pid).unwrap();
        running.end().unwrap();
        assert!(ends(&pid));
        assert!(run(&command, &stop).unwrap().is_none());
    }

    #[test]
    fn the_end_of_the_command_ends_its_children() {
        let pid = run(&shell("sleep 1000 > /dev/null 2>&1 & echo $!"), &never()).unwrap().unwrap();
        assert!(ends(&pid), "{pid}");
        // The child has the pipes, so the output does not end.
        let mut running = Running(spawn(&shell("sleep 1000 & echo $!")).unwrap());
        let mut pid = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(running.0.stdout.take().unwrap()), &mut pid).unwrap();
        while !running.is_zombie() {
            thread::sleep(GLANCE);
        }
        running.end().unwrap();
        assert!(ends(&pid), "{pid}");
    }

    #[test]
    fn a_command_that_cannot_be_killed_is_not_waited_for() {
        // It is in the group of this test. No group has its pid as number, so `killpg` with this pid reaches no process.
        let sleep = Command::new("sleep").arg("20").spawn().unwrap();
        let pid = sleep.id();
        let trouble = Running(sleep).end().unwrap_err();
        assert!(matches!(trouble, Trouble::Unstoppable(unstoppable) if unstoppable == pid), "{trouble:?}");
        nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        waitid(Id::Pid(Pid::from_raw(pid.cast_signed())), WaitPidFlag::WEXITED).unwrap();
    }
}
