//! Waits for the command, and passes on what is sent to us meanwhile.

use std::os::fd::AsFd;

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, raise, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::outcome::{EXIT_FAILURE, Outcome};

/// Signals that are passed on to the command if somebody sends them to us.
const FORWARDED: [Signal; 14] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGWINCH,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

/// `si_code` of a signal that the kernel itself sent: from a terminal, to its whole foreground process group.
const SI_KERNEL: i32 = 0x80;

/// SIGCHLD wakes us; should it ever not, we look again after this, milliseconds.
const LOOK_MS: u16 = 10_000;

/// The signals on their way to us, held back to be read one by one.
#[derive(Debug)]
pub(crate) struct Signals {
    incoming: SignalFd,
    /// The mask we were started with: the command's to inherit.
    pub(crate) inherited: SigSet,
}

impl Signals {
    /// Holds back the signals of the whole process. Call it before there is a second thread.
    pub(crate) fn hold() -> nix::Result<Self> {
        let mut held: SigSet = FORWARDED.into_iter().collect();
        held.add(Signal::SIGCHLD);
        let mut inherited = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut inherited))?;
        let incoming = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { incoming, inherited })
    }

    /// Waits for the command to end, however long that takes.
    pub(crate) fn wait_for(&self, command: u32) -> Outcome {
        // Linux's pids have 22 bits at most: include/linux/threads.h, PID_MAX_LIMIT.
        let command = Pid::from_raw(command as i32);
        loop {
            // First look, then wait: the command may have ended before its SIGCHLD was held back.
            if let Some(outcome) = look_after(command) {
                return outcome;
            }
            let mut ready = [PollFd::new(self.incoming.as_fd(), PollFlags::POLLIN)];
            // Whatever ended the wait: look.
            let _ = poll(&mut ready, PollTimeout::from(LOOK_MS));
            while let Ok(Some(signal)) = self.incoming.read_signal() {
                let Ok(number) = Signal::try_from(signal.ssi_signo as i32) else { continue };
                if number != Signal::SIGCHLD && signal.ssi_code != SI_KERNEL {
                    // It may have ended just now.
                    let _ = kill(command, number);
                }
            }
        }
    }
}

/// Takes note of what the command did: its end, or a stop that stops us too, so that our shell notices.
fn look_after(command: Pid) -> Option<Outcome> {
    loop {
        match waitpid(command, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(_, code)) => return Some(Outcome::Exited(code as u8)),
            Ok(WaitStatus::Signaled(_, signal, core_dumped)) => return Some(Outcome::Killed { signal, core_dumped }),
            Ok(WaitStatus::Stopped(..)) => {
                let _ = raise(Signal::SIGSTOP);
            }
            Ok(_) => return None,
            Err(Errno::EINTR) => {}
            // Not a child of ours any more, which nobody but us can bring about.
            Err(_) => return Some(Outcome::Exited(EXIT_FAILURE)),
        }
    }
}
