//! Whether this kernel and these privileges allow tracing, and what to do where they do not.

use std::{fs, path::Path};

/// Linux 5.8: the ring buffer, CAP_BPF, and the boot clock for programs.
pub const KERNEL_FLOOR: (u32, u32) = (5, 8);

/// The kernel's description of its own types, which fits the programs to it.
pub const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What stands in the way of tracing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The kernel lacks what the programs need.
    #[error("Linux {0} is too old: eBPF ring buffers need 5.8 or later")]
    OldKernel(String),
    /// The kernel does not describe its types.
    #[error("the kernel has no type information: {KERNEL_TYPES} is missing (CONFIG_DEBUG_INFO_BTF)")]
    NoTypes,
    /// Lockdown forbids reading kernel memory.
    #[error("kernel lockdown is in confidentiality mode, which forbids eBPF programs to read kernel memory")]
    Lockdown,
    /// Not enough privileges.
    #[error("missing {missing}; run with sudo, or once: sudo setcap cap_bpf,cap_perfmon=ep {executable}")]
    Privileges {
        /// The capabilities that are missing.
        missing: &'static str,
        /// This program's path.
        executable: String,
    },
}

/// Looks for what would make loading the programs fail.
///
/// # Errors
///
/// The first obstacle found, the ones beyond remedy first.
pub fn check() -> Result<(), Obstacle> {
    if let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease")
        && kernel_version(&release).is_some_and(|version| version < KERNEL_FLOOR)
    {
        return Err(Obstacle::OldKernel(release.trim().to_owned()));
    }
    if !Path::new(KERNEL_TYPES).exists() {
        return Err(Obstacle::NoTypes);
    }
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return Err(Obstacle::Lockdown);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(missing) = effective_capabilities(&status).and_then(missing_capabilities) {
        let executable = std::env::current_exe().unwrap_or_else(|_| "process-tracer".into());
        return Err(Obstacle::Privileges { missing, executable: executable.display().to_string() });
    }
    Ok(())
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_capabilities(effective: u64) -> Option<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    match (has(CAP_SYS_ADMIN) || has(CAP_BPF), has(CAP_SYS_ADMIN) || has(CAP_PERFMON)) {
        (true, true) => None,
        (true, false) => Some("CAP_PERFMON"),
        (false, true) => Some("CAP_BPF"),
        (false, false) => Some("CAP_BPF and CAP_PERFMON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_compare_as_numbers() {
        assert_eq!(kernel_version("5.10.0-39-amd64\n"), Some((5, 10)));
        assert!(kernel_version("5.10.0").unwrap() > KERNEL_FLOOR);
        assert!(kernel_version("4.19.0").unwrap() < KERNEL_FLOOR);
        assert_eq!(kernel_version("weird"), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let effective = |status| missing_capabilities(effective_capabilities(status).unwrap());
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), None);
        assert_eq!(effective("CapEff:\t000000c000000000\n"), None);
        assert_eq!(effective("CapEff:\t0000000000200000\n"), None);
        assert_eq!(effective("CapEff:\t0000008000000000\n"), Some("CAP_PERFMON"));
        assert_eq!(effective("CapEff:\t0000004000000000\n"), Some("CAP_BPF"));
        assert_eq!(effective("CapEff:\t0000000000000000\n"), Some("CAP_BPF and CAP_PERFMON"));
    }
}
