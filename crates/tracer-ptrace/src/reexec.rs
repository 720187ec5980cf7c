//! Lets programs that gain privileges keep these privileges under an unprivileged tracer.
//!
//! The kernel ignores a setuid bit, a setgid bit and file capabilities at an exec under a tracer without CAP_SYS_PTRACE.
//! So the process executes the same program once more, after the tracer has left it. [`Reexec::at_exec`] prepares that
//! call and detaches.
//!
//! The tracer loop calls this at every PTRACE_EVENT_EXEC stop. This module does not know events or counts.

mod machine;
mod privileges;
mod program;

use std::{
    fs::Metadata,
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use hashbrown::HashMap;
use nix::{errno::Errno, sys::ptrace, unistd::Pid};
use thiserror::Error;

use self::{
    machine::{Borrowed, Memory},
    program::Program,
};
use crate::{
    arch::{Abi, Registers},
    exe::{Exe, Version, version},
};

/// Whether a program that we cannot read keeps its privileges.
pub const KEEPS_UNREADABLE: bool = crate::arch::CAN_SKIP_CALL;

pub use self::privileges::{Credentials, FileCapabilities, Gain, ProgramFile, gain};

/// The result for a process at its exec.
#[derive(Debug)]
pub enum AtExec {
    /// The exec gives no privileges. The process is still stopped, and the tracer continues with it.
    Follow,
    /// The process runs without a tracer and has its privileges.
    Detached(Gain),
    /// The process did not get its privileges. It is still stopped, and the tracer continues with it.
    Lost(Gain, Refusal),
}

/// Why a program cannot be executed once more.
#[derive(Debug, Error)]
pub enum Refusal {
    /// See the text.
    #[error("its file has no path any more")]
    NoPath,
    /// See the text.
    #[error("its arguments are not those of the script that started it")]
    UnknownScript,
    /// See the text.
    #[error("its memory cannot be read")]
    NoAccess,
    /// See the text.
    #[error("this kind of program is not supported on this processor")]
    UnknownAbi,
    /// See the text.
    #[error("it has no vDSO with a system call instruction")]
    NoInstruction,
    /// See the text.
    #[error("a signal came during its exec")]
    Disturbed,
    /// The process has ended. Its end can be waited for.
    #[error("it has ended")]
    Ended,
    /// ptrace(2) or wait(2) failed.
    #[error(transparent)]
    System(#[from] Errno),
}

/// Checks execs for one tracer.
#[derive(Debug)]
pub struct Reexec {
    tracer_is_privileged: bool,
    /// The known facts about files.
    files: HashMap<Version, Option<ProgramFile>>,
}

impl Reexec {
    /// For a tracer that is the calling thread. The kernel uses the credentials that the tracer had at PTRACE_SEIZE.
    ///
    /// # Errors
    ///
    /// `/proc` is not mounted.
    pub fn for_this_thread() -> io::Result<Self> {
        Ok(Self { tracer_is_privileged: Credentials::own()?.may_trace_privileged(), files: HashMap::new() })
    }

    /// Checks a process at its PTRACE_EVENT_EXEC stop. The calling thread is its tracer.
    pub fn at_exec(&mut self, pid: Pid, exe: &Exe) -> AtExec {
        if self.tracer_is_privileged {
            return AtExec::Follow;
        }
        match exe.metadata() {
            Ok(metadata) => {
                let read = || ProgramFile::with_metadata(exe.path(), metadata).ok().filter(|file| !file.is_plain());
                let file = *self.files.entry(version(metadata)).or_insert_with(read);
                match file.and_then(|file| gain_of(pid, exe.path(), file)) {
                    None => AtExec::Follow,
                    Some(gain) => end(gain, again(pid, metadata)),
                }
            }
            Err(io::ErrorKind::PermissionDenied) => at_exec_of_stranger(pid),
            Err(_) => AtExec::Follow,
        }
    }
}

fn end(gain: Gain, result: Result<(), Refusal>) -> AtExec {
    match result {
        Ok(()) => AtExec::Detached(gain),
        Err(Refusal::Ended | Refusal::System(Errno::ESRCH)) => AtExec::Follow,
        Err(refusal) => AtExec::Lost(gain, refusal),
    }
}

fn gain_of(pid: Pid, path: &Path, file: ProgramFile) -> Option<Gain> {
    if file.is_plain() {
        return None;
    }
    let gain = gain(&file.on_mount(path).ok()?, &Credentials::read(pid.as_raw()).ok()?)?;
    in_our_user_namespace(pid).then_some(gain)
}

/// Whether the process is in our user namespace. In a user namespace that a traced process has made, a tracer of the
/// same user has all capabilities. So the kernel withholds no privilege there. A setuid file gives none if its owner has
/// no id in that namespace.
fn in_our_user_namespace(pid: Pid) -> bool {
    let inode = |process: &str| Path::new("/proc").join(process).join("ns/user").metadata().map(|file| file.ino());
    match (inode(&pid.to_string()), inode("self")) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        // The namespace of another user's process cannot be read. It counts as ours.
        _ => true,
    }
}

/// Executes the program of a process again. We may read its `/proc/PID/exe`.
fn again(pid: Pid, exe: &Metadata) -> Result<(), Refusal> {
    let registers = Registers::read(pid)?;
    let abi = registers.abi().ok_or(Refusal::UnknownAbi)?;
    let memory = Memory::Peek(pid);
    let stack = Stack::read(memory, abi, registers.stack_pointer())?;
    let is_exe = |other: &Metadata| (other.dev(), other.ino()) == (exe.dev(), exe.ino());
    let name = memory.string(stack.execfn)?;
    let call = match Program::find(pid, &name) {
        Ok(program) if is_exe(&program.metadata) && stack.is_script(memory, &program, &name)? => {
            stack.exec_again(program.inserted)
        }
        // The exec used a descriptor (execveat(2)), or the name refers to another file now.
        _ => {
            let path = std::fs::read_link(format!("/proc/{pid}/exe")).map_err(|_| Refusal::NoPath)?;
            let inside =
                Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(&path));
            if !inside.metadata().is_ok_and(|found| is_exe(&found)) {
                return Err(Refusal::NoPath);
            }
            let path = path.as_os_str().as_bytes();
            // The mapping of the stack has 128 KiB more below the stack pointer (`setup_arg_pages` in fs/exec.c).
            let below = (registers.stack_pointer() - 256 - path.len() as u64) & !7;
            machine::poke(pid, below, path)?;
            [below, stack.argv, stack.envp, 0]
        }
    };
    leave_for(pid, abi, stack.syscall_instruction(memory)?, call)
}

/// Continues the process to the exit of its execve. Then makes it execute `call`, and detaches. The PTRACE_EVENT_EXEC
/// stop is too early for this, because the kernel still overwrites the result register.
fn leave_for(pid: Pid, abi: &Abi, instruction: u64, call: [u64; 4]) -> Result<(), Refusal> {
    machine::next_syscall_stop(pid)?;
    exec_and_detach(pid, abi, instruction, call)
}

fn exec_and_detach(pid: Pid, abi: &Abi, instruction: u64, call: [u64; 4]) -> Result<(), Refusal> {
    let mut registers = Registers::read(pid)?;
    registers.call(instruction, abi.execve, call);
    registers.write(pid)?;
    Ok(ptrace::detach(pid, None)?)
}

/// Checks a process whose `/proc/PID/exe` we may not read. It is another user's process, or it runs an unreadable file.
fn at_exec_of_stranger(pid: Pid) -> AtExec {
    if Credentials::read(pid.as_raw()).is_ok_and(|after| after.no_new_privileges) {
        return AtExec::Follow;
    }
    let facts = || -> Result<_, Refusal> {
        let registers = Registers::read(pid)?;
        Ok((registers.stack_pointer(), registers.abi().ok_or(Refusal::UnknownAbi)?))
    };
    let (stack_pointer, abi) = match facts() {
        Ok(facts) => facts,
        Err(refusal) => return end(Gain::Unreadable, Err(refusal)),
    };
    if machine::peek(pid, stack_pointer).is_ok() {
        let memory = Memory::Peek(pid);
        let prepared = prepare_stranger(pid, memory, abi, stack_pointer);
        return match prepared {
            // Without these facts, probably no privilege is lost, because few programs gain privileges.
            Ok(None | Some((Gain::Unreadable, ..))) | Err(_) => AtExec::Follow,
            Ok(Some((gain, stack, call))) => {
                let instruction = stack.syscall_instruction(memory);
                end(gain, instruction.and_then(|instruction| leave_for(pid, abi, instruction, call)))
            }
        };
    }
    let borrowed = match machine::next_syscall_stop(pid).and_then(|()| Borrowed::begin(pid, abi)) {
        Ok(borrowed) => borrowed,
        Err(refusal) => return end(Gain::Unreadable, Err(refusal)),
    };
    let prepared = prepare_stranger(pid, Memory::Borrowed(&borrowed), abi, stack_pointer);
    let refused = |gain, refusal| match borrowed.give_back() {
        Ok(()) => end(gain, Err(refusal)),
        Err(failure) => end(gain, Err(failure)),
    };
    match prepared {
        Ok(Some((gain, _, call))) => {
            match borrowed.end().and_then(|instruction| exec_and_detach(pid, abi, instruction, call)) {
                Ok(()) => AtExec::Detached(gain),
                Err(refusal) => refused(gain, refusal),
            }
        }
        Ok(None) => match borrowed.give_back() {
            Ok(()) => AtExec::Follow,
            Err(failure) => end(Gain::Unreadable, Err(failure)),
        },
        Err(refusal) => refused(Gain::Unreadable, refusal),
    }
}

/// Decides by the path of the exec alone. `None`: the exec gives no privilege.
fn prepare_stranger(
    pid: Pid,
    memory: Memory<'_>,
    abi: &'static Abi,
    stack_pointer: u64,
) -> Result<Option<(Gain, Stack, [u64; 4])>, Refusal> {
    let stack = Stack::read(memory, abi, stack_pointer)?;
    let name = memory.string(stack.execfn)?;
    if let Ok(program) = Program::find(pid, &name) {
        let file = ProgramFile::with_metadata(&program.path, &program.metadata).ok();
        let Some(gain) = file.and_then(|file| gain_of(pid, &program.path, file)) else { return Ok(None) };
        if !stack.is_script(memory, &program, &name)? {
            return Err(Refusal::UnknownScript);
        }
        let call = stack.exec_again(program.inserted);
        return Ok(Some((gain, stack, call)));
    }
    // The path is a descriptor that may be closed, or a script whose interpreter is unknown. So it cannot be executed
    // again.
    if name.starts_with(b"/dev/fd/") {
        return Err(Refusal::NoPath);
    }
    let first = stack.argument(memory, 0)?;
    for index in 1..=2 {
        if first != name && stack.argument(memory, index)? == name {
            return Err(Refusal::UnknownScript);
        }
    }
    let call = stack.exec_again(0);
    Ok(Some((Gain::Unreadable, stack, call)))
}

/// Addresses on the stack of a new program.
struct Stack {
    abi: &'static Abi,
    argc: u64,
    argv: u64,
    envp: u64,
    /// The path of the exec. For a script, it is the path of the script.
    execfn: u64,
    /// 0: there is no such address.
    vdso: u64,
}

impl Stack {
    /// Reads the stack as create_elf_tables (fs/binfmt_elf.c) writes it: argc, argv, envp, the auxiliary vector.
    fn read(memory: Memory<'_>, abi: &'static Abi, stack_pointer: u64) -> Result<Self, Refusal> {
        let argc = pointer(memory, abi, stack_pointer)?;
        let argv = stack_pointer + abi.word;
        let envp = argv + abi.word * (argc + 1);
        let mut at = envp;
        while pointer(memory, abi, at)? != 0 {
            at += abi.word;
        }
        let mut stack = Self { abi, argc, argv, envp, execfn: 0, vdso: 0 };
        loop {
            let (kind, value) = (pointer(memory, abi, at + abi.word)?, pointer(memory, abi, at + 2 * abi.word)?);
            match kind {
                libc::AT_NULL => break,
                libc::AT_EXECFN => stack.execfn = value,
                libc::AT_SYSINFO_EHDR => stack.vdso = value,
                _ => {}
            }
            at += 2 * abi.word;
        }
        if stack.execfn == 0 { Err(Refusal::NoPath) } else { Ok(stack) }
    }

    /// The argument at `index`. It is empty after the last argument.
    fn argument(&self, memory: Memory<'_>, index: u64) -> Result<Vec<u8>, Refusal> {
        if index >= self.argc {
            return Ok(Vec::new());
        }
        let address = pointer(memory, self.abi, self.argv + index * self.abi.word)?;
        memory.string(address)
    }

    /// Whether the arguments are those of this program, or of the script `name` that it interprets.
    fn is_script(&self, memory: Memory<'_>, program: &Program, name: &[u8]) -> Result<bool, Refusal> {
        Ok(program.inserted == 0 || self.argument(memory, program.inserted as u64)? == name)
    }

    /// The arguments for a second execve of the same path.
    ///
    /// For a script, the kernel replaced argv[0] by the interpreter, its argument and the path of the script. The arguments for
    /// the new execve begin with this path. The kernel replaces the path in the same way, so the result is the same.
    fn exec_again(&self, inserted: usize) -> [u64; 4] {
        [self.execfn, self.argv + inserted as u64 * self.abi.word, self.envp, 0]
    }

    /// The address of an instruction in the vDSO that makes a system call.
    fn syscall_instruction(&self, memory: Memory<'_>) -> Result<u64, Refusal> {
        // The vDSO of Linux 6.18 has two pages.
        const LONGEST: u64 = 4 * 4096;
        if self.vdso == 0 {
            return Err(Refusal::NoInstruction);
        }
        let wanted = self.abi.syscall;
        let mut code = Vec::new();
        for offset in (0..LONGEST).step_by(8) {
            let Ok(word) = memory.word(self.vdso + offset) else { break };
            code.extend_from_slice(&word.to_ne_bytes());
            let from = code.len().saturating_sub(8 + wanted.len());
            if let Some(at) = code.get(from..).and_then(|new| new.windows(wanted.len()).position(|code| code == wanted))
            {
                return Ok(self.vdso + (from + at) as u64);
            }
        }
        Err(Refusal::NoInstruction)
    }
}

fn pointer(memory: Memory<'_>, abi: &Abi, address: u64) -> Result<u64, Refusal> {
    let word = memory.word(address)?;
    Ok(if abi.word == 4 { word & u64::from(u32::MAX) } else { word })
}
