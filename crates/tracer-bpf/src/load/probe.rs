//! Checks whether this kernel and these privileges allow eBPF, and how to fix it if not.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::{
    sys::statvfs::{FsFlags, statvfs},
    unistd::{Gid, geteuid},
};

/// Linux 5.8 has the ring buffer, CAP_BPF, and the boot clock for programs.
pub const KERNEL_FLOOR: (u32, u32) = (5, 8);

/// Since Linux 5.19, an unprivileged process can use descriptors of attached programs, also with
/// `unprivileged_bpf_disabled`.
pub const HANDING_OVER_FLOOR: (u32, u32) = (5, 19);

/// Since Linux 5.11, the memory of maps and programs does not count against RLIMIT_MEMLOCK.
pub const MEMLOCK_FREE: (u32, u32) = (5, 11);

/// The kernel's description of its types. The programs are relocated to these types.
pub const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

const CAP_SYS_ADMIN: u32 = 21;
/// linux/capability.h
pub const CAP_PERFMON: u32 = 38;
/// linux/capability.h
pub const CAP_BPF: u32 = 39;

/// A reason why eBPF is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The kernel is too old for the programs.
    #[error("Linux {0} is too old: eBPF ring buffers need 5.8 or later")]
    OldKernel(String),
    /// The kernel does not describe its types.
    #[error("the kernel has no type information: {KERNEL_TYPES} is missing")]
    NoTypes,
    /// Lockdown forbids reading kernel memory.
    #[error("kernel lockdown is in confidentiality mode, which forbids eBPF programs to read kernel memory")]
    Lockdown,
    /// Capabilities count only in the initial user namespace.
    #[error("the kernel allows eBPF programs only in the initial user namespace, and this is another one")]
    UserNamespace,
    /// Not enough privileges.
    #[error("missing {missing}")]
    Privileges {
        /// The capabilities that are missing.
        missing: &'static str,
        /// How to get them.
        remedy: String,
    },
    /// A seccomp filter refuses bpf(2). Only a call of bpf(2) shows this.
    #[error("a seccomp profile forbids bpf(2), although the capabilities are held")]
    Seccomp,
}

impl Obstacle {
    /// How to fix it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::OldKernel(_) => "use a newer kernel".to_owned(),
            Self::NoTypes => "use a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_owned(),
            Self::Lockdown => {
                "boot with lockdown=integrity on the kernel's command line, or without the option lockdown".to_owned()
            }
            Self::UserNamespace => {
                "start process-tracer outside of this namespace, and let it run the program that makes the namespace"
                    .to_owned()
            }
            Self::Privileges { remedy, .. } => remedy.clone(),
            Self::Seccomp => "in a container, add --security-opt seccomp=unconfined, or use --privileged".to_owned(),
        }
    }
}

/// The facts that are known before loading. `None` if a fact cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release, such as 6.1.0-39-amd64.
    pub release: String,
    /// Size of the kernel's type information in bytes.
    pub types: Option<u64>,
    /// The lockdown mode: none, integrity or confidentiality.
    pub lockdown: Option<String>,
    /// Whether this is the initial user namespace.
    pub is_initial_user_namespace: bool,
    /// Our effective capabilities, as a set of bits.
    pub capabilities: Option<u64>,
    /// `no_new_privs` is set: file capabilities have no effect.
    pub has_no_new_privileges: bool,
    /// Our effective user is root.
    pub is_root: bool,
    /// This program's file.
    pub executable: PathBuf,
}

impl Facts {
    /// Looks at the machine and at this process.
    #[must_use]
    pub fn gather() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let field = |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        Self {
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            types: fs::metadata(KERNEL_TYPES).ok().map(|metadata| metadata.len()),
            lockdown: selected(&read("/sys/kernel/security/lockdown")),
            is_initial_user_namespace: maps_all_users(&read("/proc/self/uid_map")),
            capabilities: field("CapEff:").and_then(|set| u64::from_str_radix(&set, 16).ok()),
            has_no_new_privileges: field("NoNewPrivs:").is_some_and(|value| value == "1"),
            is_root: geteuid().is_root(),
            executable: std::env::current_exe().unwrap_or_else(|_| "process-tracer".into()),
        }
    }

    /// Whether the kernel has this version or a later one. A kernel with an unknown version counts as new enough.
    #[must_use]
    pub fn is_at_least(&self, version: (u32, u32)) -> bool {
        kernel_version(&self.release).is_none_or(|ours| ours >= version)
    }

    /// All obstacles. Missing privileges come last.
    #[must_use]
    pub fn obstacles(&self) -> Vec<Obstacle> {
        let is_old = !self.is_at_least(KERNEL_FLOOR);
        let missing = self.capabilities.and_then(missing_capabilities);
        [
            is_old.then(|| Obstacle::OldKernel(self.release.clone())),
            self.types.is_none().then_some(Obstacle::NoTypes),
            (self.lockdown.as_deref() == Some("confidentiality")).then_some(Obstacle::Lockdown),
            (!self.is_initial_user_namespace).then_some(Obstacle::UserNamespace),
            missing.map(|missing| Obstacle::Privileges { missing, remedy: self.remedy_for_privileges() }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn remedy_for_privileges(&self) -> String {
        let executable = self.executable.display();
        if self.is_root {
            "give the container CAP_BPF and CAP_PERFMON by --cap-add BPF --cap-add PERFMON, and a seccomp profile that \
             allows bpf(2); if its profile allows bpf(2) only with CAP_SYS_ADMIN, add --security-opt seccomp=unconfined"
                .to_owned()
        } else if self.has_no_new_privileges {
            "no_new_privs is set here, so sudo and file capabilities have no effect: run as root".to_owned()
        } else if is_nosuid(&self.executable) {
            format!(
                "run with sudo; file capabilities would have no effect on {executable}, which is on a file system \
                 mounted nosuid"
            )
        } else {
            format!("run with sudo or --sudo, or once: sudo {executable} setup")
        }
    }
}

/// Checks for obstacles.
///
/// # Errors
///
/// The first obstacle found.
pub fn check() -> Result<(), Obstacle> {
    Facts::gather().obstacles().into_iter().next().map_or(Ok(()), Err)
}

/// Whether a seccomp filter decides which system calls we may make: proc_pid_status(5).
pub(super) fn has_filter() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.lines().any(|line| line == "Seccomp:\t2"))
}

/// Whether /proc hides the processes of other users from a user with these groups: proc(5), "Mount options".
#[must_use]
pub fn hides_processes(groups: &[Gid]) -> bool {
    hides_from(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), groups)
}

/// If several file systems are mounted on `/proc`, the last one counts. It covers the others.
fn hides_from(mountinfo: &str, groups: &[Gid]) -> bool {
    let is_proc = |line: &&str| line.split(' ').nth(4) == Some("/proc");
    let Some((_, file_system)) = mountinfo.lines().rfind(is_proc).and_then(|line| line.split_once(" - ")) else {
        return false;
    };
    let options = file_system.rsplit(' ').next().unwrap_or_default();
    let option = |name: &str| options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    match option("hidepid") {
        None | Some("off" | "0") => false,
        // This option has no exception for a group.
        Some("ptraceable" | "4") => true,
        Some(_) => {
            option("gid").and_then(|gid| gid.parse().ok()).is_none_or(|gid| !groups.contains(&Gid::from_raw(gid)))
        }
    }
}

/// Whether the effective capabilities include this one or CAP_SYS_ADMIN, which includes it.
#[must_use]
pub fn has_capability(effective: u64, capability: u32) -> bool {
    [CAP_SYS_ADMIN, capability].iter().any(|capability| effective & (1 << capability) != 0)
}

/// The choice in brackets.
fn selected(choices: &str) -> Option<String> {
    Some(choices.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// Whether this is the `uid_map` of the initial user namespace: user_namespaces(7). If there is no such file, the kernel has
/// no other user namespaces.
fn maps_all_users(uid_map: &str) -> bool {
    uid_map.is_empty() || uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether file capabilities have no effect on this file, because its file system is mounted nosuid.
#[must_use]
pub fn is_nosuid(executable: &Path) -> bool {
    statvfs(executable).is_ok_and(|file_system| file_system.flags().contains(FsFlags::ST_NOSUID))
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn missing_capabilities(effective: u64) -> Option<&'static str> {
    match (has_capability(effective, CAP_BPF), has_capability(effective, CAP_PERFMON)) {
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
        assert_eq!(missing_capabilities(0x1ff_ffff_ffff), None);
        assert_eq!(missing_capabilities(0xc0_0000_0000), None);
        assert_eq!(missing_capabilities(1 << CAP_SYS_ADMIN), None);
        assert_eq!(missing_capabilities(1 << CAP_BPF), Some("CAP_PERFMON"));
        assert_eq!(missing_capabilities(1 << CAP_PERFMON), Some("CAP_BPF"));
        assert_eq!(missing_capabilities(0), Some("CAP_BPF and CAP_PERFMON"));
    }

    #[test]
    fn hidden_processes_follow_from_the_mount_options_of_proc() {
        let hides = |options: &str| {
            let own = format!(
                "22 28 0:21 / /proc rw,relatime shared:12 - proc proc rw{options}\n23 22 0:30 / /proc/x rw - a b rw"
            );
            hides_from(&own, &[Gid::from_raw(7), Gid::from_raw(27)])
        };
        for options in [",hidepid=invisible", ",hidepid=2", ",gid=28,hidepid=noaccess", ",hidepid=ptraceable,gid=27"] {
            assert!(hides(options), "{options}");
        }
        for options in ["", ",hidepid=off", ",gid=27", ",gid=27,hidepid=invisible"] {
            assert!(!hides(options), "{options}");
        }
        let two = "1 0 0:2 / /proc rw - proc proc rw\n2 1 0:3 / /proc rw - proc none rw,hidepid=invisible\n";
        assert!(hides_from(two, &[]) && !hides_from("", &[]));
    }

    #[test]
    fn missing_privileges_are_the_last_obstacle() {
        let facts = Facts {
            release: "5.4.0-1-amd64".to_owned(),
            types: None,
            lockdown: selected("none integrity [confidentiality]\n"),
            is_initial_user_namespace: maps_all_users("         0       1000          1\n"),
            capabilities: Some(0),
            has_no_new_privileges: false,
            is_root: false,
            executable: "/opt/process-tracer".into(),
        };
        let obstacles = facts.obstacles();
        assert_eq!(obstacles[0], Obstacle::OldKernel("5.4.0-1-amd64".to_owned()));
        assert_eq!(obstacles[1..4], [Obstacle::NoTypes, Obstacle::Lockdown, Obstacle::UserNamespace]);
        assert!(obstacles[4].remedy().ends_with("once: sudo /opt/process-tracer setup"));
        let facts = Facts {
            release: "6.1.0".to_owned(),
            types: Some(1),
            lockdown: selected("[none] integrity confidentiality"),
            is_initial_user_namespace: maps_all_users("         0          0 4294967295\n"),
            capabilities: Some(u64::MAX),
            ..facts
        };
        assert_eq!(facts.obstacles(), []);
    }
}
