//! 64-bit ARM. These lines compile, but they were never run.

use libc::user_regs_struct;
use nix::{
    errno::Errno,
    sys::ptrace::{self, regset::NT_PRSTATUS},
    unistd::Pid,
};

use super::Abi;
use crate::kernel::{Continue, Tid};

const AARCH64: Abi = Abi { word: 8, syscall: &[0x01, 0x00, 0x00, 0xd4], execve: 221, rt_sigprocmask: 135 };
/// `PSR_MODE32_BIT` in the kernel's asm/ptrace.h.
const MODE32: u64 = 0x10;

/// Whether [`Registers::skip_call`] works.
pub(crate) const CAN_SKIP_CALL: bool = false;

#[derive(Clone, Copy)]
pub(crate) struct Registers(user_regs_struct);

impl Registers {
    pub(crate) fn read(pid: Pid) -> Result<Self, Errno> {
        ptrace::getregset::<NT_PRSTATUS>(pid).map(Self)
    }

    pub(crate) fn write(&self, pid: Pid) -> Result<(), Errno> {
        ptrace::setregset::<NT_PRSTATUS>(pid, self.0)
    }

    /// 32-bit programs are refused, because the kernel gives their registers in another form.
    pub(crate) fn abi(&self) -> Option<&'static Abi> {
        (self.0.pstate & MODE32 == 0).then_some(&AARCH64)
    }

    pub(crate) fn stack_pointer(&self) -> u64 {
        self.0.sp
    }

    pub(crate) fn result(&self) -> u64 {
        self.0.regs[0]
    }

    pub(crate) fn call(&mut self, address: u64, number: u64, arguments: [u64; 4]) {
        self.0.pc = address;
        self.0.regs[8] = number;
        self.0.regs[..4].copy_from_slice(&arguments);
    }

    /// Not implemented, because it needs the register set NT_ARM_SYSTEM_CALL. So an unreadable program is refused.
    pub(crate) fn skip_call(&mut self) -> Option<u64> {
        None
    }

    pub(crate) fn repeat_call(&mut self) {}
}

/// A call that is made again. This never happens here, because the registers do not show the first argument of an
/// interrupted call.
#[derive(Debug)]
pub(crate) enum Repeated {}

pub(crate) fn at_signal(_: Tid, _: &mut Option<Box<Repeated>>, _: impl FnOnce() -> bool) -> Continue {
    Continue::Run
}

pub(crate) fn at_system_call(_: Tid, _: &mut Option<Box<Repeated>>) -> Continue {
    Continue::Run
}
