//! The crates inside the program: their licences in one text, and a list of them in CycloneDX.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::NAME;
use crate::{cargo, root};

/// The list of components: https://cyclonedx.org/docs/1.5/json/
pub(super) const SBOM: &str = "process-tracer.cdx.json";
const LICENCES: &str = "THIRD-PARTY-LICENSES";

/// The beginnings of the names of files with licences, in capital letters.
const LICENCE_FILES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The licence of components that are not crates.
const BESIDES: &str = "\
The Rust standard library is part of the program: MIT OR Apache-2.0, https://github.com/rust-lang/rust.

The static program also contains the GNU C Library: LGPL-2.1-or-later, https://sourceware.org/glibc. To link
process-tracer with another version of this library, run `cargo xtask dist` in a clone of the repository, on a machine with that
version.
";

/// The version of the workspace.
pub(super) fn version() -> Result<String> {
    let crates = Crates::read()?;
    Ok(crates.package(&crates.program)?.version.clone())
}

/// Writes both files into a folder.
pub(super) fn write(folder: &Path, epoch: u64) -> Result<()> {
    let crates = Crates::read()?;
    fs::write(folder.join(LICENCES), crates.licences()?)?;
    fs::write(folder.join(SBOM), serde_json::to_string_pretty(&crates.sbom(epoch)?)? + "\n")?;
    Ok(())
}

/// A crate.
struct Package {
    name: String,
    version: String,
    licence: String,
    repository: Option<String>,
    /// A crate of this workspace.
    is_own: bool,
    manifest: String,
    /// SHA-256 of the crate in the registry.
    checksum: Option<String>,
}

/// The program, and the crates that are linked into it.
struct Crates {
    program: String,
    packages: BTreeMap<String, Package>,
    /// The direct dependencies of each package.
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Crates {
    fn read() -> Result<Self> {
        let mut metadata = cargo();
        metadata.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", super::X86_64.target]);
        // The static program has one more dependency: its resolver.
        metadata.env("RUSTFLAGS", "-Ctarget-feature=+crt-static").stderr(std::process::Stdio::inherit());
        let output = metadata.output().context("cannot run cargo metadata")?;
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata has failed")?;
        Self::linked(&metadata, &checksums()?).context("cargo metadata has an unknown form")
    }

    /// Follows the ordinary dependencies: those of builds and tests are not in the program.
    fn linked(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let described: BTreeMap<&str, &Value> = metadata["packages"]
            .as_array()?
            .iter()
            .filter_map(|package| Some((package["id"].as_str()?, package)))
            .collect();
        let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
            .as_array()?
            .iter()
            .filter_map(|node| Some((node["id"].as_str()?, node)))
            .collect();
        let program = *described.iter().find(|(_, package)| package["name"] == "tracer-cli")?.0;
        let mut crates = Self { program: program.to_owned(), packages: BTreeMap::new(), dependencies: BTreeMap::new() };
        let mut waiting = vec![program];
        while let Some(id) = waiting.pop() {
            if crates.packages.contains_key(id) {
                continue;
            }
            let package = described.get(id)?;
            let (name, version) = (text(&package["name"])?, text(&package["version"])?);
            let checksum = checksums.get(&(name.clone(), version.clone())).cloned();
            crates.packages.insert(
                id.to_owned(),
                Package {
                    name,
                    version,
                    licence: text(&package["license"])?,
                    repository: text(&package["repository"]),
                    is_own: package["source"].is_null(),
                    manifest: text(&package["manifest_path"])?,
                    checksum,
                },
            );
            let is_linked = |dependency: &&Value| {
                let kinds = dependency["dep_kinds"].as_array();
                kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
            };
            let linked = nodes.get(id)?["deps"].as_array()?.iter().filter(is_linked);
            let linked: Vec<&str> = linked.filter_map(|dependency| dependency["pkg"].as_str()).collect();
            crates.dependencies.insert(id.to_owned(), linked.iter().map(|id| (*id).to_owned()).collect());
            waiting.extend(linked);
        }
        Some(crates)
    }

    fn package(&self, id: &str) -> Result<&Package> {
        self.packages.get(id).with_context(|| format!("cargo metadata does not describe {id}"))
    }

    fn others(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| !package.is_own)
    }

    /// Each text once, below the crates that have it.
    fn licences(&self) -> Result<String> {
        let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut text = format!("The licences of the crates in {NAME}.\n\n");
        for package in self.others() {
            let title = format!("{} {}", package.name, package.version);
            writeln!(text, "{title}: {}", package.licence)?;
            let own = own_texts(Path::new(&package.manifest))?;
            if own.is_empty() {
                bail!("{title} has no file with its licence");
            }
            for own in own {
                texts.entry(own).or_default().insert(title.clone());
            }
        }
        write!(text, "\n{BESIDES}")?;
        for (licence, titles) in texts {
            let titles: Vec<_> = titles.into_iter().collect();
            write!(text, "\n{}\n\n{}:\n\n{}\n", "-".repeat(80), titles.join(", "), licence.trim_end())?;
        }
        Ok(text)
    }

    fn sbom(&self, epoch: u64) -> Result<Value> {
        let program = self.package(&self.program)?;
        let components: Vec<_> =
            self.packages.values().filter(|package| package.name != program.name).map(component).collect();
        let mut dependencies = Vec::new();
        for (id, on) in &self.dependencies {
            let on = on.iter().map(|id| Ok(reference(self.package(id)?))).collect::<Result<Vec<_>>>()?;
            dependencies.push(json!({ "ref": reference(self.package(id)?), "dependsOn": on }));
        }
        let mut described = component(program);
        described["type"] = "application".into();
        described["name"] = NAME.into();
        let timestamp = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(epoch));
        Ok(json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": { "timestamp": timestamp.to_string(), "component": described },
            "components": components,
            "dependencies": dependencies,
        }))
    }
}

fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        // Old crates write `MIT/Apache-2.0`. SPDX has OR instead of the slash.
        "licenses": [{ "expression": package.licence.replace(" / ", " OR ").replace('/', " OR ") }],
        "purl": reference(package),
    });
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

/// The files with licences in the folder of a crate.
fn own_texts(manifest: &Path) -> Result<Vec<String>> {
    let folder = manifest.parent().context("a manifest is in a folder")?;
    let mut texts = Vec::new();
    for file in super::files(folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if LICENCE_FILES.iter().any(|beginning| name.starts_with(beginning)) {
            texts.push(String::from_utf8_lossy(&fs::read(&file)?).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

/// The checksums in Cargo.lock, by name and version.
fn checksums() -> Result<BTreeMap<(String, String), String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    let packages = lock.split("[[package]]").filter_map(|package| {
        let field = |name: &str| {
            let value = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            Some(value.trim_end_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    Ok(packages.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_in_the_program_has_its_licence_and_its_place_in_the_list_of_components() {
        let crates = Crates::read().unwrap();
        let names: BTreeSet<_> = crates.packages.values().map(|package| package.name.as_str()).collect();
        // The list has the crates of the program and of the static program, and not those of builds, tests and other
        // systems.
        assert!(names.is_superset(&["clap", "tracer-bpf", "hickory-resolver"].into()), "{names:?}");
        assert!(names.is_disjoint(&["cc", "proptest", "windows-sys"].into()), "{names:?}");

        let licences = crates.licences().unwrap();
        let sbom = crates.sbom(1_700_000_000).unwrap();
        assert_eq!(sbom["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(sbom["metadata"]["component"]["name"], "process-tracer");
        let references: BTreeSet<_> =
            sbom["components"].as_array().unwrap().iter().map(|it| it["bom-ref"].as_str().unwrap()).collect();
        for package in crates.others() {
            assert!(licences.contains(&format!("{} {}", package.name, package.version)), "{}", package.name);
            assert!(references.contains(&*reference(package)), "{}", package.name);
            assert_eq!(package.checksum.as_ref().unwrap().len(), 64, "{}", package.name);
        }
        // Each reference names a component, and none names the program itself.
        let program = reference(crates.package(&crates.program).unwrap());
        for dependency in sbom["dependencies"].as_array().unwrap() {
            for on in dependency["dependsOn"].as_array().unwrap() {
                assert!(references.contains(on.as_str().unwrap()) && on != &program, "{on}");
            }
        }
    }
}
