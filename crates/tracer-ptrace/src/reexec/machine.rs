//! Memory and system calls of a stopped process.

use nix::{
    errno::Errno,
    sys::{
        ptrace,
        signal::Signal,
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};

use super::Refusal;
use crate::arch::{Abi, Registers};

/// The way to read the memory of a process.
#[derive(Clone, Copy)]
pub(super) enum Memory<'a> {
    /// With PTRACE_PEEKDATA.
    Peek(Pid),
    /// With the process's own system calls.
    Borrowed(&'a Borrowed),
}

impl Memory<'_> {
    /// Eight bytes at `address`.
    pub(super) fn word(self, address: u64) -> Result<u64, Refusal> {
        match self {
            Self::Peek(pid) => Ok(peek(pid, address)?),
            Self::Borrowed(borrowed) => borrowed.word(address),
        }
    }

    /// The bytes from `address` up to a NUL byte.
    pub(super) fn string(self, address: u64) -> Result<Vec<u8>, Refusal> {
        // PATH_MAX of linux/limits.h.
        const LONGEST: u64 = 4096;
        let mut bytes = Vec::new();
        for offset in (0..LONGEST).step_by(8) {
            for byte in self.word(address + offset)?.to_ne_bytes() {
                if byte == 0 {
                    return Ok(bytes);
                }
                bytes.push(byte);
            }
        }
        Err(Refusal::NoPath)
    }
}

/// Eight bytes at `address` of a stopped process.
pub(super) fn peek(pid: Pid, address: u64) -> Result<u64, Errno> {
    ptrace::read(pid, address as ptrace::AddressType).map(i64::cast_unsigned)
}

/// Writes `bytes` to `address`, and zeros up to the next multiple of eight. At least one zero follows.
pub(super) fn poke(pid: Pid, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let padded = bytes.len() / 8 * 8 + 8;
    let mut copy = bytes.to_vec();
    copy.resize(padded, 0);
    for (address, word) in (address..).step_by(8).zip(copy.chunks_exact(8)) {
        let word = word.try_into().map(i64::from_ne_bytes).unwrap_or_default();
        ptrace::write(pid, address as ptrace::AddressType, word)?;
    }
    Ok(())
}

/// The memory of a process that runs an unreadable file.
///
/// The kernel refuses PTRACE_PEEKDATA for it (`ptrace_access_vm` in kernel/ptrace.c), but lets us set registers and the
/// signal mask. So the process itself reads for us. rt_sigprocmask(2) loads eight bytes of its memory into its signal
/// mask. Then PTRACE_GETSIGMASK shows them.
///
/// This starts at the program's first system call, because this call shows the address of a system call instruction.
/// Before its first system call, a program has had no effect.
pub(super) struct Borrowed {
    pid: Pid,
    abi: &'static Abi,
    /// The address of an instruction that makes a system call.
    instruction: u64,
    /// At the entry of the first system call.
    registers: Registers,
    mask: u64,
}

impl Borrowed {
    /// Moves the process from the exit stop of its execve to its first system call.
    pub(super) fn begin(pid: Pid, abi: &'static Abi) -> Result<Self, Refusal> {
        let mask = signal_mask(pid)?;
        // A blocked signal cannot disturb the stops. Only SIGKILL and SIGSTOP still can.
        set_signal_mask(pid, u64::MAX)?;
        let entry = next_syscall_stop(pid).and_then(|()| Ok(Registers::read(pid)?));
        let registers = match entry {
            Ok(registers) => registers,
            Err(error) => {
                set_signal_mask(pid, mask)?;
                return Err(error);
            }
        };
        let mut skipped = registers;
        let Some(instruction) = skipped.skip_call() else {
            set_signal_mask(pid, mask)?;
            return Err(Refusal::NoAccess);
        };
        let borrowed = Self { pid, abi, instruction, registers, mask };
        let moved = skipped.write(pid).map_err(Refusal::from).and_then(|()| next_syscall_stop(pid));
        match moved {
            Ok(()) => Ok(borrowed),
            Err(error) => {
                borrowed.give_back()?;
                Err(error)
            }
        }
    }

    /// Lets the process continue in the state that it had before.
    pub(super) fn give_back(&self) -> Result<(), Refusal> {
        let mut registers = self.registers;
        registers.repeat_call();
        registers.write(self.pid)?;
        Ok(set_signal_mask(self.pid, self.mask)?)
    }

    /// Restores the signal mask. Returns the address of an instruction that makes a system call.
    pub(super) fn end(&self) -> Result<u64, Refusal> {
        set_signal_mask(self.pid, self.mask)?;
        Ok(self.instruction)
    }

    fn word(&self, address: u64) -> Result<u64, Refusal> {
        // The kernel never blocks SIGKILL (9) and SIGSTOP (19). So the bits 8 and 18 come from a second read, one byte
        // further.
        const NEVER: u64 = 1 << 8 | 1 << 18;
        Ok(self.look(address)? | self.look(address + 1)? << 8 & NEVER)
    }

    fn look(&self, address: u64) -> Result<u64, Refusal> {
        let mut registers = self.registers;
        registers.call(
            self.instruction,
            self.abi.rt_sigprocmask,
            [libc::SIG_SETMASK.cast_unsigned().into(), address, 0, 8],
        );
        registers.write(self.pid)?;
        next_syscall_stop(self.pid)?;
        next_syscall_stop(self.pid)?;
        if Registers::read(self.pid)?.result() != 0 {
            return Err(Refusal::NoAccess);
        }
        let word = signal_mask(self.pid)?;
        set_signal_mask(self.pid, u64::MAX)?;
        Ok(word)
    }
}

/// Continues the process up to the entry or the exit of its next system call.
///
/// Any other stop stays unread, so that the tracer's next wait finds it.
pub(super) fn next_syscall_stop(pid: Pid) -> Result<(), Refusal> {
    ptrace::syscall(pid, None)?;
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    match waitid(Id::Pid(pid), look)? {
        // The second form is that of a tracer without PTRACE_O_TRACESYSGOOD.
        WaitStatus::PtraceSyscall(_) | WaitStatus::Stopped(_, Signal::SIGTRAP) => {
            waitpid(pid, Some(WaitPidFlag::__WALL))?;
            Ok(())
        }
        WaitStatus::Exited(..) | WaitStatus::Signaled(..) | WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT) => {
            Err(Refusal::Ended)
        }
        _ => Err(Refusal::Disturbed),
    }
}

// The `libc` crate has these for some targets only. The numbers are those of linux/ptrace.h.
const PTRACE_GETSIGMASK: libc::c_uint = 0x420a;
const PTRACE_SETSIGMASK: libc::c_uint = 0x420b;

fn signal_mask(pid: Pid) -> Result<u64, Errno> {
    let mut mask = 0u64;
    // SAFETY: the kernel writes eight bytes, the size that the third argument says.
    let result = unsafe { libc::ptrace(PTRACE_GETSIGMASK, pid.as_raw(), size_of::<u64>(), &raw mut mask) };
    Errno::result(result).map(|_| mask)
}

fn set_signal_mask(pid: Pid, mask: u64) -> Result<(), Errno> {
    // SAFETY: the kernel reads eight bytes, the size that the third argument says.
    let result = unsafe { libc::ptrace(PTRACE_SETSIGMASK, pid.as_raw(), size_of::<u64>(), &raw const mask) };
    Errno::result(result).map(drop)
}
