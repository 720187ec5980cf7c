//! ptrace(2), wait4(2), process_vm_readv(2) and pidfd_open(2), by thread ids. The crate `nix` is not enough for this: it
//! does not support real-time signals, and its wait functions do not return the usage.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_void, pid_t, rusage};
use nix::errno::Errno;

/// A thread, by its id in our pid namespace.
pub(crate) type Tid = pid_t;

/// The options of every tracee.
pub(crate) const OPTIONS: c_int = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESYSGOOD;

/// How a tracee continues after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continue {
    /// Up to its next event.
    Run,
    /// Up to its next event, or to the entry or exit of its next system call.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    ToSystemCall,
}

/// The reports of wait4(2).
pub(crate) struct Change {
    pub(crate) tid: Tid,
    pub(crate) status: c_int,
    /// With a death: the usage of the process and its reaped children.
    pub(crate) usage: rusage,
}

/// Of linux/ptrace.h. The `libc` crate does not have all of them for all C libraries.
pub(crate) const EVENT_STOP: c_int = 128;
const GET_SYSCALL_INFO: Request = 0x420e;

/// This bit is not set for a 32-bit program: linux/audit.h.
const AUDIT_ARCH_64BIT: u32 = 0x8000_0000;

/// As the C library declares it.
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;
#[cfg(target_env = "musl")]
type Request = c_int;

fn ptrace(request: Request, tid: Tid, address: usize, data: usize) -> Result<i64, Errno> {
    // SAFETY: the callers pass the arguments that the request needs.
    let result = unsafe { libc::ptrace(request, tid, address as *mut c_void, data as *mut c_void) };
    Errno::result(result)
}

pub(crate) fn seize(tid: Tid, options: c_int) -> Result<(), Errno> {
    ptrace(libc::PTRACE_SEIZE, tid, 0, options as usize).map(drop)
}

pub(crate) fn set_options(tid: Tid, options: c_int) -> Result<(), Errno> {
    ptrace(libc::PTRACE_SETOPTIONS, tid, 0, options as usize).map(drop)
}

/// Lets a tracee continue with a signal, or without one: 0. If the tracee is dead, its end comes next.
pub(crate) fn go_on(tid: Tid, how: Continue, signal: c_int) {
    let request = match how {
        Continue::Run => libc::PTRACE_CONT,
        Continue::ToSystemCall => libc::PTRACE_SYSCALL,
    };
    let _ = ptrace(request, tid, 0, signal as usize);
}

/// Keeps a tracee stopped until SIGCONT continues its process.
pub(crate) fn listen(tid: Tid) {
    let _ = ptrace(libc::PTRACE_LISTEN, tid, 0, 0);
}

/// Ends the tracing of a stopped tracee. The tracee continues with a signal or without one.
pub(crate) fn detach(tid: Tid, signal: c_int) {
    let _ = ptrace(libc::PTRACE_DETACH, tid, 0, signal as usize);
}

/// Stops a tracee. The stop is reported as an event. If the tracee comes to another stop first, only that one is reported.
pub(crate) fn interrupt(tid: Tid) -> Result<(), Errno> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// The message of an event. After a fork or clone: the id of the new thread. After an exec: the former id of the thread
/// that called exec.
pub(crate) fn event_message(tid: Tid) -> Result<u64, Errno> {
    let mut message: libc::c_ulong = 0;
    ptrace(libc::PTRACE_GETEVENTMSG, tid, 0, &raw mut message as usize)?;
    Ok(message)
}

/// The sender of a signal, at the stop for it.
pub(crate) fn signal_info(tid: Tid) -> Result<libc::siginfo_t, Errno> {
    // SAFETY: a siginfo_t is plain numbers.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    ptrace(libc::PTRACE_GETSIGINFO, tid, 0, &raw mut info as usize)?;
    Ok(info)
}

/// The stack pointer of a stopped tracee, and the size of a pointer.
pub(crate) fn stack_pointer(tid: Tid) -> Result<(u64, usize), Errno> {
    /// The beginning of `struct ptrace_syscall_info`, and room for its end.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        operation: u8,
        padding: [u8; 3],
        architecture: u32,
        instruction_pointer: u64,
        stack_pointer: u64,
        rest: [u64; 9],
    }
    let mut info = Info::default();
    ptrace(GET_SYSCALL_INFO, tid, size_of::<Info>(), &raw mut info as usize)?;
    Ok((info.stack_pointer, if info.architecture & AUDIT_ARCH_64BIT == 0 { 4 } else { 8 }))
}

/// Waits for a tracee of the calling thread.
pub(crate) fn wait() -> Result<Change, Errno> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers.
    let mut usage: rusage = unsafe { mem::zeroed() };
    let flags = libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: status and usage outlive the call.
    let tid = Errno::result(unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) })?;
    Ok(Change { tid, status, usage })
}

/// Waits until a tracee of the calling thread has changed. [`wait`] still reports this change later. Returns whether the
/// tracee is dead.
pub(crate) fn peek() -> Result<bool, Errno> {
    // SAFETY: a siginfo_t is plain numbers.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: info outlives the call.
    Errno::result(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) })?;
    Ok([libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&info.si_code))
}

/// Whether the process has that thread.
pub(crate) fn has_thread(tgid: Tid, tid: Tid) -> bool {
    // SAFETY: no memory is involved. The call only checks.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, 0) };
    Errno::result(result) != Err(Errno::ESRCH)
}

/// The leader of a process's group; 0 if it is not visible here.
pub(crate) fn group_of(tgid: Tid) -> Tid {
    // SAFETY: no memory is involved.
    unsafe { libc::getpgid(tgid) }.max(0)
}

/// The leader of a process's session; 0 if it is not visible here.
pub(crate) fn session_of(tgid: Tid) -> Tid {
    // SAFETY: no memory is involved.
    unsafe { libc::getsid(tgid) }.max(0)
}

/// From -20, the most favoured, to 19.
pub(crate) fn nice_of(tgid: Tid) -> c_int {
    // SAFETY: no memory is involved.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, tgid.cast_unsigned()) }
}

/// Readable when the process has ended.
pub(crate) fn pidfd_open(tgid: Tid) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is involved.
    let descriptor = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, tgid, 0) })?;
    // SAFETY: the kernel has just opened it for us. Descriptors are small numbers.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as c_int) })
}

/// The number of a process's control group of version 2.
///
/// # Errors
///
/// `ESRCH` if there is no such process. Another error if the kernel is older than Linux 6.13, which does not report the number.
pub(crate) fn control_group(tgid: Tid) -> Result<u64, Errno> {
    /// `struct pidfd_info` of linux/pidfd.h, in its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        control_group: u64,
        rest: [u32; 12],
    }
    /// `_IOWR(0xff, 11, struct pidfd_info)`
    const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;
    const HAS_CONTROL_GROUP: u64 = 1 << 2;
    let process = pidfd_open(tgid)?;
    let mut info = Info { mask: HAS_CONTROL_GROUP, ..Info::default() };
    // SAFETY: info outlives the call, and the request names its size.
    Errno::result(unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) })?;
    if info.mask & HAS_CONTROL_GROUP == 0 { Err(Errno::ENODATA) } else { Ok(info.control_group) }
}

/// The size of a page. A tracee's memory is read page by page.
const PAGE: u64 = 4096;

/// Pages that one call reads. The kernel allows 1024 (UIO_MAXIOV).
const PAGES: usize = 64;

/// Reads up to `size` bytes, beginning at `address`, and appends them to `bytes`. It reads fewer bytes if the memory ends
/// before.
///
/// # Errors
///
/// The kernel does not allow it.
pub(crate) fn read_memory(tid: Tid, address: u64, size: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let (mut at, end) = (address, address.saturating_add(size as u64));
    while at < end {
        // Each page is a separate vector, because the kernel reads whole vectors only.
        let mut remote = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PAGES];
        let (mut count, mut wanted) = (0, 0);
        let mut next = at;
        while next < end && count < PAGES {
            let length = (PAGE - next % PAGE).min(end - next);
            remote[count] = libc::iovec { iov_base: next as *mut c_void, iov_len: length as usize };
            (next, wanted, count) = (next + length, wanted + length as usize, count + 1);
        }
        bytes.reserve(wanted);
        let room = bytes.spare_capacity_mut();
        let local = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: wanted };
        // SAFETY: the local vector is the spare room, which has at least `wanted` bytes.
        let result = unsafe { libc::process_vm_readv(tid, &raw const local, 1, remote.as_ptr(), count as u64, 0) };
        let read = match Errno::result(result) {
            Ok(read) => read as usize,
            Err(Errno::EFAULT) => 0,
            Err(error) if at == address => return Err(error.into()),
            Err(_) => 0,
        };
        // SAFETY: the kernel has written that many bytes.
        unsafe { bytes.set_len(bytes.len() + read) };
        if read < wanted {
            break;
        }
        at = next;
    }
    Ok(())
}

/// Does the same, word by word. This also works after a change of user.
pub(crate) fn peek_memory(tid: Tid, address: u64, size: usize, bytes: &mut Vec<u8>) -> Result<(), Errno> {
    let tid = nix::unistd::Pid::from_raw(tid);
    for offset in (0..size).step_by(size_of::<libc::c_long>()) {
        let at = address + offset as u64;
        match nix::sys::ptrace::read(tid, at as nix::sys::ptrace::AddressType) {
            Ok(word) => {
                let word = word.to_ne_bytes();
                bytes.extend_from_slice(&word[..word.len().min(size - offset)]);
            }
            Err(error) if offset == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(())
}
