//! The two binaries: one for every glibc since 2.31, in a Python wheel, and a static one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{NAME, Release, components, folder, install, stage};
use crate::{cargo, root, setup, succeed};

/// Debian 11, Ubuntu 20.04 and everything later has this glibc. maturin fails if the binary needs another one.
const PLATFORM: &str = "manylinux_2_31";

/// Flags for the C code in dependencies: zstd without the methods of levels above 3, which nobody uses, and no tables for
/// unwinding, because C code never unwinds. Only these builds set the flags. In `.cargo/config.toml`, they would
/// also be set for the command that `cargo xtask run` traces.
const CFLAGS: &[&str] = &[
    "-DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR",
    "-fno-asynchronous-unwind-tables",
];

/// Flags of rustc for the static program. It calls getrandom(2) itself. Otherwise the crate getrandom looks for the function in
/// libc.so and, without it, reads /dev/urandom, which a container may not have.
const STATIC: &str = r#"-Ctarget-feature=+crt-static --cfg getrandom_backend="linux_getrandom""#;

impl Release {
    /// Builds the wheel. zig links the program against the old glibc, so that no old system is needed.
    pub(super) fn wheel(&self) -> Result<PathBuf> {
        let mut maturin = Command::new(self.tools.venv.join("bin/maturin"));
        maturin.args(["build", "--release", "--locked", "--zig", "--compatibility", PLATFORM]);
        maturin.args(["--target", self.architecture.target, "--out"]).arg(folder());
        maturin.arg("--sbom-include").arg(stage("documents").join(components::SBOM));
        maturin.current_dir(root()).env("RUSTFLAGS", self.flags(""));
        // maturin finds zig through Python's path.
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [self.tools.venv.join("bin")].into_iter().chain(env::split_paths(&path));
        maturin.env("PATH", env::join_paths(folders)?).env("VIRTUAL_ENV", &self.tools.venv);
        succeed(self.reproducibly(&mut maturin, "gnu"))?;
        let wheel = super::files(&folder())?.into_iter().find(|path| path.extension().is_some_and(|it| it == "whl"));
        wheel.context("maturin has written no wheel")
    }

    /// Takes the program out of the wheel: all packages except the static tarball have the same one.
    pub(super) fn unpack_binary(&self, wheel: &Path) -> Result<()> {
        let unpacked = stage("wheel");
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        succeed(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
        let scripts = format!("process_tracer-{}.data/scripts", self.version);
        install(&unpacked.join(scripts).join(NAME), &stage("gnu").join(NAME))
    }

    /// Builds the static program, with the C library of this machine. It runs in a container without any library.
    pub(super) fn static_binary(&self) -> Result<()> {
        let mut build = cargo();
        // With a target, build scripts and macros are not static. A static macro could not be loaded.
        build.args(["build", "--quiet", "--release", "--locked", "--package", "tracer-cli"]);
        build.args(["--target", self.architecture.target]).env("RUSTFLAGS", self.flags(STATIC));
        if self.architecture.name != env::consts::ARCH {
            // Debian's compiler for the other architecture. cc finds it by itself.
            let compiler = format!("{}-linux-gnu-gcc", self.architecture.name);
            let package = format!("gcc-{}-linux-gnu", self.architecture.name);
            setup::command(&compiler, &package, &package, &package)?;
            let target = self.architecture.target.to_uppercase().replace('-', "_");
            build.env(format!("CARGO_TARGET_{target}_LINKER"), compiler);
        }
        succeed(self.reproducibly(&mut build, "static"))?;
        let built = target("static").join(self.architecture.target).join("release").join(NAME);
        install(&built, &stage("static").join(NAME))
    }

    /// Flags of rustc: panics name the same files wherever the sources are.
    fn flags(&self, flags: &str) -> String {
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        let folders = [(Some(root()), "."), (cargo_home, "cargo")];
        let remapped = folders.into_iter().filter_map(|(folder, name)| Some((folder?, name)));
        let remapped = remapped.map(|(folder, name)| format!(" --remap-path-prefix={}={name}", folder.display()));
        format!("{flags}{}", remapped.collect::<String>()).trim().to_owned()
    }

    /// Every kind of binary has its own folder, because their flags differ.
    fn reproducibly<'a>(&self, command: &'a mut Command, kind: &str) -> &'a mut Command {
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("CARGO_TARGET_DIR", target(kind));
        command.env("CFLAGS", CFLAGS.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS")
    }
}

fn target(kind: &str) -> PathBuf {
    root().join("target/dist-build").join(kind)
}
