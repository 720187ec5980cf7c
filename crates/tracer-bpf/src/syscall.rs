//! The bpf(2) commands. The loader of aya parses all types of the kernel. These calls need only the reduced types.

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_func_info, bpf_insn, bpf_prog_info, bpf_prog_type};
use nix::libc;

/// Loads the type information of the object. It gives types to global functions. Without types, the verifier would
/// verify a function again at each call.
pub(crate) fn load_types(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_7.btf = address(btf);
    attributes.__bindgen_anon_7.btf_size = length(btf);
    bpf(bpf_cmd::BPF_BTF_LOAD, &mut attributes)
}

/// A raw tracepoint program, relocated.
pub(crate) struct RawTracepoint<'a> {
    pub(crate) name: &'a str,
    pub(crate) license: &'a CStr,
    pub(crate) instructions: &'a [bpf_insn],
    pub(crate) functions: &'a [bpf_func_info],
    pub(crate) types: &'a OwnedFd,
}

impl RawTracepoint<'_> {
    /// Lets the kernel verify and load the program. The verifier writes into `log`, unless it is empty.
    pub(crate) fn load(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        let mut attributes = zeroed();
        // SAFETY: the whole union is zeroed, and any bytes are a value of this variant.
        let program = unsafe { &mut attributes.__bindgen_anon_3 };
        program.prog_type = bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT as u32;
        program.insns = address(self.instructions);
        program.insn_cnt = length(self.instructions);
        program.license = self.license.as_ptr() as u64;
        program.prog_btf_fd = self.types.as_raw_fd() as u32;
        program.func_info = address(self.functions);
        program.func_info_cnt = length(self.functions);
        program.func_info_rec_size = size_of::<bpf_func_info>() as u32;
        // The last byte stays NUL.
        for (to, from) in program.prog_name[..15].iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        if !log.is_empty() {
            program.log_level = 1;
            program.log_buf = log.as_mut_ptr() as u64;
            program.log_size = length(log);
        }
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes)
    }
}

/// Attaches a program. It runs until the descriptor is closed.
pub(crate) fn attach(program: &impl AsFd, tracepoint: &CStr) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.raw_tracepoint.name = tracepoint.as_ptr() as u64;
    attributes.raw_tracepoint.prog_fd = program.as_fd().as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attributes)
}

/// How often the kernel has skipped a program because it was already running on that processor. Kernels before 6.1 run
/// the program again instead.
pub(crate) fn missed_runs(program: &impl AsFd) -> io::Result<u64> {
    // SAFETY: a struct of plain numbers.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    let mut attributes = zeroed();
    attributes.info.bpf_fd = program.as_fd().as_raw_fd() as u32;
    attributes.info.info = &raw mut info as u64;
    attributes.info.info_len = size_of::<bpf_prog_info>() as u32;
    command(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info.recursion_misses)
}

/// Runs a command that returns a new descriptor.
fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let descriptor = self::command(command, attributes)?;
    // SAFETY: the commands used here return a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn command(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the attributes have this size, and all that they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of plain numbers. For the kernel a zero means "not given".
    unsafe { mem::zeroed() }
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

fn length<T>(slice: &[T]) -> u32 {
    slice.len() as u32
}
