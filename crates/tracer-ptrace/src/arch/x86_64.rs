//! x86-64, and its 32-bit programs.

use libc::{c_int, user_regs_struct};
use nix::{errno::Errno, sys::ptrace, unistd::Pid};

use super::Abi;
use crate::{
    clock,
    kernel::{Continue, Tid},
};

const X86_64: Abi = Abi { word: 8, syscall: &[0x0f, 0x05], execve: 59, rt_sigprocmask: 14 };
const I386: Abi = Abi { word: 4, syscall: &[0xcd, 0x80], execve: 11, rt_sigprocmask: 175 };
/// `__USER32_CS` in the kernel's asm/segment.h.
const USER32_CS: u64 = 0x23;

/// Whether [`Registers::skip_call`] works.
pub(crate) const CAN_SKIP_CALL: bool = true;

#[derive(Clone, Copy)]
pub(crate) struct Registers(user_regs_struct);

impl Registers {
    pub(crate) fn read(pid: Pid) -> Result<Self, Errno> {
        ptrace::getregs(pid).map(Self)
    }

    pub(crate) fn write(&self, pid: Pid) -> Result<(), Errno> {
        ptrace::setregs(pid, self.0)
    }

    /// `None`: this program's conventions are unknown.
    pub(crate) fn abi(&self) -> Option<&'static Abi> {
        Some(if self.0.cs == USER32_CS { &I386 } else { &X86_64 })
    }

    pub(crate) fn stack_pointer(&self) -> u64 {
        self.0.rsp
    }

    /// The result of the system call, at its exit stop.
    pub(crate) fn result(&self) -> u64 {
        self.0.rax
    }

    /// Lets the process make this call next, with the instruction at `address`.
    pub(crate) fn call(&mut self, address: u64, number: u64, arguments: [u64; 4]) {
        self.0.rip = address;
        self.0.rax = number;
        // For the kernel, -1 means "not in a system call". So it restarts no call.
        self.0.orig_rax = u64::MAX;
        let [first, second, third, fourth] = arguments;
        if self.0.cs == USER32_CS {
            (self.0.rbx, self.0.rcx, self.0.rdx, self.0.rsi) = (first, second, third, fourth);
        } else {
            (self.0.rdi, self.0.rsi, self.0.rdx, self.0.r10) = (first, second, third, fourth);
        }
    }

    /// At the entry stop of a system call: skips that call. Returns the address of its instruction.
    pub(crate) fn skip_call(&mut self) -> Option<u64> {
        self.0.orig_rax = u64::MAX;
        Some(self.0.rip - 2)
    }

    /// At the entry stop of a system call, or with these registers later: makes that call again.
    pub(crate) fn repeat_call(&mut self) {
        self.0.rip -= 2;
        self.0.rax = self.0.orig_rax;
        self.0.orig_rax = u64::MAX;
    }
}

/// Bytes of the instruction that makes a system call.
const INSTRUCTION: u64 = 2;

/// A call that is made again.
#[derive(Debug)]
pub(crate) struct Repeated {
    /// After the call that was interrupted.
    registers: user_regs_struct,
    /// Time at which the call must end, on the boot clock, nanoseconds. `None`: never.
    deadline_ns: Option<u64>,
    /// The time limit that the program gave, if the call has a shorter one now.
    original: Option<u64>,
    /// The thread is in the call.
    has_entered: bool,
}

impl Repeated {
    /// A call with a deadline stops at its exit, where the tracer forgets the deadline. The next call has its own.
    fn how(&self) -> Continue {
        if self.deadline_ns.is_some() { Continue::ToSystemCall } else { Continue::Run }
    }
}

pub(crate) fn at_signal(tid: Tid, repeated: &mut Option<Box<Repeated>>, is_ignored: impl FnOnce() -> bool) -> Continue {
    let pid = Pid::from_raw(tid);
    // Most signals interrupt no call. One register is read faster than all of them.
    if repeated.is_none() && !result(pid).is_ok_and(is_interruption) {
        return Continue::Run;
    }
    let Ok(registers) = ptrace::getregs(pid) else { return Continue::Run };
    let former = repeated.take();
    let former = match former {
        // Another signal came before the thread could repeat the call. If the process gets this signal, the call is not
        // repeated, and fails with EINTR.
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
    let Some(milliseconds) = is_interruption(registers.rax.cast_signed()).then(|| time_out(&registers)).flatten()
    else {
        return Continue::Run;
    };
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
            // The kernel does not report when the call began. So the call may end too late, but not too early.
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

pub(crate) fn at_system_call(tid: Tid, repeated: &mut Option<Box<Repeated>>) -> Continue {
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
    if !is_interruption(registers.rax.cast_signed()) {
        *repeated = None;
    }
    Continue::Run
}

/// The register with the result of a system call.
fn result(pid: Pid) -> Result<i64, Errno> {
    // `struct user` begins with the registers.
    ptrace::read_user(pid, std::mem::offset_of!(user_regs_struct, rax) as ptrace::AddressType)
}

fn is_interruption(result: i64) -> bool {
    result == -i64::from(libc::EINTR)
}

/// The timeout of a call that can be made again, because it has done nothing when it fails with EINTR. The timeout is in
/// milliseconds. It is negative if the call waits for ever. `None`: another call, or a call whose timeout is in memory.
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
