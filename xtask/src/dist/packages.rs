//! The packages of the release: tarballs, `.deb` and `.rpm`. They install no capabilities.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{NAME, Release, folder, install, stage};
use crate::{root, succeed};

impl Release {
    /// A tarball of one folder: the program, and beside it the documents.
    pub(super) fn tarball(&self, name: &str, kind: &str) -> Result<()> {
        let parent = stage("tarballs");
        let unpacked = parent.join(name);
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        install(&stage(kind).join(NAME), &unpacked.join(NAME))?;
        for document in super::files(&stage("documents"))? {
            let file = document.file_name().context("a file has a name")?;
            fs::copy(&document, unpacked.join(file))?;
        }
        // The order, the times and the owners of the files are always the same.
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--format=ustar", "--owner=0", "--group=0", "--numeric-owner"]);
        tar.args(["--mode=u=rwX,go=rX", &format!("--mtime=@{}", self.epoch)]).arg("--directory").arg(&parent).arg(name);
        let mut tar = tar.stdout(Stdio::piped()).spawn().context("cannot run tar")?;
        let archive = tar.stdout.take().context("tar has an output")?;
        let file = fs::File::create(folder().join(format!("{name}.tar.gz")))?;
        succeed(Command::new("gzip").args(["-9", "--no-name"]).stdin(archive).stdout(file))?;
        anyhow::ensure!(tar.wait()?.success(), "tar has failed");
        Ok(())
    }

    /// `[package.metadata.deb]` of tracer-cli describes it.
    pub(super) fn deb(&self) -> Result<()> {
        let mut deb = Command::new(self.tools.cargo_deb.as_path());
        deb.args(["deb", "--no-build", "--no-strip", "--package", "tracer-cli"]);
        deb.args(["--target", self.architecture.target, "--output"]).arg(folder());
        succeed(self.dated(&mut deb))
    }

    /// `[package.metadata.generate-rpm]` of tracer-cli describes it.
    pub(super) fn rpm(&self) -> Result<()> {
        let mut rpm = Command::new(self.tools.cargo_generate_rpm.as_path());
        rpm.args(["generate-rpm", "--package", "crates/tracer-cli", "--auto-req", "builtin"]);
        rpm.args(["--source-date", &self.epoch.to_string(), "--target", self.architecture.target, "--output"]);
        succeed(self.dated(rpm.arg(folder())))
    }

    fn dated<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(root()).env("SOURCE_DATE_EPOCH", self.epoch.to_string())
    }
}
