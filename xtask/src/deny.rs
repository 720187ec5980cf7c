//! Checks the dependencies with cargo-deny: licences, duplicates, sources, and known vulnerabilities.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::{root, setup, succeed};

/// Whether the vulnerabilities were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advisories {
    Checked,
    Unreachable,
}

/// Fails if cargo-deny rejects a dependency. The database of advisories is on the network. If the database cannot be
/// reached, this prints one line and checks the rest.
pub(crate) fn deny() -> Result<()> {
    let cargo_deny = setup::for_denying()?;
    let run = || {
        let mut command = Command::new(&cargo_deny);
        command.current_dir(root());
        command
    };
    if check(run, Path::new("deny.toml"))? == Advisories::Unreachable {
        println!("advisories were not checked: the database cannot be reached");
    }
    Ok(())
}

/// `run` starts cargo-deny.
fn check(run: impl Fn() -> Command, config: &Path) -> Result<Advisories> {
    let run = || {
        let mut command = run();
        command.args(["--locked", "--all-features", "--log-level", "error", "--config"]).arg(config);
        // git must not ask for a password.
        command.env("GIT_TERMINAL_PROMPT", "0");
        command
    };
    let what = |what: &[&str]| {
        let mut command = run();
        command.args(["check", "--hide-inclusion-graph"]).args(what);
        command
    };
    succeed(&mut what(&["licenses", "bans", "sources"]))?;
    // The first check has shown that the configuration is valid. So only the database can fail here.
    let is_fetched = run().args(["fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success();
    if !is_fetched {
        return Ok(Advisories::Unreachable);
    }
    if !what(&["advisories"]).status()?.success() {
        bail!(
            "a dependency has an advisory, as printed above; update it, or ignore the advisory in deny.toml with a reason"
        );
    }
    Ok(Advisories::Checked)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::PathBuf, sync::OnceLock};

    use tempfile::TempDir;

    use super::*;

    /// A database with one advisory against all versions of this crate. It is in git, like the real one.
    fn database_against(package: &str, folder: &Path) {
        let advisories = folder.join("crates").join(package);
        fs::create_dir_all(&advisories).unwrap();
        let text = format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"{package}\"\ndate = \"2026-01-01\"\n\n\
             [versions]\npatched = []\n```\n\n# A fault of this test\n"
        );
        fs::write(advisories.join("RUSTSEC-2026-9999.md"), text).unwrap();
        let author = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
        let commit = [&author[..], &["commit", "--quiet", "--message", "Test"]].concat();
        for arguments in [&["init", "--quiet", "--initial-branch", "main"][..], &["add", "."], &commit] {
            succeed(Command::new("git").arg("-C").arg(folder).args(arguments)).unwrap();
        }
    }

    /// Checks the workspace with this text as deny.toml, and with this database instead of the real one.
    fn check_with(config: &str, database: &Path) -> Result<Advisories> {
        // Two tests must not install cargo-deny at the same time.
        static CARGO_DENY: OnceLock<PathBuf> = OnceLock::new();
        let cargo_deny = CARGO_DENY.get_or_init(|| setup::for_denying().unwrap());
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("deny.toml");
        let copy = format!("[advisories]\ndb-path = \"{}\"", folder.path().join("copy").display());
        fs::write(&file, config.replace("[advisories]", &copy)).unwrap();
        let run = || {
            let mut command = Command::new(cargo_deny);
            command.current_dir(root()).env("GIT_CONFIG_COUNT", "1");
            command.env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", database.display()));
            command.env("GIT_CONFIG_VALUE_0", "https://github.com/RustSec/advisory-db");
            command
        };
        check(run, &file)
    }

    #[test]
    fn an_advisory_fails_the_check_and_a_missing_database_does_not() {
        let config = fs::read_to_string(root().join("deny.toml")).unwrap();
        let folder = TempDir::new().unwrap();
        let database = |package: &str| {
            let database = folder.path().join(package);
            database_against(package, &database);
            database
        };
        assert_eq!(check_with(&config, &database("not-a-dependency")).unwrap(), Advisories::Checked);
        let error = check_with(&config, &database("anyhow")).unwrap_err();
        assert!(error.to_string().contains("a dependency has an advisory"), "{error}");
        assert_eq!(check_with(&config, &folder.path().join("nothing")).unwrap(), Advisories::Unreachable);
    }

    #[test]
    fn a_licence_or_a_source_that_is_not_allowed_fails_the_check() {
        let config = fs::read_to_string(root().join("deny.toml")).unwrap();
        let nowhere = Path::new("/nowhere");
        for (allowed, forbidden) in [
            ("\"Zlib\",", ""),
            ("unknown-registry = \"deny\"", "unknown-registry = \"deny\"\nallow-registry = []"),
            ("multiple-versions = \"warn\"", "multiple-versions = \"warn\"\ndeny = [\"anyhow\"]"),
            ("[advisories]", "nonsense = true\n[advisories]"),
        ] {
            assert!(config.contains(allowed), "{allowed}");
            assert!(check_with(&config.replace(allowed, forbidden), nowhere).is_err(), "{forbidden}");
        }
    }
}
