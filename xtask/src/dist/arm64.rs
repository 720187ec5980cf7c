//! Runs the release for 64-bit ARM in an emulated machine: a kernel of Debian, busybox, and the static program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{NAME, files, stage};
use crate::{root, setup, succeed};

/// The kernel and busybox. The machine has no other program except process-tracer.
const PACKAGES: [&str; 2] = ["linux-image-cloud-arm64", "busybox-static"];

/// Time limit, seconds.
const LIMIT: &str = "900";

/// The last line of the machine.
const SENTINEL: &str = "the checks have passed";

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
ip link set lo up
uname -srm
check() {
	for text in "$@"; do
		grep -q "$text" /out || { cat /out; echo "missing: $text"; return 1; }
	done
}
checks() {
	process-tracer doctor > /out || { cat /out; return 1; }
	cat /out
	check 'eBPF programs *loaded and attached' 'ptrace *works' || return 1
	# Processes, a failed exec, a connection and a lookup.
	nc -l -p 7 > /dev/null &
	sleep 1
	process-tracer --failed-execs -o tree -- sh -c \
		'busybox true; /bin/nothing; echo a | nc -w 1 127.0.0.1 7; timeout 2 nslookup example.test 127.0.0.1; exit 3' 2> /out
	[ $? -eq 3 ] || { cat /out; return 1; }
	cat /out
	check 'busybox' '/bin/nothing' '127.0.0.1:7' 'example.test' ', complete' || return 1
	process-tracer --source ptrace -o tree -- sh -c 'busybox true; busybox false; exit 4' 2> /out
	[ $? -eq 4 ] || { cat /out; return 1; }
	cat /out
	check 'busybox true' 'busybox false' || return 1
}
checks && echo SENTINEL
poweroff -f
"#;

/// Boots the machine and prints its output.
pub(super) fn run() -> Result<()> {
    setup::command("qemu-system-aarch64", "qemu-system-arm", "qemu-system-aarch64", "qemu-system-aarch64")?;
    setup::command("cpio", "cpio", "cpio", "cpio")?;
    let program = stage("static").join(NAME);
    let kind = Command::new("file").arg("--brief").arg(&program).output().context("cannot run file")?;
    if !String::from_utf8_lossy(&kind.stdout).contains("aarch64") {
        bail!("there is no release for arm64: run cargo xtask dist --arm64 first");
    }
    let system = system()?;
    let kernel = files(&system.join("boot"))?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")));
    let folder = root().join("target/dist-systems");
    let (initramfs, console) = (folder.join("arm64.cpio"), folder.join("arm64.console"));
    pack(&system, &program, &initramfs)?;
    let mut qemu = Command::new("timeout");
    qemu.args([
        LIMIT,
        "qemu-system-aarch64",
        "-machine",
        "virt",
        "-cpu",
        "max,pauth-impdef=on",
        "-smp",
        "2",
        "-m",
        "1024",
    ]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-append", "console=ttyAMA0 quiet panic=-1"]);
    qemu.arg("-kernel").arg(kernel.context("the package has no kernel")?).arg("-initrd").arg(&initramfs);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    let status = qemu.stdin(Stdio::null()).status().context("cannot run qemu")?;
    let said = fs::read_to_string(&console).unwrap_or_default().replace('\r', "");
    println!("{said}");
    if !said.lines().any(|line| line == SENTINEL) {
        bail!("the checks on arm64 have failed ({status})");
    }
    Ok(())
}

fn pack(system: &Path, program: &Path, archive: &Path) -> Result<()> {
    let stage = stage("arm64-root");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    for folder in ["proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(stage.join(folder))?;
    }
    super::install(&system.join("bin/busybox"), &stage.join("bin/busybox"))?;
    super::install(program, &stage.join("bin").join(NAME))?;
    let init = stage.join("init");
    fs::write(&init, INIT.replace("SENTINEL", &format!("'{SENTINEL}'")))?;
    super::install(&init, &stage.join("sbin/init"))?;
    fs::rename(stage.join("sbin/init"), init)?;
    let script = "find . | cpio --quiet --create --format=newc --owner=0:0";
    succeed(Command::new("sh").args(["-c", script]).current_dir(&stage).stdout(fs::File::create(archive)?))
}

/// The packages for arm64, unpacked. apt uses another folder for the lists of this architecture, so that the machine is
/// not changed.
fn system() -> Result<PathBuf> {
    let folder = root().join("target/dist-systems/arm64");
    let system = folder.join("system");
    if system.join("boot").is_dir() && system.join("bin/busybox").is_file() {
        return Ok(system);
    }
    fs::create_dir_all(folder.join("lists/partial"))?;
    fs::create_dir_all(folder.join("archives/partial"))?;
    fs::write(folder.join("sources.list"), "deb http://deb.debian.org/debian bookworm main\n")?;
    let option = |name: &str, value: &str| format!("--option={name}={value}");
    let path = |name: &str| folder.join(name).display().to_string();
    let options = [
        option("APT::Architecture", "arm64"),
        option("APT::Architectures", "arm64"),
        option("APT::Sandbox::User", "root"),
        option("Dir::State::lists", &path("lists")),
        option("Dir::State::status", "/dev/null"),
        option("Dir::Cache::archives", &path("archives")),
        option("Dir::Cache::pkgcache", ""),
        option("Dir::Cache::srcpkgcache", ""),
        option("Dir::Etc::sourcelist", &path("sources.list")),
        option("Dir::Etc::sourceparts", "-"),
    ];
    let apt = |program: &str| {
        let mut command = Command::new(program);
        command.args(&options).current_dir(&folder);
        command
    };
    println!("fetching {}", PACKAGES.join(" and "));
    succeed(apt("apt-get").args(["update", "-qq"]))?;
    let output = apt("apt-cache").args(["depends", PACKAGES[0]]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let kernel = text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).context("no kernel for arm64")?;
    succeed(apt("apt-get").args(["download", "-qq", kernel, PACKAGES[1]]))?;
    for package in files(&folder)?.iter().filter(|path| path.extension().is_some_and(|extension| extension == "deb")) {
        succeed(Command::new("dpkg-deb").arg("-x").arg(package).arg(&system))?;
    }
    Ok(system)
}
