//! Real containers, with the default capabilities and the default seccomp profile of podman. Such a container has no eBPF.
//!
//! Its programs are those of this machine: `/usr` and `/etc` are mounted into it, read-only.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

use tempfile::TempDir;

use crate::{harness::PROCESS_TRACER, trace::Trace};

/// podman's own folders, with one image.
static STORAGE: LazyLock<TempDir> = LazyLock::new(|| {
    let storage = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = storage.path().join("root");
    for folder in ["usr", "etc", "proc", "sys", "dev", "tmp", "run", "var", "out", "root"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    // On many systems, these are links into /usr.
    for name in ["bin", "sbin", "lib", "lib64"] {
        match fs::read_link(Path::new("/").join(name)) {
            Ok(target) => symlink(target, root.join(name)).unwrap(),
            Err(_) => fs::create_dir(root.join(name)).unwrap(),
        }
    }
    let archive = storage.path().join("root.tar");
    let tar = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
    assert!(tar.success());
    let import = podman(storage.path()).arg("import").arg(&archive).arg("test:1").output().unwrap();
    assert!(import.status.success(), "{import:?}");
    storage
});

fn podman(storage: &Path) -> Command {
    let mut podman = Command::new("podman");
    podman.arg("--root").arg(storage.join("storage")).arg("--runroot").arg(storage.join("run"));
    podman.args(["--storage-driver", "vfs", "--log-level", "error"]);
    podman
}

/// Runs process-tracer in a container. The files in `/out` are in the folder `out`.
fn run(out: &Path, podman_flags: &[&str], arguments: &[&str]) -> Output {
    let mut command = podman(STORAGE.path());
    // The limits are lower than the default ones, which need a capability that this machine may not have.
    command.args(["run", "--rm", "--runtime", "runc", "--network", "none", "--no-hosts"]);
    command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
    let mount = |from: &Path, to: &str, flags: &str| format!("{}:{to}:{flags}", from.display());
    let mut mounts = vec![mount(Path::new("/usr"), "/usr", "ro,suid,exec,dev"), mount(Path::new("/etc"), "/etc", "ro")];
    for name in ["/bin", "/sbin", "/lib", "/lib64"].into_iter().filter(|name| fs::read_link(name).is_err()) {
        mounts.extend(Path::new(name).is_dir().then(|| mount(Path::new(name), name, "ro,suid,exec,dev")));
    }
    mounts.push(mount(out, "/out", "rw"));
    mounts.push(mount(&PathBuf::from(PROCESS_TRACER), "/process-tracer", "ro,exec"));
    for mount in &mounts {
        command.args(["-v", mount]);
    }
    command.args(podman_flags).args(["test:1", "/process-tracer"]).args(arguments).output().unwrap()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_whole_tree_is_traced_in_a_container_with_default_rights() {
    let out = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = "/bin/true; sh -c 'exit 4; :'; exit 3";
    let output = run(out.path(), &[], &["-o", "/out/t.jsonl", "--", "sh", "-c", script]);
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("ptrace observes the processes, because eBPF is impossible: "), "{stderr}");
    assert!(stderr.contains("3 spans to /out/t.jsonl, complete, connections not observed"), "{stderr}");
    let trace = Trace::read(&out.path().join("t.jsonl"));
    trace.assert_complete();
    let mut children: Vec<_> = trace.children_of(trace.root()).collect();
    children.sort_by_key(|span| span.start);
    let seen: Vec<_> = children.iter().map(|span| (span.name.as_str(), span.attribute("process.exit.code"))).collect();
    assert_eq!(seen, [("true", "0"), ("sh", "4")]);
}

#[test]
fn sudo_works_in_a_root_container_without_the_right_to_trace_others() {
    let out = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(out.path().join("Makefile"), "all:\n\t@sudo -n -u nobody id -un\n\t@echo built\n").unwrap();
    let script = "sudo -n make -s -C /out; sudo -n -u nobody sh -c 'id -u; exit 5'";
    let output = run(out.path(), &[], &["-o", "/out/t.jsonl", "--", "sh", "-c", script]);
    let stderr = stderr_of(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nobody\nbuilt\n65534\n", "{stderr}");
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    let trace = Trace::read(&out.path().join("t.jsonl"));
    trace.assert_complete();
    assert!(trace.named("make").attribute("process.exit.code") == "0", "{stderr}");
}

#[test]
fn the_remedy_of_doctor_gives_a_container_ebpf() {
    let out = tempfile::tempdir_in("/var/tmp").unwrap();
    let doctor = |flags: &[&str]| {
        let output = run(out.path(), flags, &["doctor"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, table) = doctor(&[]);
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("FAIL  CAP_BPF") && table.contains("ok    ptrace "), "{table}");
    let remedies = ["--cap-add BPF --cap-add PERFMON", "--security-opt seccomp=unconfined"];
    assert!(remedies.iter().all(|remedy| table.contains(remedy)), "{table}");
    let flags: Vec<_> = remedies.iter().flat_map(|remedy| remedy.split(' ')).collect();
    let (code, table) = doctor(&flags);
    assert_eq!(code, Some(0), "{table}");
    // Some seccomp profiles forbid bpf(2) in spite of the capabilities. Then doctor must name the profile.
    let (code, table) = doctor(&flags[..4]);
    assert!(code == Some(0) || table.contains("seccomp"), "{table}");
    let output = run(out.path(), &flags, &["-o", "/out/t.jsonl", "--", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let trace = Trace::read(&out.path().join("t.jsonl"));
    assert_eq!(trace.root().attribute("process_tracer.source"), "ebpf");
}
