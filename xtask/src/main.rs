//! `cargo xtask`: the tasks of a developer.
#![allow(clippy::print_stdout)]

mod artifacts;
mod bench;
mod deny;
mod dist;
mod expr_oracle;
mod expressions;
mod instructions;
mod pictures;
mod setup;
mod vm;
mod workflows;

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask TASK

  run [OPTIONS] -- COMMAND   build process-tracer and trace COMMAND with it
  test [ARGS]                all tests: unit, property, real kernel, real collector; ARGS go to cargo test
  vmtest [--kernel K]        the tests that depend on the kernel, in virtual machines with Debian's kernels; K is 6.1, 6.12 or all
  workflows                  check the workflows of GitHub with actionlint, which needs Go
  bench [--pairs N]          what tracing costs, as ratios against the bare command
  bench storm                start processes as fast as possible for 60 seconds, and print what is lost
  bench million              the same with a million processes
  pictures -- COMMAND        the pictures of the README, from a trace of COMMAND
  pictures FILE.jsonl        the same from a saved trace; to use another build than the release, put `--with BINARY` first
  deny                       check the dependencies: licences, sources, known vulnerabilities
  dist                       all files of a release, in target/dist: packages, tarballs, licences
  dist --arm64               the same for 64-bit ARM; dist --check arm64 runs it in an emulated machine
  dist --check               install these files in new systems, trace, and remove them
  dist --check reproducible  build them again in another folder, and compare the bytes
  expr-oracle                ask the Go library expr about many expressions, and record its answers for the tests
  expr-oracle --seed N       print its answers, with another seed for the random expressions
  expr-oracle FILE           print its answers to the expressions in FILE, one on each line
  setcap [BINARY]            give the release build, or BINARY, the capabilities it needs, for ordinary users
  setup                      install what building and testing need; the tasks above do this themselves
";

/// The capabilities that the kernel requires from an ordinary user's tracer.
const CAPABILITIES: &str = "cap_bpf,cap_perfmon=ep";

fn main() -> Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match task.as_str() {
        "run" => run(&rest)?,
        "test" => test(&rest)?,
        "vmtest" => vm::test(&rest)?,
        "workflows" => workflows::check()?,
        "bench" => match rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => bench::bench(&build()?, bench::PAIRS)?,
            ["--pairs", pairs] => bench::bench(&build()?, pairs.parse().context("--pairs takes a number")?)?,
            ["storm"] => bench::storm(&build()?, 60, u64::MAX / 2)?,
            ["million"] => bench::storm(&build()?, 3600, 1_000_000)?,
            _ => bail!("usage: cargo xtask bench [--pairs N | storm | million]"),
        },
        "pictures" => pictures::pictures(&rest)?,
        "deny" => deny::deny()?,
        "dist" => dist::dist(&rest)?,
        "expr-oracle" => expr_oracle::oracle(&rest)?,
        "setcap" => setcap(rest.first().map(PathBuf::from))?,
        "setup" => {
            setup::for_building()?;
            setup::for_testing()?;
        }
        _ => {
            print!("{USAGE}");
            return Ok(if ["help", "--help", "-h"].contains(&&*task) { ExitCode::SUCCESS } else { ExitCode::from(2) });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces this process by process-tracer, which keeps the streams, receives the signals and sets the exit status.
fn run(arguments: &[String]) -> Result<()> {
    let binary = build()?;
    if !is_root() && !has_capabilities(&binary) {
        setcap(Some(binary.clone()))?;
    }
    let mut tracer = Command::new(&binary);
    for (name, _) in env::vars().filter(|(name, _)| is_of_cargo(name)) {
        tracer.env_remove(name);
    }
    // rustup and cargo put their own folders first.
    let folders = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let target = binary.ancestors().nth(2).unwrap_or(&binary);
    let is_own = |folder: &PathBuf| {
        folder.starts_with(target) || folder.components().any(|part| part.as_os_str() == "toolchains")
    };
    match env::join_paths(env::split_paths(&folders).filter(|folder| !is_own(folder))) {
        Ok(folders) if !folders.is_empty() => tracer.env("LD_LIBRARY_PATH", folders),
        _ => tracer.env_remove("LD_LIBRARY_PATH"),
    };
    Err(tracer.args(arguments).exec()).context("cannot run process-tracer")
}

/// Variables that cargo and rustup set for this task. The traced command must run without them: it may be cargo too.
fn is_of_cargo(name: &str) -> bool {
    ["CARGO", "RUSTUP_TOOLCHAIN", "RUST_RECURSION_COUNT"].contains(&name) || is_of_package(name)
}

/// Variables that describe the package of this task.
fn is_of_package(name: &str) -> bool {
    let prefixes = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn build() -> Result<PathBuf> {
    setup::for_building()?;
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--package", "tracer-cli"]);
    artifacts::build(&mut build)?.executable("process-tracer")
}

fn test(arguments: &[String]) -> Result<()> {
    setup::for_building()?;
    let tools = setup::for_testing()?;
    let mut test = cargo();
    test.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(arguments);
    test.env("ROTEL_AGENT", tools.rotel).env("TEST_PYTHON", tools.python).env("CHROMIUM", tools.chromium);
    if !is_root() {
        // The user compiles the tests and root runs them, because they load eBPF programs.
        let runner = format!("CARGO_TARGET_{}_RUNNER", host_triple()?.to_uppercase().replace('-', "_"));
        test.env(runner, "sudo --preserve-env");
    }
    succeed(&mut test)
}

fn setcap(binary: Option<PathBuf>) -> Result<()> {
    let binary = match binary {
        Some(binary) => binary,
        None => build()?,
    };
    setup::command("setcap", "libcap2-bin", "libcap", "libcap")?;
    println!("giving {CAPABILITIES} to {}", binary.display());
    succeed(as_root("setcap").arg(CAPABILITIES).arg(&binary))
}

fn has_capabilities(binary: &Path) -> bool {
    let output = Command::new("getcap").arg(binary).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("cap_bpf"))
}

fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("rustc -vV names no host")?.to_owned())
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The build script of ring runs again if these variables change. So `cargo build` after a task would compile it again.
    for (name, _) in env::vars().filter(|(name, _)| is_of_package(name)) {
        cargo.env_remove(name);
    }
    cargo.current_dir(root());
    cargo
}

fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    sudo
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo would set the variables of an `[env]` table for this task too. `cargo xtask run` would pass them to the
    /// traced command, which may be another build.
    #[test]
    fn the_configuration_of_cargo_sets_no_variables() {
        let configuration = std::fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
        assert!(!configuration.lines().any(|line| line.starts_with("[env")), "{configuration}");
    }
}
