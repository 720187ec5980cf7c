//! User names and group names of processes with another root folder.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use crate::{
    harness::{PROCESS_TRACER, copy_program},
    trace::{Span, Trace},
};

/// A root folder with users of its own, and one program: `/nap MILLISECONDS`. The user `nobody` may use the root folder.
struct Root {
    folder: TempDir,
}

const PASSWD: &str = "chief:x:0:0::/:/bin/sh\nworker:x:65534:65534::/:/bin/sh\n";
const GROUP: &str = "chiefs:x:0:\nworkers:x:65534:\n";

impl Root {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let root = Self { folder };
        fs::create_dir_all(root.path("root/etc")).unwrap();
        copy_program(nap(), root.path("root/nap"));
        copy_program(PROCESS_TRACER, root.path("process-tracer"));
        fs::write(root.path("root/etc/passwd"), PASSWD).unwrap();
        fs::write(root.path("root/etc/group"), GROUP).unwrap();
        root
    }

    /// Calls `make`, which creates something in place of `/etc/passwd`.
    fn with_passwd(make: impl FnOnce(&Self, &Path)) -> Self {
        let root = Self::new();
        let passwd = root.path("root/etc/passwd");
        fs::remove_file(&passwd).unwrap();
        make(&root, &passwd);
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives the program these capabilities.
    fn set_capabilities(&self, capabilities: &str) {
        let setcap = Command::new("setcap").arg(capabilities).arg(self.path("process-tracer")).status();
        assert!(setcap.unwrap().success());
    }

    /// Traces a script. `prefix` runs process-tracer.
    #[track_caller]
    fn trace(&self, prefix: &[&str], source: &str, script: &str) -> Trace {
        let tracer = self.path("process-tracer");
        let tracer = [tracer.to_str().unwrap(), "--source", source, "-o", "t.jsonl", "--", "sh", "-c", script];
        let words = [prefix, &tracer].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.folder.path()).env("XDG_STATE_HOME", self.folder.path());
        let output = command.env_remove("TRACEPARENT").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let trace = Trace::read(&self.path("t.jsonl"));
        fs::remove_file(self.path("t.jsonl")).unwrap();
        trace
    }
}

const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn nap() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let name = format!("nap-{}", std::process::id());
        let (source, binary) = (folder.join(&name).with_extension("c"), folder.join(&name));
        let code = "#include <stdlib.h>\n#include <unistd.h>\n\
                    int main(int argc, char **argv) { return argc < 2 || usleep(1000 * atoi(argv[1])); }\n";
        fs::write(&source, code).unwrap();
        let status = Command::new("cc").arg("-static").arg("-o").arg(&binary).arg(&source).status().unwrap();
        assert!(status.success());
        binary
    })
}

/// The name of the user, and the name of the group.
fn names(span: &Span) -> [Option<&str>; 2] {
    ["process.user.name", "process_tracer.group.name"].map(|key| span.has(key).then(|| span.attribute(key)))
}

#[test]
fn a_process_below_another_root_folder_has_the_names_of_that_folder() {
    let root = Root::new();
    let trace = root.trace(&[], "ptrace", "chroot root /nap 0; true");
    trace.assert_complete();
    assert_eq!(names(trace.named("nap")), [Some("chief"), Some("chiefs")]);
    assert_eq!(names(trace.root()), [Some("root"), Some("root")]);
}

#[test]
fn a_container_of_an_ordinary_user_has_its_own_names() {
    let root = Root::new();
    // In the container the user is root. Outside, it is first `nobody`, then root.
    for script in ["unshare -r chroot root /nap 0; true", "unshare -r --mount chroot root /nap 0; true"] {
        for prefix in [&AS_NOBODY[..], &[]] {
            let trace = root.trace(prefix, "ptrace", script);
            let nap = trace.named("nap");
            assert_eq!(nap.attribute("process.user.id"), trace.root().attribute("process.user.id"));
            assert_eq!(names(nap), [Some("chief"), Some("chiefs")], "{script}");
        }
    }
    let trace = root.trace(&AS_NOBODY, "ptrace", "unshare --user --map-current-user --mount --root=root /nap 0; true");
    assert_eq!(names(trace.named("nap")), [Some("worker"), Some("workers")]);
}

#[test]
fn the_user_database_can_change_within_a_mount_namespace() {
    let root = Root::new();
    let script = "unshare --mount sh -c '/bin/echo; mount --bind root/etc/passwd /etc/passwd; exec /bin/true'; true";
    let trace = root.trace(&[], "ptrace", script);
    assert_eq!(names(trace.named("echo")), [Some("root"), Some("root")]);
    assert_eq!(names(trace.named("true")), [Some("chief"), Some("root")]);
}

#[test]
fn links_in_a_container_do_not_lead_outside() {
    let outside = Root::new();
    let absolute = outside.path("root/etc/passwd").display().to_string();
    for (target, is_inside) in
        [("/etc/users", true), ("../../../../etc/users", true), (&absolute, false), ("../../outside", false)]
    {
        let root = Root::with_passwd(|root, passwd| {
            symlink(target, passwd).unwrap();
            fs::write(root.path("root/etc/users"), PASSWD).unwrap();
            fs::write(root.path("outside"), PASSWD).unwrap();
        });
        let trace = root.trace(&[], "ptrace", "chroot root /nap 0; true");
        assert_eq!(names(trace.named("nap")), [is_inside.then_some("chief"), Some("chiefs")], "{target}");
    }
    // Here the folder `etc` itself is a link.
    let root = Root::new();
    fs::rename(root.path("root/etc"), root.path("root/other")).unwrap();
    symlink("/other", root.path("root/etc")).unwrap();
    let trace = root.trace(&[], "ptrace", "chroot root /nap 0; true");
    assert_eq!(names(trace.named("nap")), [Some("chief"), Some("chiefs")]);
}

#[test]
fn only_regular_files_that_everybody_may_read_are_read() {
    let pipe = Root::with_passwd(|_, passwd| mkfifo(passwd, Mode::from_bits_truncate(0o644)).unwrap());
    let folder = Root::with_passwd(|_, passwd| fs::create_dir(passwd).unwrap());
    let huge = Root::with_passwd(|_, passwd| fs::write(passwd, [PASSWD, &"#".repeat(2 << 20)].concat()).unwrap());
    let secret = Root::with_passwd(|_, passwd| {
        fs::write(passwd, PASSWD).unwrap();
        fs::set_permissions(passwd, fs::Permissions::from_mode(0o600)).unwrap();
    });
    for (kind, root) in [("pipe", pipe), ("folder", folder), ("huge", huge), ("secret", secret)] {
        let trace = root.trace(&[], "ptrace", "chroot root /nap 0; true");
        trace.assert_complete();
        assert_eq!(names(trace.named("nap")), [None, Some("chiefs")], "{kind}");
    }
}

/// With eBPF, process-tracer has no capability while the command runs. The owner of a user namespace may look at the
/// processes in it. Root without capabilities may not look at a process with capabilities.
#[test]
fn with_ebpf_the_kernel_decides_which_names_are_known() {
    let root = Root::new();
    let trace = root.trace(&[], "ebpf", "unshare -r chroot root /nap 2000 & chroot root /nap 2001 & wait");
    let nap = |duration| trace.spans.iter().find(|span| span.name == "nap" && has_word(span, duration)).unwrap();
    assert_eq!(names(nap("2000")), [Some("chief"), Some("chiefs")]);
    assert_eq!(names(nap("2001")), [None, None]);
    root.set_capabilities("cap_bpf,cap_perfmon=ep");
    let script = "unshare --user --map-current-user --mount --root=root /nap 2000; true";
    let trace = root.trace(&AS_NOBODY, "ebpf", script);
    assert_eq!(names(trace.named("nap")), [Some("worker"), Some("workers")]);
}

fn has_word(span: &Span, word: &str) -> bool {
    span.attribute("process.command_args").contains(word)
}
