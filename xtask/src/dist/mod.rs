//! `cargo xtask dist`: all files of a release, in `target/dist`. The same commit must give the same bytes, in any folder:
//! `--check reproducible` compares them.

mod arm64;
mod binaries;
mod check;
mod components;
mod packages;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{root, setup, succeed};

/// The name of the program and of each package.
const NAME: &str = "process-tracer";

/// The limit for the usual program. The static one has the C library and a resolver in addition. See `ARCHITECTURE.md`.
const MAX_PROGRAM_BYTES: u64 = 12 << 20;

/// An architecture, with its names in other systems.
struct Architecture {
    /// As the kernel, RPM and Python name it.
    name: &'static str,
    target: &'static str,
}

const X86_64: Architecture = Architecture { name: "x86_64", target: "x86_64-unknown-linux-gnu" };
const ARM64: Architecture = Architecture { name: "aarch64", target: "aarch64-unknown-linux-gnu" };

/// The release that this task builds.
struct Release {
    architecture: Architecture,
    /// The version of the workspace.
    version: String,
    /// `SOURCE_DATE_EPOCH`: the time of all files, in seconds.
    epoch: u64,
    tools: setup::ReleaseTools,
}

/// Runs the task with these arguments.
pub(crate) fn dist(arguments: &[String]) -> Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Release::new(X86_64)?.build(),
        ["--arm64"] => Release::new(ARM64)?.build(),
        ["--check"] => check::as_installed(),
        ["--check", "reproducible"] => check::reproducible(),
        ["--check", "arm64"] => arm64::run(),
        _ => bail!("usage: cargo xtask dist [--arm64 | --check [reproducible | arm64]]"),
    }
}

impl Release {
    fn new(architecture: Architecture) -> Result<Self> {
        setup::for_building()?;
        let tools = setup::for_releasing()?;
        let version = components::version()?;
        Ok(Self { architecture, version, epoch: epoch()?, tools })
    }

    /// Builds everything, and prints the sizes.
    fn build(&self) -> Result<()> {
        let folder = folder();
        fs::create_dir_all(&folder)?;
        // Files of other versions must not get into the checksums.
        for file in files(&folder)? {
            fs::remove_file(file)?;
        }
        let documents = stage("documents");
        fs::create_dir_all(&documents)?;
        components::write(&documents, self.epoch)?;
        let wheel = self.wheel()?;
        self.unpack_binary(&wheel)?;
        self.static_binary()?;
        self.documents(&documents)?;
        let name = format!("{NAME}-{}-{}", self.version, self.architecture.name);
        self.tarball(&format!("{name}-linux-gnu"), "gnu")?;
        self.tarball(&format!("{name}-linux-static"), "static")?;
        self.deb()?;
        self.rpm()?;
        fs::copy(documents.join(components::SBOM), folder.join(format!("{name}.cdx.json")))?;
        checksums(&folder)?;
        print!("{}", fs::read_to_string(folder.join(CHECKSUMS))?);
        for file in files(&folder)? {
            println!("{:>10} bytes  {}", fs::metadata(&file)?.len(), file.display());
        }
        for kind in ["gnu", "static"] {
            println!("{:>10} bytes  {}", fs::metadata(stage(kind).join(NAME))?.len(), stage(kind).join(NAME).display());
        }
        let size = fs::metadata(stage("gnu").join(NAME))?.len();
        ensure!(size <= MAX_PROGRAM_BYTES, "the program has {size} bytes; at most {MAX_PROGRAM_BYTES} are allowed");
        Ok(())
    }

    /// The other files in all packages: man page, completions, our licences.
    fn documents(&self, folder: &Path) -> Result<()> {
        // The program of this machine prints the same text as that of another architecture.
        let program = match self.architecture.name {
            std::env::consts::ARCH => stage("gnu").join(NAME),
            _ => crate::build()?,
        };
        let print = |arguments: &[&str], file: &str| -> Result<()> {
            succeed(Command::new(&program).args(arguments).stdout(fs::File::create(folder.join(file))?))
        };
        print(&["man"], "process-tracer.1")?;
        print(&["completions", "bash"], "process-tracer.bash")?;
        print(&["completions", "zsh"], "_process-tracer")?;
        print(&["completions", "fish"], "process-tracer.fish")?;
        succeed(Command::new("gzip").args(["-9nfk"]).arg(folder.join("process-tracer.1")))?;
        for file in ["LICENSE-MIT", "LICENSE-APACHE", "README.md"] {
            fs::copy(root().join(file), folder.join(file))?;
        }
        Ok(())
    }
}

/// All files of the release.
fn folder() -> PathBuf {
    root().join("target/dist")
}

/// The files that go into the packages.
fn stage(name: &str) -> PathBuf {
    root().join("target/dist-stage").join(name)
}

/// The files in a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

const CHECKSUMS: &str = "SHA256SUMS";

/// Writes the checksums of all files. `sha256sum --check` reads them.
fn checksums(folder: &Path) -> Result<()> {
    let sums = fs::File::create(folder.join(CHECKSUMS))?;
    let files = files(folder)?.into_iter().filter_map(|path| path.file_name().map(ToOwned::to_owned));
    let files = files.filter(|name| name != CHECKSUMS);
    succeed(Command::new("sha256sum").args(files).current_dir(folder).stdout(sums))
}

/// `SOURCE_DATE_EPOCH`, else the time of the last commit.
fn epoch() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"]).current_dir(root()).stderr(Stdio::inherit());
            String::from_utf8(git.output().context("cannot run git")?.stdout)?
        }
    };
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: '{}'", text.trim()))
}

/// Copies a program, with the mode of programs.
fn install(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o755))?)
}
