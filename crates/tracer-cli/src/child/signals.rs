//! Waits for the command, and forwards the signals that process-tracer gets at the same time.

use std::{collections::HashMap, mem::MaybeUninit, os::fd::AsFd, thread, time::Duration};

use nix::{
    libc::{self, c_int},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{getpid, getsid},
};

use tracer_model::source::{Child, ChildChange, End};

use crate::threads::SingleThread;

/// Signals that are not blocked. They cannot be blocked, or they report a fault of process-tracer.
const OURS: [c_int; 9] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// Signals that a terminal sends to its whole foreground process group. The command already has them.
const OF_TERMINALS: [c_int; 7] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGHUP, libc::SIGWINCH, libc::SIGCONT, libc::SIGTTIN];

/// `si_code` of a signal that the kernel itself sends.
const SI_KERNEL: i32 = 0x80;

/// Signals that users send to end a process.
const ENDING: [c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// The time that a sender can need to send a signal to several processes.
const ROUND: Duration = Duration::from_millis(5);

/// How often [`Signals::wait_until`] checks its condition, milliseconds.
const INTERVAL_MS: u16 = 50;

/// How often [`Signals::wait_for`] checks the command if no SIGCHLD wakes us, milliseconds.
const LOOK_MS: u16 = 10_000;

/// The signals to process-tracer. They are blocked, and read one by one.
#[derive(Debug)]
pub(crate) struct Signals {
    incoming: SignalFd,
    /// The signals that were blocked before.
    former: SigSet,
}

impl Signals {
    /// Blocks the signals of the whole process. All later threads inherit this.
    pub(crate) fn hold(_: &SingleThread) -> nix::Result<Self> {
        let held = all_but_ours();
        let mut former = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut former))?;
        let incoming = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { incoming, former })
    }

    /// Waits until the command ends. `paired` says how often the same sender has sent a signal both to process-tracer and to
    /// the command.
    pub(crate) fn wait_for(&mut self, child: &mut dyn Child, paired: impl Fn(c_int, u32) -> u32) -> End {
        // Linux's pids have 22 bits at most: include/linux/threads.h, PID_MAX_LIMIT.
        let command = child.id() as libc::pid_t;
        let mut seen: HashMap<_, u32> = HashMap::new();
        let mut is_received = |signal: c_int, sender| {
            let mut now = paired(signal, sender);
            let before = seen.entry(signal).or_default();
            let is_received = now > *before;
            // The kernel merges equal signals that are pending. So the signal that we have read can stand for several. But
            // if another one is still pending, that one stands for the rest, and this one counts once.
            if is_pending(signal) {
                now = now.min(*before + 1);
            } else {
                while let more = paired(signal, sender)
                    && more > now
                {
                    now = more;
                }
            }
            *before = now;
            is_received
        };
        let mut watches_children = true;
        loop {
            if watches_children != child.as_fd().is_none() {
                watches_children = !watches_children;
                self.watch_children(watches_children);
            }
            // Check first, then wait, because the command may have ended before its SIGCHLD was blocked.
            match child.look() {
                Some(ChildChange::Ended(end)) => return end,
                Some(ChildChange::Stopped { signal }) => {
                    stop_by(signal);
                    continue;
                }
                None => {}
            }
            let incoming = self.incoming.as_fd();
            // Check after every wait.
            let _ = poll(
                &mut [incoming, child.as_fd().unwrap_or(incoming)].map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
                PollTimeout::from(LOOK_MS),
            );
            while let Ok(Some(signal)) = self.incoming.read_signal() {
                let (number, sender) = (signal.ssi_signo as c_int, signal.ssi_pid);
                if number == libc::SIGCHLD {
                    continue;
                }
                let has_it = if signal.ssi_code == SI_KERNEL {
                    // The signal counts as received by both, so that it does not pair with a later signal.
                    is_received(number, sender);
                    // The kernel reports a hangup of a terminal only to the leader of its session.
                    let is_for_leader = [libc::SIGHUP, libc::SIGCONT].contains(&number) && leads_session();
                    OF_TERMINALS.contains(&number) && !is_for_leader
                } else {
                    // A sender that signals all processes reaches us first. So the command may get its signal a moment
                    // later.
                    is_received(number, sender) || {
                        thread::sleep(ROUND);
                        is_received(number, sender)
                    }
                };
                if !has_it {
                    // SAFETY: no memory is involved. An error is ignored, because the command may have just ended.
                    unsafe { libc::kill(command, number) };
                }
            }
        }
    }

    /// Lets SIGCHLD wake us, or not. A SIGCHLD that is not read stays pending. Then the next ones cost no time. This
    /// matters because a tracer of many processes gets a SIGCHLD for each stop.
    fn watch_children(&mut self, is_watched: bool) {
        let mut held = all_but_ours();
        if !is_watched {
            held.remove(Signal::SIGCHLD);
        }
        // If it fails, we wake too often.
        let _ = self.incoming.set_mask(&held);
    }

    /// Discards the signals for the command. The Ctrl-C that has ended the command must not end its trace.
    pub(crate) fn forget(&self) {
        while let Ok(Some(_)) = self.incoming.read_signal() {}
    }

    /// Waits until `is_so`, or until a signal asks process-tracer to end.
    pub(crate) fn wait_until(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            let mut ready = [PollFd::new(self.incoming.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut ready, PollTimeout::from(INTERVAL_MS));
            while let Ok(Some(signal)) = self.incoming.read_signal() {
                let number = signal.ssi_signo as c_int;
                if ENDING.contains(&number) {
                    return;
                }
                stop_by(number);
            }
        }
    }

    /// Lets this thread receive signals again. Keep the thread alive, because all other threads block the
    /// signals.
    pub(crate) fn release(&self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.former), None);
    }
}

fn leads_session() -> bool {
    getsid(None).is_ok_and(|leader| leader == getpid())
}

/// Whether another signal of this number waits for us.
fn is_pending(signal: c_int) -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigpending(2) fills the set.
    let is_set = unsafe { libc::sigpending(pending.as_mut_ptr()) == 0 };
    // SAFETY: the set is filled.
    is_set && unsafe { libc::sigismember(pending.as_ptr(), signal) == 1 }
}

fn all_but_ours() -> SigSet {
    let mut set = raw_set(libc::sigfillset);
    for signal in OURS {
        // SAFETY: the set is initialised, and the number is one of a signal.
        unsafe { libc::sigdelset(&mut set, signal) };
    }
    // SAFETY: the set is initialised.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// A set of one signal. nix's own sets have no real-time signals.
pub(crate) fn only(signal: c_int) -> SigSet {
    let mut set = raw_set(libc::sigemptyset);
    // SAFETY: the set is initialised. A number that is no signal does not change it.
    unsafe { libc::sigaddset(&mut set, signal) };
    // SAFETY: the set is initialised.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

fn raw_set(initialise: unsafe extern "C" fn(*mut libc::sigset_t) -> c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the function writes the whole set.
    unsafe { initialise(set.as_mut_ptr()) };
    // SAFETY: it has been written.
    unsafe { set.assume_init() }
}

/// Stops like the command, and returns when process-tracer is continued. This is only for the job control of a
/// terminal, because the terminal later continues the whole process group. If a sender stops the command alone, it also
/// continues the command alone. Then we would stay stopped.
fn stop_by(signal: c_int) {
    let is_of_job_control = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
    if !is_of_job_control || std::fs::File::open("/dev/tty").is_err() {
        return;
    }
    let stop = only(signal);
    // SAFETY: no memory is involved.
    unsafe { libc::raise(signal) };
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&stop), None);
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stop), None);
}

/// Dies by the same signal as the command, so that the caller sees the same end. It dumps no core, because the command
/// has already dumped its core.
pub(crate) fn die_by(signal: c_int) {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only(signal)), None);
    // SAFETY: no memory is involved.
    unsafe { libc::raise(signal) };
}
