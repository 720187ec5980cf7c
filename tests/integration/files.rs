//! Owners of files, and the user who opens them. The tests use a real second user, a real sudo, and links and pipes in
//! place of a file.

use std::{
    fs::{self, File, Permissions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, Weak},
};

use nix::{libc, sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use crate::{
    harness::{PROCESS_TRACER, process_tracer},
    rotel::Rotel,
    trace::Trace,
};

/// The user who calls sudo.
const INVOKER: (&str, u32) = ("pt-test-invoker", 61_741);
/// A second group of the invoker.
const CREW: (&str, u32) = ("pt-test-crew", 61_742);
/// Another user, without an entry in the user database.
const STRANGER: u32 = 61_743;
/// A group whose only member is root.
const STAFF: u32 = 61_744;

/// One name for each format.
const NAMES: [&str; 6] = ["t.jsonl", "t.html", "t.pftrace", "t.json", "t.folded", "t.cpu.folded"];

const SUDOERS: &str = "/etc/sudoers.d/process-tracer-test";

/// The invoker's account and right to call process-tracer. The last test that holds it removes both.
struct Account {
    folder: TempDir,
    /// Test processes of other clones of this repository wait for it.
    _lock: File,
}

impl Account {
    fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Account>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(account) = shared.upgrade() {
            return account;
        }
        let account = Arc::new(Self::create());
        *shared = Arc::downgrade(&account);
        account
    }

    fn create() -> Self {
        let mut options = fs::OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open("/run/process-tracer-test.lock");
        let lock = lock.unwrap();
        lock.lock().unwrap();
        Self::remove(); // what a killed run has left
        let succeed = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
        };
        let ids = [INVOKER.1, CREW.1].map(|id| id.to_string());
        succeed("groupadd", &["--gid", &ids[1], CREW.0]);
        let home = ["--no-create-home", "--home-dir", "/nonexistent", "--groups", CREW.0];
        succeed("useradd", &[&["--uid", &ids[0], "--user-group", INVOKER.0][..], &home].concat());
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("process-tracer");
        crate::harness::copy_program(PROCESS_TRACER, &program);
        let rule = format!("{} ALL=(root) NOPASSWD:SETENV: {}\n", INVOKER.0, program.display());
        fs::write(SUDOERS, rule).unwrap();
        fs::set_permissions(SUDOERS, Permissions::from_mode(0o440)).unwrap();
        Self { folder, _lock: lock }
    }

    fn remove() {
        let _ = fs::remove_file(SUDOERS);
        // userdel also removes the user's own group.
        for (program, name) in [("userdel", INVOKER.0), ("groupdel", CREW.0)] {
            let _ = Command::new(program).arg(name).output();
        }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("process-tracer")
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        Self::remove();
    }
}

/// Folders of the invoker and of root on one file system.
struct Scene {
    account: Arc<Account>,
    parent: TempDir,
}

impl Scene {
    fn new() -> Self {
        let account = Account::get();
        let parent = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
        let scene = Self { account, parent };
        scene.folder("own", (INVOKER.1, INVOKER.1), 0o755);
        scene.folder("root", (0, 0), 0o700);
        scene
    }

    fn folder(&self, name: &str, (user, group): (u32, u32), mode: u32) -> PathBuf {
        let path = self.parent.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(user), Some(group)).unwrap();
        path
    }

    /// A path in the invoker's folder.
    fn own(&self, name: &str) -> PathBuf {
        self.parent.path().join("own").join(name)
    }

    /// A path in a folder that only root can enter.
    fn root(&self, name: &str) -> PathBuf {
        self.parent.path().join("root").join(name)
    }

    /// A file of root.
    fn precious(&self, name: &str) -> Precious {
        let path = self.root(name);
        fs::write(&path, "precious").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Precious { path }
    }

    /// A symbolic link of the invoker.
    fn link(&self, name: &str, target: impl AsRef<Path>) -> PathBuf {
        let link = self.own(name);
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        lchown(&link, Some(INVOKER.1), Some(INVOKER.1)).unwrap();
        link
    }

    /// The invoker calls sudo in their folder.
    fn sudo(&self, arguments: &[&str]) -> Output {
        self.sudo_with(&[], arguments)
    }

    fn sudo_with(&self, variables: &[(&str, &Path)], arguments: &[&str]) -> Output {
        let ids = [format!("--reuid={}", INVOKER.1), format!("--regid={}", INVOKER.1)];
        let mut command = Command::new("setpriv");
        command.args(ids).args(["--init-groups", "timeout", "120", "sudo", "-n"]);
        command.args(variables.iter().map(|(name, value)| format!("{name}={}", value.display())));
        command.arg(self.account.program()).args(arguments);
        command.current_dir(self.own("")).stdin(Stdio::null()).output().unwrap()
    }

    /// A run whose command prints that it ran.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, bool, String) {
        let output = self.sudo(&[arguments, &["--", "sh", "-c", "echo ran; exit 7"]].concat());
        (output.status.code(), output.stdout == b"ran\n", text(&output.stderr))
    }

    fn assert_written(&self, arguments: &[&str]) {
        let (code, has_run, stderr) = self.run(arguments);
        assert!(code == Some(7) && has_run, "{arguments:?}: {code:?} {stderr}");
        assert!(stderr.contains(", complete"), "{arguments:?}: {stderr}");
    }

    fn assert_refused(&self, name: &str, reason: &str) {
        let (code, has_run, stderr) = self.run(&["-o", name]);
        assert!(code == Some(125) && !has_run, "{name}: {code:?} {stderr}");
        assert!(stderr.contains(&format!("cannot write '{name}'")) && stderr.contains(reason), "{name}: {stderr}");
    }
}

struct Precious {
    path: PathBuf,
}

impl Precious {
    fn assert_untouched(&self, what: &str) {
        let metadata = fs::metadata(&self.path).unwrap();
        let found = (fs::read_to_string(&self.path).unwrap(), metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
        assert_eq!(found, ("precious".to_owned(), 0, 0, 0o644), "{what}");
    }
}

/// Checks that the file belongs to the invoker, and that no other user can read it.
fn assert_invokers(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = (metadata.is_file(), metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    assert_eq!(found, (true, INVOKER.1, INVOKER.1, 0o600), "{}", path.display());
    assert!(metadata.len() > 0, "{} is empty", path.display());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn under_sudo_files_are_the_invokers_in_every_format() {
    let scene = Scene::new();
    for name in NAMES {
        // The second run finds the file of the first.
        for _ in 0..2 {
            scene.assert_written(&["-o", name]);
            assert_invokers(&scene.own(name));
        }
    }
    let output = scene.sudo(&["report", "t.jsonl", "-o", "r.html"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_invokers(&scene.own("r.html"));
    let left: Vec<_> = names(&scene.own("")).into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn under_sudo_links_of_the_invoker_do_not_reach_files_of_root() {
    let scene = Scene::new();
    let precious = scene.precious("precious");
    for name in NAMES {
        scene.link(name, &precious.path);
        scene.assert_refused(name, "symbolic link");
        precious.assert_untouched(name);
        // A link to a file that does not exist yet.
        scene.link(name, scene.root("new"));
        scene.assert_refused(name, "symbolic link");
        // A link to a link, relative.
        scene.link("second", "../root/new");
        scene.link(name, "second");
        scene.assert_refused(name, "symbolic link");
        // A folder that is a link.
        scene.link("folder", scene.root(""));
        scene.assert_refused(&format!("folder/{name}"), "symbolic link");
        scene.assert_refused(&format!("folder/../root/{name}"), "symbolic link");
        assert_eq!(names(&scene.root("")), ["precious"], "{name}");
    }
    precious.assert_untouched("the end");
}

#[test]
fn under_sudo_a_report_is_not_written_through_the_invokers_link() {
    let scene = Scene::new();
    let precious = scene.precious("precious");
    scene.assert_written(&["-o", "t.jsonl"]);
    scene.link("r.html", &precious.path);
    let output = scene.sudo(&["report", "t.jsonl", "-o", "r.html"]);
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(125) && stderr.contains("symbolic link"), "{stderr}");
    precious.assert_untouched("report");
    // A file of root is also not read through such a link.
    fs::copy(scene.own("t.jsonl"), scene.root("secret.jsonl")).unwrap();
    scene.link("s.jsonl", scene.root("secret.jsonl"));
    for arguments in [&["report", "s.jsonl"][..], &["diff", "s.jsonl", "t.jsonl"]] {
        let output = scene.sudo(arguments);
        let stderr = text(&output.stderr);
        assert!(output.status.code() == Some(125) && stderr.contains("cannot read 's.jsonl'"), "{stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn under_sudo_the_invokers_links_to_their_own_files_are_followed() {
    let scene = Scene::new();
    for name in NAMES {
        let target = format!("target-{name}");
        scene.link(name, &target);
        for _ in 0..2 {
            scene.assert_written(&["-o", name]);
            assert_invokers(&scene.own(&target));
        }
        assert!(scene.own(name).is_symlink());
    }
}

#[test]
fn a_file_with_a_second_hard_link_is_refused() {
    let scene = Scene::new();
    for name in NAMES {
        let precious = scene.precious("precious");
        // The invoker may write to the file. So only the second link is a reason to refuse it.
        let shared = scene.own("shared");
        fs::write(&shared, "shared").unwrap();
        chown(&shared, Some(INVOKER.1), None).unwrap();
        for target in [&precious.path, &shared] {
            fs::hard_link(target, scene.own(name)).unwrap();
            scene.assert_refused(name, "another name");
            assert_eq!(fs::metadata(target).unwrap().nlink(), 2, "{name}");
            fs::remove_file(scene.own(name)).unwrap();
        }
        precious.assert_untouched(name);
        assert_eq!(fs::read_to_string(&shared).unwrap(), "shared");
    }
    // Such a file is also refused without sudo.
    let folder = TempDir::new().unwrap();
    let [file, second] = ["t.jsonl", "second"].map(|name| folder.path().join(name));
    fs::write(&file, "before").unwrap();
    fs::hard_link(&file, &second).unwrap();
    let output = process_tracer().arg("-o").arg(&file).args(["--", "true"]).output().unwrap();
    assert!(text(&output.stderr).contains("another name") && output.status.code() == Some(125), "{output:?}");
    assert_eq!(fs::read_to_string(&second).unwrap(), "before");
}

#[test]
fn links_and_files_of_other_users_are_refused() {
    let scene = Scene::new();
    let shared = scene.folder("shared", (0, 0), 0o777);
    let target = scene.own("target");
    for name in NAMES {
        let path = shared.join(name);
        let name = path.to_str().unwrap();
        symlink(&target, &path).unwrap();
        lchown(&path, Some(STRANGER), None).unwrap();
        scene.assert_refused(name, "symbolic link of another user");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        for owner in [STRANGER, 0] {
            chown(&path, Some(owner), None).unwrap();
            scene.assert_refused(name, "belongs to another user");
            assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        }
    }
    assert!(!target.exists());
}

#[test]
fn without_sudo_root_refuses_folders_that_are_links_of_other_users() {
    let scene = Scene::new();
    scene.link("folder", scene.root(""));
    for name in NAMES {
        let path = scene.own("folder").join(name);
        let output = process_tracer().arg("-o").arg(&path).args(["--", "true"]).output().unwrap();
        let stderr = text(&output.stderr);
        assert!(output.status.code() == Some(125) && stderr.contains("symbolic link of another user"), "{stderr}");
    }
    // The folder of the spool is not created there either.
    let mut command = process_tracer();
    command.env("XDG_STATE_HOME", scene.own("folder")).args(["--endpoint", &nobody(), "--", "true"]);
    let stderr = text(&command.output().unwrap().stderr);
    assert!(stderr.contains("cannot make '") && stderr.contains("symbolic link of another user"), "{stderr}");
    assert_eq!(names(&scene.root("")), [""; 0]);
}

#[test]
fn root_without_sudo_writes_to_folders_of_others() {
    // This is as in a CI container, where root works in the folder of a user of the host.
    const OTHER: Option<u32> = Some(61_214);
    let folder = TempDir::new().unwrap();
    let (own, page) = (folder.path().join("own"), folder.path().join("own/page.md"));
    fs::create_dir(&own).unwrap();
    fs::write(&page, "").unwrap();
    for path in [&own, &page] {
        chown(path, OTHER, OTHER).unwrap();
    }
    let mut command = process_tracer();
    command.current_dir(&own).env("GITHUB_STEP_SUMMARY", &page).env("XDG_STATE_HOME", own.join("state"));
    let outputs = ["t.html", "t.json", "t.pftrace", "t.folded", "t.jsonl"];
    command.args(outputs.iter().flat_map(|output| ["-o", output])).args(["--endpoint", &nobody(), "--", "true"]);
    let output = command.output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success() && stderr.contains("1 span kept"), "{stderr}");
    for output in outputs {
        assert!(fs::metadata(own.join(output)).unwrap().len() > 0, "{output}: {stderr}");
    }
    assert!(fs::read_to_string(&page).unwrap().contains("`true`"), "{stderr}");
    assert!(!names(&own).iter().any(|name| name.starts_with(".process-tracer-")), "{:?}", names(&own));
}

#[test]
fn root_writes_for_the_invoker_in_folders_that_only_root_can_write() {
    let scene = Scene::new();
    // A link of root, as /var/run is.
    let link = scene.parent.path().join("link");
    symlink("root", &link).unwrap();
    let precious = scene.precious("precious.jsonl");
    for name in NAMES {
        for folder in [scene.root(""), link.clone(), scene.own("../link")] {
            let path = folder.join(name);
            // The second run finds the file of the first.
            for _ in 0..2 {
                scene.assert_written(&["-o", path.to_str().unwrap()]);
                assert_invokers(&path);
            }
            fs::remove_file(&path).unwrap();
        }
        // A file of root is not changed.
        let precious = scene.precious(name);
        scene.assert_refused(precious.path.to_str().unwrap(), "another user");
        precious.assert_untouched(name);
    }
    precious.assert_untouched("the end");
    assert_eq!(names(&scene.root("")).len(), 1 + NAMES.len());
}

#[test]
fn under_sudo_the_invokers_groups_give_access() {
    let scene = Scene::new();
    let folder = scene.folder("crew", (0, CREW.1), 0o770);
    for name in NAMES {
        let path = folder.join(name);
        scene.assert_written(&["-o", path.to_str().unwrap()]);
        assert_invokers(&path);
    }
}

/// An endpoint without a collector.
fn nobody() -> String {
    format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[test]
fn under_sudo_the_invoker_owns_the_spool() {
    let scene = Scene::new();
    let state = scene.own("state");
    let arguments = ["--endpoint", &nobody(), "--", "true"];
    let keep = |arguments: &[&str]| text(&scene.sudo_with(&[("XDG_STATE_HOME", &state)], arguments).stderr);
    let stderr = keep(&arguments);
    assert!(stderr.contains("1 span kept"), "{stderr}");
    let kept = state.join("process-tracer");
    assert_invokers(&kept.join(&names(&kept)[0]));
    assert_eq!(fs::metadata(&kept).unwrap().uid(), INVOKER.1);
    // A folder of the spool that is a link of the invoker is refused.
    fs::remove_dir_all(&kept).unwrap();
    scene.link("state/process-tracer", scene.root(""));
    let stderr = keep(&arguments);
    assert!(stderr.contains("1 of 1 span did not reach") && !stderr.contains("kept"), "{stderr}");
    assert_eq!(names(&scene.root("")), [""; 0]);
    // A folder that only the invoker's group may write.
    let crew = scene.folder("crew", (0, CREW.1), 0o770);
    let stderr = keep(&[&["--spool", crew.to_str().unwrap()], &arguments[..]].concat());
    assert!(stderr.contains("1 span kept"), "{stderr}");
    assert_invokers(&crew.join(&names(&crew)[0]));
}

#[test]
fn threads_that_write_for_the_invoker_have_only_the_invokers_groups() {
    let scene = Scene::new();
    let staff = scene.folder("staff", (STRANGER, STAFF), 0o770);
    let look = "for task in /proc/$PPID/task/*; do [ \"$(cat $task/comm)\" = sink ] || continue; \
                grep -E '^(Uid|Gid|Groups|CapPrm|CapEff):' $task/status; done";
    let mut command = Command::new("setpriv");
    command.args(["--groups", &format!("0,{STAFF}")]).arg(PROCESS_TRACER);
    command.env("SUDO_UID", INVOKER.1.to_string()).env("SUDO_GID", INVOKER.1.to_string()).current_dir(scene.own(""));
    command.args(["--endpoint", &nobody(), "--spool"]).arg(&staff).args(["--", "sh", "-c", look]);
    let output = command.output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let mut lines: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    if let Some(groups) = lines.get_mut(2) {
        groups.sort_unstable();
    }
    let (invoker, crew, none) = (INVOKER.1.to_string(), CREW.1.to_string(), "0".repeat(16));
    let expected = [
        vec!["Uid:", "0", "0", "0", &invoker],
        vec!["Gid:", "0", "0", "0", &invoker],
        vec![&invoker, &crew, "Groups:"],
        vec!["CapPrm:", &none],
        vec!["CapEff:", &none],
    ];
    assert_eq!(lines, expected, "{stderr}");
    assert!(stderr.contains("did not reach") && !stderr.contains("kept;"), "{stderr}");
    assert_eq!(names(&staff), [""; 0], "{stderr}");
}

#[test]
fn under_sudo_the_page_of_a_job_is_not_appended_to_through_the_invokers_link() {
    let scene = Scene::new();
    let precious = scene.precious("precious");
    let page = scene.link("page.md", &precious.path);
    let append = || scene.sudo_with(&[("GITHUB_STEP_SUMMARY", &page)], &["--", "sh", "-c", "exit 7"]);
    let output = append();
    precious.assert_untouched("the page");
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output.stderr).contains("the summary was not appended to"), "{}", text(&output.stderr));
    fs::remove_file(&page).unwrap();
    append();
    assert_invokers(&page);
}

#[test]
fn under_sudo_send_neither_sends_nor_deletes_through_the_invokers_link() {
    let (scene, collector) = (Scene::new(), Rotel::start());
    scene.assert_written(&["-o", "t.jsonl"]);
    let other = scene.root("other.jsonl");
    fs::copy(scene.own("t.jsonl"), &other).unwrap();
    let send = |name: &str| {
        let output = scene.sudo(&["--endpoint", &collector.http, "send", name]);
        (output.status.code(), text(&output.stderr))
    };
    let link = scene.link("link.jsonl", &other);
    let (code, stderr) = send("link.jsonl");
    assert!(code == Some(1) && stderr.contains("symbolic link"), "{stderr}");
    assert_eq!(fs::read(&other).unwrap(), fs::read(scene.own("t.jsonl")).unwrap());
    assert!(link.is_symlink());
    // Through a second hard link, another user's file would be emptied.
    let second = scene.own("second.jsonl");
    fs::hard_link(&other, &second).unwrap();
    let (code, stderr) = send("second.jsonl");
    assert!(code == Some(1) && stderr.contains("another name"), "{stderr}");
    assert_eq!(fs::read(&other).unwrap(), fs::read(scene.own("t.jsonl")).unwrap());
    fs::remove_file(&second).unwrap();
    // The invoker's own files are sent, also in a folder of root.
    chown(&other, Some(INVOKER.1), Some(INVOKER.1)).unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
    for path in [scene.own("t.jsonl"), other] {
        let (code, stderr) = send(path.to_str().unwrap());
        assert!(code == Some(0) && stderr.contains("1 span delivered"), "{stderr}");
        assert!(!path.exists());
    }
}

#[test]
fn under_sudo_root_reads_sends_and_deletes_only_files_of_the_invoker() {
    let (scene, collector) = (Scene::new(), Rotel::start());
    scene.assert_written(&["-o", "t.jsonl"]);
    let trace = fs::read(scene.own("t.jsonl")).unwrap();
    // A file in a folder that the invoker cannot enter, and a file that the invoker cannot read.
    let open = scene.folder("open", (0, 0), 0o755);
    for (path, mode) in [(scene.root("other.jsonl"), 0o644), (open.join("other.jsonl"), 0o600)] {
        let name = path.to_str().unwrap();
        fs::write(&path, &trace).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        for owner in [0, STRANGER] {
            chown(&path, Some(owner), None).unwrap();
            let cases = [
                (1, &["--endpoint", &collector.http, "send", name][..]),
                (1, &["--endpoint", &collector.http, "send", "--keep", name]),
                (125, &["report", name]),
                (125, &["diff", "t.jsonl", name]),
            ];
            for (code, arguments) in cases {
                let output = scene.sudo(arguments);
                let stderr = text(&output.stderr);
                assert_eq!(
                    (output.status.code(), text(&output.stdout).as_str()),
                    (Some(code), ""),
                    "{arguments:?}: {stderr}"
                );
                assert!(stderr.contains("belongs to another user"), "{arguments:?}: {stderr}");
                assert_eq!(fs::read(&path).unwrap(), trace, "{arguments:?}");
            }
            let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", path.as_path())];
            let stderr = text(&scene.sudo_with(&variables, &["--endpoint", &collector.http, "--", "true"]).stderr);
            assert!(stderr.contains("belongs to another user"), "{stderr}");
        }
        chown(&path, Some(INVOKER.1), None).unwrap();
        let output = scene.sudo(&["report", name]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
}

#[test]
fn under_sudo_a_report_that_could_not_be_finished_is_refused_before_the_command_starts() {
    let scene = Scene::new();
    let folders = [
        scene.folder("strangers", (STRANGER, STRANGER), 0o755),
        scene.folder("read-only", (INVOKER.1, INVOKER.1), 0o500),
        // In a sticky folder, a user may not rename a file if they own neither the folder nor the file.
        scene.folder("root/sticky", (STRANGER, STRANGER), 0o1777),
    ];
    for folder in &folders {
        for name in NAMES.into_iter().filter(|name| *name != "t.jsonl") {
            let path = folder.join(name);
            scene.assert_refused(
                path.to_str().unwrap(),
                &format!("'{}' is not writable at the end of the run", folder.display()),
            );
            assert_eq!(names(folder), [""; 0], "{name}");
            // If only a variable asks for it, the command runs.
            let output = scene.sudo_with(&[("PROCESS_TRACER_OUTPUT", &path)], &["--", "sh", "-c", "echo ran; exit 7"]);
            let stderr = text(&output.stderr);
            assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(7), "ran\n"), "{name}: {stderr}");
            assert!(stderr.contains("warning: an output is left out"), "{name}: {stderr}");
            assert_eq!(names(folder), [""; 0], "{name}");
        }
        // A trace file is not renamed at the end.
        let path = folder.join("t.jsonl");
        scene.assert_written(&["-o", path.to_str().unwrap()]);
        assert_invokers(&path);
    }
}

#[test]
fn under_sudo_a_report_is_refused_in_a_folder_that_only_a_group_of_root_can_write() {
    let scene = Scene::new();
    let staff = scene.folder("staff", (STRANGER, STAFF), 0o770);
    let mut command = Command::new("setpriv");
    command.args(["--groups", &format!("0,{STAFF}")]).arg(PROCESS_TRACER);
    command.env("SUDO_UID", INVOKER.1.to_string()).env("SUDO_GID", INVOKER.1.to_string()).current_dir(scene.own(""));
    command.arg("-o").arg(staff.join("t.html")).args(["--", "echo", "ran"]);
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{}", text(&output.stderr));
    assert_eq!(names(&staff), [""; 0]);
}

/// Runs a script in a folder. In the script, `$PT` is process-tracer.
fn script_in(folder: &Path, script: &str) -> Output {
    let mut bash = Command::new("timeout");
    bash.args(["60", "bash", "-c", script]).env("PT", PROCESS_TRACER).current_dir(folder).stdin(Stdio::null());
    for (name, value) in process_tracer().get_envs() {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    bash.output().unwrap()
}

#[test]
fn a_pipe_without_a_reader_does_not_block() {
    for name in NAMES {
        let folder = TempDir::new().unwrap();
        mkfifo(&folder.path().join(name), Mode::S_IRWXU).unwrap();
        let output = script_in(folder.path(), &format!("$PT -o {name} -- echo ran"));
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{name}: {stderr}");
        assert!(stderr.contains("nobody reads the pipe"), "{name}: {stderr}");
        // If only a variable asks for it, the command runs.
        let output = script_in(folder.path(), &format!("PROCESS_TRACER_OUTPUT={name} $PT -- echo ran"));
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "ran\n"), "{name}: {stderr}");
        assert!(stderr.contains("warning: an output is left out") && stderr.contains("nobody reads"), "{stderr}");
    }
}

#[test]
fn pipes_of_others_are_not_written() {
    let folder = TempDir::new().unwrap();
    for name in NAMES {
        let pipe = folder.path().join(name);
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        chown(&pipe, Some(STRANGER), None).unwrap();
        let mut reader = fs::OpenOptions::new();
        let mut reader = reader.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
        let output = script_in(folder.path(), &format!("$PT -o {name} -- echo ran"));
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{name}: {stderr}");
        assert!(stderr.contains("belongs to another user"), "{name}: {stderr}");
        let read = reader.read(&mut [0; 64]);
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "{name}");
    }
}

#[test]
fn a_socket_is_refused() {
    let folder = TempDir::new().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("t.jsonl")).unwrap();
    let output = script_in(folder.path(), "$PT -o t.jsonl -- echo ran");
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{stderr}");
    assert!(stderr.contains("it is a socket"), "{stderr}");
    drop(listener);
}

#[test]
fn own_pipes_receive_the_whole_trace() {
    let folder = TempDir::new().unwrap();
    let cases = [
        (
            "a pipe with a name",
            "mkfifo t.jsonl; cat t.jsonl > out & exec 8<> t.jsonl; $PT -o t.jsonl -- true; s=$?; exec 8>&-; wait; exit $s",
        ),
        (
            "process substitution",
            "ln -s /dev/fd/9 t.jsonl; exec 9> >(cat > out); cat=$!; $PT -o t.jsonl -- true; s=$?; exec 9>&-; wait $cat; exit $s",
        ),
        ("stdout", "ln -s /dev/stdout t.jsonl; $PT -o t.jsonl -- true | cat > out; exit ${PIPESTATUS[0]}"),
        ("stdout that is a file", "ln -s /proc/self/fd/1 t.jsonl; $PT -o t.jsonl -- true > out"),
        ("stderr", "ln -s /dev/stderr t.jsonl; $PT -q -o t.jsonl -- true 2> >(cat > out); s=$?; wait $!; exit $s"),
    ];
    for (what, script) in cases {
        let folder = tempfile::tempdir_in(folder.path()).unwrap();
        let output = script_in(folder.path(), script);
        assert_eq!(output.status.code(), Some(0), "{what}: {}", text(&output.stderr));
        Trace::read(&folder.path().join("out")).assert_complete();
    }
    // /dev/null needs no process that reads.
    let output = script_in(folder.path(), "ln -s /dev/null n.jsonl; $PT -o n.jsonl -- sh -c 'exit 7'");
    assert!(output.status.code() == Some(7) && text(&output.stderr).contains("complete"), "{output:?}");
}

#[test]
fn a_reader_that_exits_stops_neither_process_tracer_nor_the_command() {
    let folder = TempDir::new().unwrap();
    let script = "mkfifo t.jsonl gone; (exec 8< t.jsonl; : > open; read x < gone) & reader=$!; \
                  exec 9<> t.jsonl; exec 7> t.jsonl; while [ ! -e open ]; do sleep 0.01; done; exec 9>&-; \
                  $PT -o t.jsonl -- sh -c \"exec 7>&-; echo > gone; while kill -0 $reader 2>/dev/null; do sleep 0.1; done; exit 7\"; s=$?; wait; exit $s";
    let output = script_in(folder.path(), script);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("did not reach t.jsonl: Broken pipe"), "{stderr}");
}

#[test]
fn a_limit_on_file_size_stops_an_output_and_not_the_command() {
    let page = "t.html";
    for name in NAMES.into_iter().filter(|name| *name != page) {
        let folder = TempDir::new().unwrap();
        let output = script_in(folder.path(), &format!("ulimit -f 0; $PT -o {name} -- sh -c 'exit 7'"));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{name}: {stderr}");
        assert!(stderr.contains("did not reach") && stderr.contains("File too large"), "{name}: {stderr}");
        assert!(stderr.contains("incomplete: not all delivered"), "{name}: {stderr}");
    }
    // The beginning of the page is larger than the buffer in memory. So the first write fails before the command starts, and the
    // flag is refused.
    let folder = TempDir::new().unwrap();
    let output = script_in(folder.path(), &format!("ulimit -f 0; $PT -o {page} -- echo ran"));
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{stderr}");
    assert!(stderr.contains("cannot write 't.html': File too large"), "{stderr}");
    assert_eq!(names(folder.path()), [""; 0]);
}
