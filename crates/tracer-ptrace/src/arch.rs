//! All code that depends on the processor: registers, the numbers of the few system calls that we need, and the
//! instruction that makes a call. Each processor has a submodule with the same items.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use self::aarch64::{CAN_SKIP_CALL, Registers, Repeated, at_signal, at_system_call};
#[cfg(target_arch = "x86_64")]
pub(crate) use self::x86_64::{CAN_SKIP_CALL, Registers, Repeated, at_signal, at_system_call};

/// The conventions of the program that a process runs. A 64-bit kernel also runs 32-bit programs.
pub(crate) struct Abi {
    /// Bytes in a pointer.
    pub(crate) word: u64,
    /// The instruction that makes a system call.
    pub(crate) syscall: &'static [u8],
    pub(crate) execve: u64,
    pub(crate) rt_sigprocmask: u64,
}
