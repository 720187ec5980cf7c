//! Runs the kernel tests in other kernels, each in its own virtual machine. The machine has a kernel of Debian and an
//! initramfs with the programs of this machine. It is emulated without KVM, so that it works everywhere.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{CAPABILITIES, artifacts, cargo, root, setup, succeed};

/// A kernel and the Debian package that depends on its newest point release.
const KERNELS: [(&str, &str); 2] = [("6.1", "linux-image-cloud-amd64"), ("6.12", "linux-image-6.12-cloud-amd64")];

/// The system's programs that the tests run.
const PROGRAMS: [&str; 48] = [
    "awk", "bash", "cat", "chmod", "chrt", "cp", "cut", "dash", "echo", "env", "expr", "false", "grep", "head", "id",
    "ls", "md5sum", "mkdir", "mkfifo", "mktemp", "mount", "nice", "printf", "pwd", "readlink", "rm", "sed", "seq",
    "setarch", "setcap", "setpriv", "sh", "sleep", "sort", "stty", "taskset", "timeout", "touch", "tr", "true", "yes",
    "setsid", "uname", "unshare", "xargs", "tee", "wc", "base64",
];

/// The tests that depend on the kernel.
const TESTS: &str = "connections:: flows:: losses:: names:: privileges:: processes:: unix:: terminal_and_job_control";

/// Tests that these virtual machines cannot run. One needs a collector, one takes minutes, the others need a kernel module.
const SKIPPED: &str = "--skip checks_the_collector --skip ten_thousand_forks --skip through_stacked_devices \
    --skip a_queued_datagram --skip that_waits_for_address_resolution";

/// Memory of the virtual machine, MiB.
const MEMORY: u32 = 2048;

/// Time limit for one virtual machine, seconds. A virtual machine needs much less.
const LIMIT: u32 = 2400;

/// The last line that the virtual machine prints, followed by the exit status.
const SENTINEL: &str = "exit status of the tests: ";

/// Runs the tests in the kernel of that name, or in all kernels.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    let wanted = match arguments {
        [] => "all",
        [flag, kernel] if flag == "--kernel" => kernel,
        _ => bail!("usage: cargo xtask vmtest [--kernel 6.1|6.12|all]"),
    };
    let kernels: Vec<_> = KERNELS.iter().filter(|(name, _)| wanted == "all" || wanted == *name).collect();
    if kernels.is_empty() {
        bail!("no kernel '{wanted}'; there are 6.1, 6.12 and all");
    }
    setup::for_building()?;
    setup::for_testing()?;
    setup::command("qemu-system-x86_64", "qemu-system-x86", "qemu-system-x86", "qemu-system-x86")?;
    setup::command("cpio", "cpio", "cpio", "cpio")?;
    let initramfs = initramfs()?;
    let kernels: Vec<_> =
        kernels.into_iter().map(|(name, package)| Ok((*name, kernel(package)?))).collect::<Result<_>>()?;
    println!("booting; it takes a few minutes");
    // The kernels run in parallel, because each virtual machine takes one processor.
    std::thread::scope(|scope| {
        let run = |(name, kernel): &(&str, PathBuf)| {
            boot(name, kernel, &initramfs, "tests", "")?;
            boot(name, kernel, &initramfs, "lockdown", "lockdown=confidentiality")
        };
        let machines: Vec<_> = kernels.iter().map(|kernel| scope.spawn(move || run(kernel))).collect();
        let joined = machines.into_iter().map(|machine| machine.join().unwrap_or_else(|_| bail!("a thread panicked")));
        // Waits for all of them, then returns the first failure.
        joined.collect::<Vec<_>>().into_iter().collect()
    })
}

fn folder() -> PathBuf {
    root().join("target/vm")
}

/// The newest point release of a kernel, from Debian's archive.
fn kernel(package: &str) -> Result<PathBuf> {
    let release = || -> Result<Option<String>> {
        let output = Command::new("apt-cache").args(["depends", package]).stderr(Stdio::null()).output();
        let text = String::from_utf8(output.context("vmtest needs apt-get, which fetches Debian's kernels")?.stdout)?;
        let depends = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(depends.map(str::to_owned))
    };
    let release = match release()? {
        Some(release) => release,
        None => {
            succeed(crate::as_root("apt-get").args(["update", "-qq"]))?;
            release()?.with_context(|| format!("there is no package {package}"))?
        }
    };
    let folder = folder().join(&release);
    let image =
        || fs::read_dir(folder.join("boot")).ok()?.flatten().map(|entry| entry.path()).find(|path| is_kernel(path));
    if let Some(image) = image() {
        return Ok(image);
    }
    println!("fetching {release}");
    fs::create_dir_all(&folder)?;
    succeed(Command::new("apt-get").args(["download", "-qq", &release]).current_dir(&folder))?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let deb = fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).find(is_package);
    succeed(Command::new("dpkg-deb").arg("-x").arg(deb.context("nothing was fetched")?).arg(&folder))?;
    image().with_context(|| format!("no kernel in {release}"))
}

fn is_kernel(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
}

/// This machine's programs, the tests, and an init that runs them.
fn initramfs() -> Result<PathBuf> {
    let stage = folder().join("root");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    for folder in
        ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "proc", "sys", "dev", "etc", "root", "tmp", "var/tmp", "run"]
    {
        fs::create_dir_all(stage.join(folder))?;
    }
    for folder in ["bin", "sbin", "lib", "lib64"] {
        symlink(Path::new("usr").join(folder), stage.join(folder))?;
    }
    for program in PROGRAMS {
        let path = find(program).with_context(|| format!("the tests need {program}"))?;
        copy(&path, &stage)?;
    }
    copy_python(&stage)?;
    for file in ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/os-release"] {
        copy(Path::new(file), &stage)?;
    }
    let (tracer, tests) = binaries()?;
    let workload = folder().join("workload");
    let source = root().join("tests/integration/workloads/workload.c");
    succeed(Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&workload).arg(source))?;
    for file in [&tracer, &tests, &workload] {
        copy(file, &stage)?;
        // The whole initramfs is in memory.
        succeed(Command::new("strip").arg("--strip-debug").arg(inside(&stage, file)))?;
    }
    for entry in fs::read_dir(root().join("tests/integration"))?.flatten() {
        if entry.file_type()?.is_file() {
            copy(&entry.path(), &stage)?;
        }
    }
    // The tests find their files through this folder: `crates/tracer-cli/../../tests/integration`.
    fs::create_dir_all(inside(&stage, &root().join("crates/tracer-cli")))?;
    let init = stage.join("init");
    fs::write(&init, init_script(&tracer, &tests, &workload))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;

    let archive = folder().join("initramfs");
    let script = "find . | cpio --quiet --create --format=newc --owner=0:0";
    succeed(Command::new("sh").args(["-c", script]).current_dir(&stage).stdout(fs::File::create(&archive)?))?;
    Ok(archive)
}

fn init_script(tracer: &Path, tests: &Path, workload: &Path) -> String {
    format!(
        r#"#!/bin/sh
export PATH=/usr/bin:/usr/sbin HOME=/root LANG=C.UTF-8 NO_COLOR=1 WORKLOAD={workload}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
python3 -c 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))'
chmod 1777 /tmp /var/tmp
exec > /dev/ttyS1 2>&1 < /dev/null
uname -r
case $(cat /proc/cmdline) in
*lockdown=*)
	# eBPF is impossible. doctor reports that ptrace works.
	{tracer} doctor && {tracer} -- sh -c 'echo it runs; exit 3' || [ $? -eq 3 ]
	;;
*)
	# The archive of an initramfs cannot hold capabilities. So a copy gets them now.
	cp {tracer} /var/tmp/process-tracer && setcap {CAPABILITIES} /var/tmp/process-tracer || exit 1
	{tracer} doctor &&
	setpriv --reuid=65534 --regid=65534 --clear-groups /var/tmp/process-tracer doctor &&
	{tests} --test-threads 2 {TESTS} {SKIPPED}
	;;
esac
echo "{SENTINEL}$?"
echo o > /proc/sysrq-trigger
sleep 60
"#,
        tracer = tracer.display(),
        tests = tests.display(),
        workload = workload.display(),
    )
}

/// process-tracer, and the integration tests as a program.
fn binaries() -> Result<(PathBuf, PathBuf)> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--quiet", "--locked", "--package", "tracer-cli", "--test", "integration"]);
    let built = artifacts::build(&mut build)?;
    Ok((built.executable("process-tracer")?, built.executable("integration")?))
}

fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&folders).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).collect::<Vec<_>>();
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The path of a file of this machine in the stage.
fn inside(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

/// Copies a file and its libraries to the same place in the stage. A link becomes a link to the real file.
fn copy(file: &Path, stage: &Path) -> Result<()> {
    let real = fs::canonicalize(file).with_context(|| format!("cannot find {}", file.display()))?;
    let target = inside(stage, file);
    if fs::symlink_metadata(&target).is_ok() {
        return Ok(());
    }
    fs::create_dir_all(target.parent().unwrap_or(stage))?;
    if fs::symlink_metadata(file)?.is_symlink() {
        symlink(&real, &target)?;
        return copy(&real, stage);
    }
    fs::copy(&real, &target).with_context(|| format!("cannot copy {}", file.display()))?;
    let output = Command::new("ldd").arg(file).stderr(Stdio::null()).output().context("cannot run ldd")?;
    for library in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(library), stage)?;
    }
    Ok(())
}

/// Python, which may belong to a version manager, and its library. Large parts that the tests do not need are omitted.
fn copy_python(stage: &Path) -> Result<()> {
    let script = "import os, sys; print(sys.executable); print(os.path.dirname(os.__file__))";
    let output = String::from_utf8(Command::new("python3").args(["-c", script]).output()?.stdout)?;
    let (executable, library) = output.trim().split_once('\n').context("python3 does not say where it is")?;
    copy(Path::new(executable), stage)?;
    let name = stage.join("usr/bin/python3");
    if fs::symlink_metadata(&name).is_err() {
        symlink(executable, name)?;
    }
    let library = PathBuf::from(library);
    let large = ["test", "idlelib", "tkinter", "lib2to3", "ensurepip", "__pycache__", "site-packages", "dist-packages"];
    let mut folders = vec![library];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && !large.iter().any(|large| name == *large) {
                folders.push(path);
            } else if path.is_file() {
                copy_library_file(&path, stage)?;
            }
        }
    }
    Ok(())
}

/// Only shared objects need other libraries.
fn copy_library_file(path: &Path, stage: &Path) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "so") {
        return copy(path, stage);
    }
    let target = inside(stage, path);
    fs::create_dir_all(target.parent().unwrap_or(stage))?;
    fs::copy(path, target)?;
    Ok(())
}

/// Boots a virtual machine whose init runs the tests, and prints their output.
fn boot(name: &str, kernel: &Path, initramfs: &Path, what: &str, parameters: &str) -> Result<()> {
    let [console, result] = ["console", "result"].map(|file| folder().join(format!("{name}-{what}-{file}")));
    let serial = |path: &Path| format!("file:{}", path.display());
    let started = Instant::now();
    let mut qemu = Command::new("timeout");
    // One thread emulates all processors. With several threads, one can run the old code of a tracepoint that another
    // has just patched. Then it hits a breakpoint that is gone, and the kernel crashes.
    qemu.args([
        &LIMIT.to_string(),
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=single",
        "-machine",
        "q35",
        "-cpu",
        "max",
    ])
    .args(["-smp", "2", "-m", &MEMORY.to_string(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
    .arg("-kernel")
    .arg(kernel)
    .arg("-initrd")
    .arg(initramfs)
    .args(["-append", &format!("console=ttyS0 quiet panic=-1 {parameters}")])
    .args(["-serial", &serial(&console), "-serial", &serial(&result)]);
    let status = qemu.stdin(Stdio::null()).status().context("cannot run qemu")?;
    let said = fs::read_to_string(&result).unwrap_or_default().replace('\r', "");
    println!("{said}Linux {name}, {what}: {} s\n", started.elapsed().as_secs());
    match said.lines().find_map(|line| line.strip_prefix(SENTINEL)) {
        Some("0") => Ok(()),
        Some(code) => bail!("Linux {name}, {what}: exit status {code}"),
        None => {
            let console = fs::read_to_string(&console).unwrap_or_default();
            bail!("Linux {name}, {what}: the tests did not finish ({status}); the console:\n{console}")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A filter without a test would be ignored silently.
    #[test]
    fn each_filter_names_a_test() {
        let folder = root().join("tests/integration");
        let files = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
        let sources: String = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let names: Vec<_> = sources.lines().filter_map(|line| line.strip_prefix("fn ")?.split('(').next()).collect();
        for filter in TESTS.split(' ').chain(SKIPPED.split_whitespace()).filter(|filter| *filter != "--skip") {
            match filter.strip_suffix("::") {
                Some(module) => assert!(folder.join(format!("{module}.rs")).exists(), "{filter}"),
                None => assert!(names.iter().any(|name| name.contains(filter)), "{filter}"),
            }
        }
    }
}
