//! System calls that a signal without effect has interrupted.
//!
//! Under a tracer every signal interrupts a sleeping system call, also a signal that the process ignores. The kernel repeats most
//! of these calls by itself. It lets some fail with EINTR, for example epoll_wait(2). Without a tracer the signal would not have
//! woken the process, so the tracer repeats such a call.

use libc::c_int;

use crate::{
    kernel::{Continue, Tid},
    procfs::{Folder, mask},
};

pub(crate) use self::machine::Repeated;

/// Signals that a process ignores by default: signal(7).
const IGNORED_BY_DEFAULT: [c_int; 4] = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];

/// At the stop for a signal. `repeated` is the call of the thread that the last signal has interrupted. Returns how the thread
/// has to go on.
pub(crate) fn at_signal(tgid: Tid, tid: Tid, signal: c_int, repeated: &mut Option<Box<Repeated>>) -> Continue {
    machine::at_signal(tid, repeated, || is_ignored(tgid, signal))
}

/// At the entry or the exit of a system call.
pub(crate) fn at_system_call(tid: Tid, repeated: &mut Option<Box<Repeated>>) -> Continue {
    machine::at_system_call(tid, repeated)
}

/// Whether the signal would not have reached the process without a tracer.
fn is_ignored(tgid: Tid, signal: c_int) -> bool {
    let Ok(status) = Folder::of(tgid).read("status") else { return false };
    let bit = 1u64 << (signal - 1);
    let is_caught = mask(&status, "SigCgt") & bit != 0;
    mask(&status, "SigIgn") & bit != 0 || (IGNORED_BY_DEFAULT.contains(&signal) && !is_caught)
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use libc::{c_int, user_regs_struct};
    use nix::{sys::ptrace, unistd::Pid};

    use crate::{
        clock,
        kernel::{Continue, Tid},
    };

    /// Bytes of the instruction that makes a system call.
    const INSTRUCTION: u64 = 2;

    /// A call that is made again.
    #[derive(Debug)]
    pub(crate) struct Repeated {
        /// After the call that was interrupted.
        registers: user_regs_struct,
        /// When the call has to end, on the boot clock, nanoseconds. `None`: never.
        deadline_ns: Option<u64>,
        /// The time out that the program gave, if the call has a shorter one now.
        original: Option<u64>,
        /// The thread is in the call.
        has_entered: bool,
    }

    impl Repeated {
        /// A call with a deadline stops at its exit: the next call of the same kind has a deadline of its own.
        fn how(&self) -> Continue {
            if self.deadline_ns.is_some() { Continue::ToSystemCall } else { Continue::Run }
        }
    }

    pub(super) fn at_signal(
        tid: Tid,
        repeated: &mut Option<Box<Repeated>>,
        is_ignored: impl FnOnce() -> bool,
    ) -> Continue {
        let pid = Pid::from_raw(tid);
        let Ok(registers) = ptrace::getregs(pid) else { return Continue::Run };
        let former = repeated.take();
        let former = match former {
            // Another signal, before the call. If it has an effect, it ends the call.
            Some(former) if is_about_to_repeat(&registers, &former.registers) => {
                if !is_ignored() {
                    let _ = ptrace::setregs(pid, former.registers);
                    return Continue::Run;
                }
                let how = former.how();
                *repeated = Some(former);
                return how;
            }
            former => former,
        };
        let is_interrupted = registers.rax.cast_signed() == -i64::from(libc::EINTR);
        let Some(milliseconds) = is_interrupted.then(|| time_out(&registers)).flatten() else { return Continue::Run };
        if !is_ignored() {
            return Continue::Run;
        }
        let now = clock::now().0;
        let former = former.filter(|former| is_same_call(&former.registers, &registers));
        let mut again = registers;
        again.rip -= INSTRUCTION;
        again.rax = registers.orig_rax;
        let mut next = Repeated { registers, deadline_ns: None, original: None, has_entered: false };
        if milliseconds >= 0 {
            let time_ns = milliseconds.unsigned_abs() * 1_000_000;
            match former.and_then(|former| former.deadline_ns) {
                // The kernel does not say when the call began. So it ends too late rather than too early.
                None => next.deadline_ns = Some(now.saturating_add(time_ns)),
                Some(deadline) => {
                    next.deadline_ns = Some(deadline);
                    next.original = Some(registers.r10);
                    again.r10 = deadline.saturating_sub(now).div_ceil(1_000_000);
                }
            }
        }
        if ptrace::setregs(pid, again).is_err() {
            return Continue::Run;
        }
        let how = next.how();
        *repeated = Some(Box::new(next));
        how
    }

    pub(super) fn at_system_call(tid: Tid, repeated: &mut Option<Box<Repeated>>) -> Continue {
        let Some(call) = repeated.as_mut() else { return Continue::Run };
        if !call.has_entered {
            call.has_entered = true;
            return Continue::ToSystemCall;
        }
        let pid = Pid::from_raw(tid);
        let Ok(mut registers) = ptrace::getregs(pid) else { return Continue::Run };
        // A program may rely on its registers.
        if let Some(original) = call.original.take() {
            registers.r10 = original;
            let _ = ptrace::setregs(pid, registers);
        }
        // If a signal has interrupted it again, the stop for this signal comes next.
        if registers.rax.cast_signed() != -i64::from(libc::EINTR) {
            *repeated = None;
        }
        Continue::Run
    }

    /// The time out of a call that the kernel lets fail with EINTR although it has done nothing, milliseconds. It is negative if
    /// the call waits for ever. `None`: another call, or one whose time out is in memory.
    fn time_out(registers: &user_regs_struct) -> Option<i64> {
        let is_null = |argument: u64| if argument == 0 { Some(-1) } else { None };
        match registers.orig_rax.cast_signed() {
            // An int: only the lower half of the register counts.
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => Some(i64::from(registers.r10 as c_int)),
            libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => is_null(registers.r10),
            libc::SYS_rt_sigtimedwait => is_null(registers.rdx),
            libc::SYS_semop => Some(-1),
            _ => None,
        }
    }

    fn is_about_to_repeat(registers: &user_regs_struct, call: &user_regs_struct) -> bool {
        (registers.rip, registers.rsp, registers.rax) == (call.rip - INSTRUCTION, call.rsp, call.orig_rax)
    }

    fn is_same_call(one: &user_regs_struct, other: &user_regs_struct) -> bool {
        let arguments =
            |call: &user_regs_struct| [call.rip, call.rsp, call.orig_rax, call.rdi, call.rsi, call.rdx, call.r10];
        arguments(one) == arguments(other)
    }
}

/// On other processors the registers do not show the first argument of an interrupted call. So nothing is repeated.
#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use crate::kernel::{Continue, Tid};

    /// There is none.
    #[derive(Debug)]
    pub(crate) enum Repeated {}

    pub(super) fn at_signal(_: Tid, _: &mut Option<Box<Repeated>>, _: impl FnOnce() -> bool) -> Continue {
        Continue::Run
    }

    pub(super) fn at_system_call(_: Tid, _: &mut Option<Box<Repeated>>) -> Continue {
        Continue::Run
    }
}
