//! process-tracer in real containers: podman and runc with the default seccomp profile and the default capabilities.
//!
//! A container has the programs of this machine, so that no image is needed.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Output,
};

use tempfile::TempDir;

use crate::{
    compare::{Pids, assert_same_processes},
    harness::{PROCESS_TRACER, build, process_tracer, trace_script},
    trace::Trace,
};

/// The root folder of a container, and a folder that it shares with the test.
struct Container {
    folder: TempDir,
}

/// The path of process-tracer in the container.
const INSIDE: &str = "/tracer/process-tracer";

impl Container {
    fn new() -> Self {
        let container = Self { folder: tempfile::tempdir_in("/var/tmp").unwrap() };
        for folder in ["usr", "etc/pam.d", "etc/alternatives", "proc", "sys", "dev", "tmp", "run", "tracer", "work"] {
            fs::create_dir_all(container.root().join(folder)).unwrap();
        }
        fs::create_dir(container.work()).unwrap();
        for folder in [container.work(), container.root().join("tmp")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).unwrap();
        }
        for name in ROOT_FOLDERS {
            match fs::read_link(Path::new("/").join(name)) {
                Ok(target) => symlink(target, container.root().join(name)).unwrap(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => fs::create_dir(container.root().join(name)).unwrap(),
            }
        }
        let files = [
            ("passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
            ("group", "root:x:0:\nnogroup:x:65534:\n"),
            ("sudoers", "root ALL=(ALL) NOPASSWD: ALL\nnobody ALL=(ALL) NOPASSWD: ALL\n"),
            (
                "pam.d/sudo",
                "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
            ),
        ];
        for (name, text) in files {
            fs::write(container.root().join("etc").join(name), text).unwrap();
        }
        fs::set_permissions(container.root().join("etc/sudoers"), fs::Permissions::from_mode(0o440)).unwrap();
        container
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// `/work` of the container.
    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The command that runs a program in the container.
    fn command(&self, flags: &[&str], command: &[&str]) -> Vec<String> {
        let folders = ["usr", "etc/alternatives"].into_iter().chain(ROOT_FOLDERS).map(|name| format!("/{name}"));
        let folders = folders.filter(|folder| Path::new(folder).is_dir() && !Path::new(folder).is_symlink());
        let volumes = folders.map(|folder| format!("--volume={folder}:{folder}:ro,suid"));
        let own = [
            format!("--volume={PROCESS_TRACER}:{INSIDE}:ro"),
            format!("--volume={}:/work", self.work().display()),
            "--workdir=/work".to_owned(),
            // runc, because crun refuses the control groups of some machines.
            "--runtime=runc".to_owned(),
            "--network=none".to_owned(),
            // Higher limits need CAP_SYS_RESOURCE.
            "--ulimit=nofile=1024:1024".to_owned(),
            "--ulimit=nproc=1024:1024".to_owned(),
        ];
        let podman = ["podman", "run", "--rm"].map(str::to_owned);
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let root = ["--rootfs".to_owned(), self.root().display().to_string()];
        let command = command.iter().map(|word| (*word).to_owned());
        podman.into_iter().chain(volumes).chain(own).chain(flags).chain(root).chain(command).collect()
    }

    /// Runs a program in the container. `flags` are those of podman.
    fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        let words = self.command(flags, command);
        let output = std::process::Command::new(&words[0]).args(&words[1..]).output();
        let output = output.unwrap_or_else(|error| panic!("podman: {error}; install it with `cargo xtask setup`"));
        let stderr = stderr_of(&output);
        assert!(!stderr.lines().any(|line| line.starts_with("Error:")), "podman failed: {stderr}");
        output
    }

    /// A seccomp profile that refuses one system call, except in a container with this capability.
    fn profile(&self, call: &str, capability: &str) -> String {
        let path = self.folder.path().join(format!("no-{call}.json"));
        let profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{
                "names": [call],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 1,
                "excludes": { "caps": [capability] },
            }],
        });
        fs::write(&path, profile.to_string()).unwrap();
        format!("--security-opt=seccomp={}", path.display())
    }

    /// Runs doctor. Returns its status and its table.
    fn doctor(&self, flags: &[&str]) -> (Option<i32>, String) {
        let output = self.run(flags, &[INSIDE, "doctor"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

/// Folders, or links to folders below `/usr`.
const ROOT_FOLDERS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The row of doctor's table, with its remedy.
#[track_caller]
fn row<'a>(table: &'a str, name: &str) -> (&'a str, &'a str) {
    let mut lines = table.lines().skip_while(|line| !line[6..].starts_with(&format!("{name} ")));
    let row = lines.next().unwrap_or_else(|| panic!("no row {name}: {table}"));
    (row, lines.next().and_then(|line| line.trim().strip_prefix("remedy: ")).unwrap_or_default())
}

/// The options of podman that a text names, for example `--cap-add BPF`.
fn options(text: &str) -> Vec<String> {
    let words: Vec<_> = text.split_whitespace().map(|word| word.trim_end_matches([',', ';'])).collect();
    let values = words.windows(2).filter(|pair| ["--cap-add", "--security-opt"].contains(&pair[0]));
    values.map(|pair| format!("{}={}", pair[0], pair[1])).collect()
}

fn has_ebpf(table: &str) -> bool {
    row(table, "eBPF programs").0.starts_with("ok")
}

#[test]
fn build_in_a_default_container_is_traced_as_by_ebpf_outside() {
    let container = Container::new();
    build(&container.work());
    let inner = [INSIDE, "--source", "auto", "-o", "inner.jsonl", "--wait", "tree", "--", "make", "-s", "-j2"];
    let file = container.folder.path().join("outer.jsonl");
    let mut outer = process_tracer();
    outer.args(["--source", "ebpf", "--wait", "tree", "-q", "-o"]).arg(&file).arg("--");
    let output = outer.args(container.command(&[], &inner)).output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("ptrace observes the processes, because eBPF is impossible: missing CAP_BPF"), "{stderr}");
    assert!(stderr.contains("inner.jsonl, complete, connections not observed"), "{stderr}");
    assert_eq!(fs::read_to_string(container.work().join("sum")).unwrap(), "66\n");
    let by_ptrace = Trace::read(&container.work().join("inner.jsonl"));
    assert_eq!(by_ptrace.root().attribute("process_tracer.source"), "ptrace");
    assert_eq!(by_ptrace.root().attribute("process.exit.code"), "2");
    let count = assert_same_processes(&by_ptrace, &Trace::read(&file), Pids::OfContainer);
    assert!(count > 12 * 8, "{count}");
}

#[test]
fn the_example_for_docker_traces_a_build_in_a_container() {
    let container = Container::new();
    build(&container.work());
    let words = container.command(&[], &[]);
    let [podman, _, _, options @ .., root] = words.as_slice() else { panic!("{words:?}") };
    let mut example =
        std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ci/docker-run.sh"));
    example.args([root, "make", "-s", "-j2"]).current_dir(container.work());
    example.envs([("DOCKER", podman.as_str()), ("OPTIONS", &options.join(" ")), ("PROCESS_TRACER", PROCESS_TRACER)]);
    let output = example.env_remove("OTLP_ENDPOINT").output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("trace.html, trace.jsonl, complete, connections not observed"), "{stderr}");
    let trace = Trace::read(&container.work().join("trace.jsonl"));
    assert_eq!(trace.root().attribute("process_tracer.source"), "ptrace");
    assert!(container.work().join("trace.html").is_file());
}

#[test]
fn remedies_of_doctor_work_in_a_container() {
    let container = Container::new();
    let (status, table) = container.doctor(&[]);
    assert_eq!(status, Some(0), "{table}");
    for name in ["CAP_BPF", "CAP_PERFMON", "eBPF programs"] {
        assert!(row(&table, name).0.starts_with("FAIL"), "{table}");
    }
    for (name, text) in [("seccomp", "a filter"), ("outer tracer", "none"), ("ptrace", "works: process-tracer uses it")]
    {
        let row = row(&table, name).0;
        assert!(row.starts_with("ok") && row.contains(text), "{table}");
    }
    // All options of the row are used, because some versions of the default profile do not allow bpf(2) even with CAP_BPF.
    let remedy = options(row(&table, "CAP_BPF").1);
    assert_eq!(remedy, ["--cap-add=BPF", "--cap-add=PERFMON", "--security-opt=seccomp=unconfined"], "{table}");
    let remedy: Vec<_> = remedy.iter().map(String::as_str).collect();
    let (status, table) = container.doctor(&remedy);
    assert_eq!(status, Some(0), "{table}");
    assert!(has_ebpf(&table), "{table}");
    // The trace agrees with doctor.
    let output =
        container.run(&remedy, &[INSIDE, "--strict", "--source", "ebpf", "--", "sh", "-c", "/bin/true; exit 3"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr_of(&output).contains("2 spans, complete"), "{output:?}");
}

#[test]
fn profile_that_refuses_bpf_despite_the_capabilities_is_recognised() {
    let container = Container::new();
    let profile = container.profile("bpf", "CAP_SYS_ADMIN");
    let capabilities = ["--cap-add=BPF", "--cap-add=PERFMON"];
    let refused = [&capabilities[..], &[&profile]].concat();
    let (status, table) = container.doctor(&refused);
    assert_eq!(status, Some(0), "{table}");
    for name in ["CAP_BPF", "CAP_PERFMON", "ptrace"] {
        assert!(row(&table, name).0.starts_with("ok"), "{table}");
    }
    let (found, remedy) = row(&table, "eBPF programs");
    assert!(found.starts_with("FAIL"), "{table}");
    assert!(remedy.starts_with("a seccomp profile forbids bpf(2), although the capabilities are held"), "{table}");
    assert!(remedy.ends_with("or use --privileged"), "{table}");
    // A run gives the same reason, and takes ptrace.
    let output = container.run(&refused, &[INSIDE, "--", "sh", "-c", "/bin/true; exit 3"]);
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("because eBPF is impossible: a seccomp profile forbids bpf(2), although the capabilities"),
        "{stderr}"
    );
    assert!(stderr.contains("2 spans, complete, connections not observed"), "{stderr}");
    // The remedies: the named option in place of the profile, or all privileges.
    assert_eq!(options(remedy), ["--security-opt=seccomp=unconfined"], "{table}");
    for remedy in [&[&capabilities[..], &["--security-opt=seccomp=unconfined"]].concat()[..], &["--privileged"]] {
        let (status, table) = container.doctor(remedy);
        assert_eq!(status, Some(0), "{remedy:?}: {table}");
        assert!(has_ebpf(&table), "{table}");
    }
}

#[test]
fn profile_that_refuses_ptrace_is_recognised() {
    let container = Container::new();
    let profile = container.profile("ptrace", "CAP_SYS_PTRACE");
    let (status, table) = container.doctor(&[&profile]);
    assert_eq!(status, Some(1), "{table}");
    let (found, remedy) = row(&table, "ptrace");
    assert!(found.starts_with("FAIL") && found.ends_with("forbidden"), "{table}");
    assert!(remedy.contains("a seccomp profile may forbid it"), "{table}");
    // The command alone is traced, with its status.
    let output = container.run(&[&profile], &[INSIDE, "--", "sh", "-c", "/bin/true; exit 3"]);
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("only the command itself is traced") && stderr.contains("ptrace(2) failed"), "{stderr}");
    // Each of the two remedies is enough.
    assert_eq!(options(remedy), ["--security-opt=seccomp=unconfined", "--cap-add=SYS_PTRACE"], "{table}");
    for remedy in [&["--security-opt=seccomp=unconfined"][..], &["--cap-add=SYS_PTRACE", &profile]] {
        let (_, table) = container.doctor(remedy);
        assert!(row(&table, "ptrace").0.starts_with("ok"), "{remedy:?}: {table}");
    }
}

/// Runs a script in a default container, once without process-tracer and once traced by ptrace. Checks that its output and
/// its exit status are the same. Returns the last line on stderr, and the trace.
#[track_caller]
fn assert_script_is_as_bare(container: &Container, script: &str, prefix: &[&str]) -> (String, Trace) {
    let run = |tracer: &[&str]| {
        let output = container.run(&[], &[prefix, tracer, &["sh", "-c", script]].concat());
        ((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()), stderr_of(&output))
    };
    let (bare, _) = run(&[]);
    let (traced, stderr) = run(&[INSIDE, "-o", "t.jsonl", "--"]);
    assert_eq!(traced, bare, "{stderr}");
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    (last, Trace::read(&container.work().join("t.jsonl")))
}

#[test]
fn sudo_works_for_root_without_cap_sys_ptrace() {
    let container = Container::new();
    fs::write(container.work().join("Makefile"), "all:\n\tid -u\n\tcat Makefile | sort\n").unwrap();
    let script =
        "sudo make; sudo -u nobody sh -c 'id -u; /bin/true; exit 5'; echo $?; sudo -u nobody sudo id -u; exit 6";
    let (last, trace) = assert_script_is_as_bare(&container, script, &[]);
    // After the change to the user nobody, the second sudo gains privileges.
    assert!(last.contains("incomplete: 1 program not followed: gains privileges (sudo)"), "{last}");
    trace.assert_sound();
    let count = |name: &str| trace.processes().filter(|span| span.name == name).count();
    assert_eq!(["make", "sort", "id", "true"].map(count), [1, 1, 2, 1], "{trace:#?}");
    let truth = trace.named("true");
    assert_eq!(truth.attribute("process.user.id"), "65534");
}

#[test]
fn sudo_works_for_an_ordinary_user_in_a_container() {
    let container = Container::new();
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let script = "id -u; sudo sh -c 'id -u; exit 7'; echo $?; /bin/true; exit 6";
    let (last, trace) = assert_script_is_as_bare(&container, script, &user);
    assert!(last.contains("incomplete: 1 program not followed: gains privileges (sudo)"), "{last}");
    let mut names: Vec<_> = trace.children_of(trace.root()).map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["id", "sudo", "true"]);
}

#[test]
fn below_a_root_folder_without_users_a_process_has_no_names_of_users() {
    // Debian's /usr has all that a program needs, but no /etc/passwd.
    for source in ["ebpf", "ptrace"] {
        let run = trace_script(&["--source", source], "chroot /usr /bin/ls >/dev/null; true");
        run.trace.assert_complete();
        let below = run.trace.named("ls");
        assert!(below.attribute("process.user.id") == "0" && !below.has("process.user.name"), "{source}: {below:#?}");
        assert_eq!(run.trace.root().attribute("process.user.name"), "root", "{source}");
    }
}
