//! Runs process-tracer as a user would.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::trace::Trace;

pub const PROCESS_TRACER: &str = env!("CARGO_BIN_EXE_process-tracer");

/// Copies a program. cp(1) writes the copy. If this process did, other tests could fork in the meantime, and their children would hold
/// the open file for a moment. A file that is open for writing cannot be executed: ETXTBSY.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let status = Command::new("cp").arg(from.as_ref()).arg(to.as_ref()).status();
    assert!(status.unwrap().success());
}

/// Writes a program, such as a script. A child writes it, as in [`copy_program`].
pub fn write_program(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let mut child = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path.as_ref())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The compiled `workloads/workload.c`. If the variable WORKLOAD is set, it is the path of this program, and no compiler is
/// needed.
pub fn workload() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("WORKLOAD") {
            return binary.into();
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/integration/workloads/workload.c");
        // Test processes compile at the same time. Each has its own file.
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("workload-{}", std::process::id()));
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&binary).arg(source);
        assert!(cc.status().expect("a C compiler").success(), "{cc:?}");
        binary
    })
}

/// The real Python executable. `python3` on PATH may be the script of a version manager, which starts many processes.
pub fn python() -> &'static str {
    static EXECUTABLE: OnceLock<String> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        assert!(output.status.success(), "python3: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

/// process-tracer without the variables that would configure it.
pub fn process_tracer() -> Command {
    let mut command = Command::new(PROCESS_TRACER);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        // sudo may have started the tests.
        if name.starts_with("SUDO_")
            || name.starts_with("OTEL_")
            || name.starts_with("PROCESS_TRACER_")
            || name.starts_with("TRACE")
        {
            command.env_remove(&*name);
        }
    }
    command.env_remove("GITHUB_STEP_SUMMARY").stdin(Stdio::null()).env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A finished traced run.
pub struct Run {
    pub output: Output,
    pub stdout: String,
    pub stderr: String,
    pub trace: Trace,
}

impl Run {
    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// The words of the lines of stdout that begin with `first`.
    pub fn told<'a>(&'a self, first: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
        let lines = self.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.filter(move |words| words.first() == Some(&first))
    }
}

/// Traces a command with these flags.
pub fn trace_with<S: AsRef<OsStr>>(flags: &[&str], command: &[S]) -> Run {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("trace.jsonl");
    // A slow machine, such as an emulated one, can need a long time to write thousands of spans.
    let mut tracer = process_tracer();
    tracer.args(["--flush-timeout", "300"]).args(flags).arg("-o").arg(&file).arg("--").args(command);
    let output = tracer.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("only the command itself is traced"), "these tests need privileges: {stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Run { stdout, stderr, trace: Trace::read(&file), output }
}

/// Traces a scenario of the workload.
pub fn trace_workload(arguments: &[&str]) -> Run {
    let workload = workload().to_str().unwrap();
    let command: Vec<&str> = std::iter::once(workload).chain(arguments.iter().copied()).collect();
    trace_with(&[], &command)
}

/// Traces a Python script. It ignores the home of the user, so that it starts in the same way for all users.
pub fn trace_python(flags: &[&str], script: &str, arguments: &[&str]) -> Run {
    trace_with(flags, &[&[python(), "-IS", "-c", script], arguments].concat())
}

/// Traces a shell script.
pub fn trace_script(flags: &[&str], script: &str) -> Run {
    trace_with(flags, &["sh", "-c", script])
}

/// A Python script that executes its arguments under a seccomp filter, as in some containers. ptrace(2) fails there.
pub const FORBID_PTRACE: &str = "import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
number = {'x86_64': 101, 'aarch64': 117}[os.uname().machine]
filters = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in filters))
program = struct.pack('HxxxxxxQ', len(filters), ctypes.addressof(code))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])";

/// Writes a small project that `make` builds. It has a compiler, pipelines and a daemon. One step fails, and a signal
/// ends another step. Its result is `sum`. The build itself fails at the end, with status 2.
pub fn build(folder: &Path) {
    let makefile = r#"
MODULES = 0 1 2 3 4 5 6 7 8 9 10 11
all: sum
	-sh -c 'exit 3'
	-sh -c 'kill -9 $$$$'
	setsid sh -c 'sleep 0.2; exec true' &
	exit 4
sum: main
	./main; echo $$? > sum
main: $(MODULES:%=m%.o) main.o
	gcc -o $@ $^
main.o: main.c
	gcc -c -o $@ $<
main.c:
	for m in $(MODULES); do echo "int f$$m(void);"; done > $@
	echo 'int main(void) { return 0' >> $@
	for m in $(MODULES); do echo "+ f$$m()"; done >> $@
	echo '; }' >> $@
m%.c: template
	sed 's/N/$*/g' template > $@
m%.o: m%.c
	gcc -O1 -c -o $@ $<
	cat $< | fold -w 1 | sort | wc -l > m$*.words
"#;
    std::fs::write(folder.join("Makefile"), makefile).unwrap();
    std::fs::write(folder.join("template"), "int fN(void) { return N; }\n").unwrap();
}
