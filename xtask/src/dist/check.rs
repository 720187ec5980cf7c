//! Checks a release as its users meet it: in new Debian systems, in a new Python environment, in containers. Each
//! package is installed, traces a command, and is removed. These checks take minutes and need root, so they are not part
//! of the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};

use super::{NAME, files, folder, stage};
use crate::{is_root, root, setup, succeed};

/// Debian 12, and Debian 11 with glibc 2.31.
const SUITES: [&str; 2] = ["bookworm", "bullseye"];

/// The packages that the example of the README needs, and Python for the wheel.
const NEEDED: &str = "sudo make python3-venv ca-certificates rpm";

/// Installs, traces and removes everything in `target/dist`.
pub(super) fn as_installed() -> Result<()> {
    ensure!(is_root(), "the checks install packages in other systems: run them as root");
    setup::command("debootstrap", "debootstrap", "debootstrap", "debootstrap")?;
    setup::command("podman", "podman", "podman", "podman")?;
    setup::command("runc", "runc", "runc", "runc")?;
    ensure!(folder().join(super::CHECKSUMS).is_file(), "there is no release: run cargo xtask dist first");
    succeed(Command::new("sha256sum").args(["--check", "--quiet", super::CHECKSUMS]).current_dir(folder()))?;
    for suite in SUITES {
        let system = System::new(suite)?;
        for (way, script) in
            [("deb", DEB), ("rpm", RPM), ("tarball", TARBALL), ("wheel", WHEEL), ("static", STATIC), ("setup", SETUP)]
        {
            system.run(way, script)?;
        }
    }
    names()?;
    container()?;
    println!("everything could be installed, has traced, and could be removed");
    Ok(())
}

/// A new system, in a folder.
struct System {
    suite: &'static str,
    folder: PathBuf,
}

impl System {
    /// Fetches the system once, and copies it.
    fn new(suite: &'static str) -> Result<Self> {
        let parent = root().join("target/dist-systems");
        let archive = parent.join(format!("{suite}.tar"));
        let folder = parent.join(suite);
        fs::create_dir_all(&parent)?;
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        if !archive.is_file() {
            println!("fetching Debian {suite}");
            let packages = NEEDED.replace(' ', ",");
            let mut debootstrap = Command::new("debootstrap");
            debootstrap.args(["--variant=minbase", &format!("--include={packages}"), suite]).arg(&folder);
            succeed(debootstrap.stdout(std::process::Stdio::null()))?;
            let partial = archive.with_extension("partial");
            succeed(Command::new("tar").args(["--create", "--file"]).arg(&partial).arg("-C").arg(&folder).arg("."))?;
            fs::rename(partial, archive)?;
            fs::remove_dir_all(&folder)?;
            return Self::new(suite);
        }
        fs::create_dir_all(&folder)?;
        succeed(Command::new("tar").args(["--extract", "--file"]).arg(&archive).arg("-C").arg(&folder))?;
        fs::create_dir_all(folder.join("release"))?;
        for file in files(&super::folder())? {
            fs::copy(&file, folder.join("release").join(file.file_name().unwrap_or_default()))?;
        }
        Ok(Self { suite, folder })
    }

    /// Runs a script in the system, as root in its own mount and process namespaces. All files are listed before and after the
    /// script. The two lists must be the same.
    fn run(&self, way: &str, script: &str) -> Result<()> {
        let path = self.folder.join("release/check.sh");
        fs::write(&path, format!("set -eu\n{BEFORE}\n{script}\n{AFTER}"))?;
        let started = Instant::now();
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "--pid", "--fork", "--net", "--kill-child", "sh", "-ec", ENTER, "sh"])
            .arg(&self.folder);
        unshare.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let status = unshare.env("LANG", "C.UTF-8").env("HOME", "/root").status().context("cannot run unshare")?;
        if !status.success() {
            bail!("Debian {}, {way}: {status}", self.suite);
        }
        println!("Debian {}, {way}: {} ms", self.suite, started.elapsed().as_millis());
        Ok(())
    }
}

/// The folders of the kernel are there, as after a boot.
const ENTER: &str = r#"
mount --rbind --make-rslave /sys "$1/sys"
mount -t proc proc "$1/proc"
mount -t devtmpfs dev "$1/dev" 2>/dev/null || mount --rbind /dev "$1/dev"
exec chroot "$1" sh /release/check.sh
"#;

const BEFORE: &str = r#"
all_files() {
	find / -xdev -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -path /release -prune -o -path /tmp -prune \
		-o -path /var/lib/dpkg -prune -o -path /var/lib/rpm -prune -o -path /var/log -prune -o -path /var/cache -prune -o -path /var/lib/apt -prune -o -print | sort
}
trace() {
	"$@" 2>/tmp/summary || fail "$(cat /tmp/summary)"
	grep -q "process-tracer: trace .* spans*, complete" /tmp/summary || fail "$(cat /tmp/summary)"
}
fail() { echo "$*" >&2; exit 1; }
mkdir -p /tmp/project
printf 'all: one two\n%%:\n\tsleep 0.1\n' > /tmp/project/Makefile
getent passwd ann >/dev/null || useradd --create-home --shell /bin/sh ann
echo 'ann ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ann
chown -R ann /tmp/project
all_files > /tmp/before
as_ann() { (cd /tmp/project && setpriv --reuid=ann --regid=ann --init-groups env HOME=/home/ann USER=ann "$@"); }
"#;

const AFTER: &str = r#"
rm -rf /home/ann/.local
all_files > /tmp/after
diff /tmp/before /tmp/after || fail "something is left"
"#;

/// The first example of the README.
const DEB: &str = r#"
dpkg --install /release/*.deb > /tmp/installed
grep -q 'sudo process-tracer setup' /tmp/installed || fail "the package does not print how to get the capabilities"
as_ann sudo process-tracer doctor | grep -q 'tracing works here'
trace as_ann sudo process-tracer -u invoker -- make -j2
grep -q 'make -j2' /tmp/summary
as_ann process-tracer doctor | grep -q 'file capabilities *none'
test -s /usr/share/man/man1/process-tracer.1.gz || test -e /etc/dpkg/dpkg.cfg.d/docker
test -s /usr/share/bash-completion/completions/process-tracer
dpkg --purge process-tracer > /dev/null
"#;

/// `rpm` of Debian knows no packages of Debian, so it does not find the C library. Here, no RPM package
/// owns the database of RPM and some folders. So the script removes them itself.
const RPM: &str = r#"
rpm --install --nodeps /release/*.rpm > /tmp/installed
grep -q 'sudo process-tracer setup' /tmp/installed || fail "the package does not print how to get the capabilities"
trace as_ann sudo process-tracer -u invoker -- make -j2
rpm --erase process-tracer
rmdir -p /usr/share/fish/vendor_completions.d /usr/share/zsh/site-functions /usr/share/licenses 2>/dev/null || true
rm -rf /root/.rpmdb
"#;

const TARBALL: &str = r#"
tar --extract --gzip --file /release/*-linux-gnu.tar.gz --directory /opt
install /opt/process-tracer-*/process-tracer /usr/local/bin/
trace as_ann sudo process-tracer -u invoker -- make -j2
rm -r /opt/process-tracer-* /usr/local/bin/process-tracer
"#;

const STATIC: &str = r#"
tar --extract --gzip --file /release/*-linux-static.tar.gz --directory /opt
install /opt/process-tracer-*/process-tracer /usr/local/bin/
trace as_ann sudo process-tracer -u invoker -- make -j2
trace process-tracer -u ann -- id -un > /tmp/name
test "$(cat /tmp/name)" = ann
# A system without any library or file.
mkdir -p /tmp/empty/proc /tmp/empty/sys
cp /usr/local/bin/process-tracer /tmp/empty/
mount --rbind /proc /tmp/empty/proc
mount --rbind /sys /tmp/empty/sys
trace chroot /tmp/empty /process-tracer -- /process-tracer --version > /dev/null
umount --lazy /tmp/empty/proc /tmp/empty/sys
rm -r /opt/process-tracer-* /usr/local/bin/process-tracer
"#;

const WHEEL: &str = r#"
as_ann python3 -m venv /home/ann/venv
as_ann /home/ann/venv/bin/pip --disable-pip-version-check --quiet install --no-index /release/*.whl
trace as_ann sudo /home/ann/venv/bin/process-tracer -u invoker -- make -j2
as_ann sudo /home/ann/venv/bin/process-tracer setup
trace as_ann /home/ann/venv/bin/process-tracer -- make -j2
as_ann /home/ann/venv/bin/pip --disable-pip-version-check --quiet uninstall --yes process-tracer
test -z "$(find /home/ann/venv | grep -i 'process.tracer')" || fail "the wheel has left files"
rm -r /home/ann/venv /home/ann/.cache 2>/dev/null || true
"#;

/// An upgrade installs a new file, so it has no capabilities.
const SETUP: &str = r#"
dpkg --install /release/*.deb > /tmp/installed
groupadd tracers
usermod --append --groups tracers ann
as_ann sudo process-tracer setup --group tracers
trace as_ann process-tracer -- make -j2
if setpriv --reuid=nobody --regid=nogroup --clear-groups env process-tracer --version 2>/dev/null; then fail "nobody can run it"; fi
dpkg --install /release/*.deb > /tmp/installed
as_ann process-tracer doctor | grep -q 'file capabilities *none'
as_ann sudo process-tracer setup --group tracers
as_ann sudo process-tracer setup --undo
as_ann process-tracer doctor | grep -q 'file capabilities *none'
groupdel tracers
dpkg --purge process-tracer > /dev/null
"#;

/// The static program asks the name servers of /etc/resolv.conf by itself.
fn names() -> Result<()> {
    let script = root().join("xtask/src/dist/names.py");
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "python3"]).arg(script).arg(stage("static").join(NAME));
    succeed(&mut unshare)
}

/// Builds the image of the Containerfile upon Debian 12, and traces a command in it.
fn container() -> Result<()> {
    const BASE: &str = "localhost/process-tracer-base";
    const IMAGE: &str = "localhost/process-tracer-check";
    let archive = root().join("target/dist-systems/bookworm.tar");
    succeed(Command::new("podman").args(["import", "--quiet"]).arg(archive).arg(BASE))?;
    let build = || -> Result<()> {
        // The files of the build, without the rest of the clone.
        let context = stage("image");
        super::install(&stage("static").join(NAME), &context.join(NAME))?;
        let mut build = Command::new("podman");
        build.args(["build", "--quiet", "--runtime=runc", "--network=none", "--tag", IMAGE]);
        build.args([&format!("--build-arg=BASE={BASE}"), &format!("--build-arg=BINARY={NAME}"), "--file"]);
        succeed(build.arg(root().join("Containerfile")).arg(&context))?;
        for flags in [&[][..], &["--privileged"]] {
            trace_in(IMAGE, flags)?;
        }
        Ok(())
    };
    let built = build();
    let _ = Command::new("podman").args(["rmi", "--force", IMAGE, BASE]).output();
    built
}

fn trace_in(image: &str, flags: &[&str]) -> Result<()> {
    let started = Instant::now();
    let mut run = Command::new("podman");
    // runc and the limits: see tests/integration/containers.rs.
    run.args([
        "run",
        "--rm",
        "--runtime=runc",
        "--network=none",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
    ]);
    run.args(flags).args([image, "--", "sh", "-c", "true; /bin/true; /bin/echo traced"]);
    let output = run.output().context("cannot run podman")?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let is_complete = stderr.contains(", complete") && stderr.contains(" processes\n");
    ensure!(output.status.success() && stdout == "traced\n" && is_complete, "podman run {flags:?}: {stdout}{stderr}");
    println!("container {flags:?}: {} ms", started.elapsed().as_millis());
    Ok(())
}

/// Builds the release again from a clone in another folder, and compares all files.
pub(super) fn reproducible() -> Result<()> {
    let again = root().join("target/dist-again");
    if again.exists() {
        fs::remove_dir_all(&again)?;
    }
    succeed(Command::new("git").args(["clone", "--quiet"]).arg(root()).arg(&again))?;
    share_tools(&again)?;
    let mut dist = Command::new("cargo");
    dist.args(["xtask", "dist"]).current_dir(&again).env("SOURCE_DATE_EPOCH", super::epoch()?.to_string());
    // The second build must not use the target folder of the first.
    succeed(dist.env_remove("CARGO_TARGET_DIR").stdout(std::process::Stdio::null()))?;
    let read = |folder: &Path| fs::read_to_string(folder.join(super::CHECKSUMS));
    let (first, second) = (read(&folder())?, read(&again.join("target/dist"))?);
    if first != second {
        bail!("the two builds differ:\n{first}\n{second}");
    }
    println!("both builds have the same bytes");
    Ok(())
}

/// The tools need not be installed twice.
fn share_tools(clone: &Path) -> Result<()> {
    fs::create_dir_all(clone.join("target"))?;
    for name in ["release-python", "crates"] {
        std::os::unix::fs::symlink(root().join("target").join(name), clone.join("target").join(name))?;
    }
    Ok(())
}
