//! Programs that gain privileges at their exec give the same results with and without an unprivileged tracer.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};

use crate::tracer::{AtExec as Look, NOBODY, Programs, Setting, bare, become_nobody, give, traced};
use tracer_ptrace::{
    exe::Exe,
    reexec::{AtExec, Reexec},
};

/// The tracer of these tests notes each exec that gives privileges.
fn look() -> Look {
    let reexec = RefCell::new(Reexec::for_this_thread().unwrap());
    Box::new(move |pid| match reexec.borrow_mut().at_exec(pid, &Exe::of(pid)) {
        AtExec::Follow => (None, false),
        AtExec::Detached(gain) => (Some(format!("{gain:?}")), true),
        AtExec::Lost(gain, refusal) => (Some(format!("lost {gain:?}: {refusal}")), false),
    })
}

fn nobody_in(directory: &Path) -> Setting<'_> {
    Setting { directory, prepare: &|| (), become_user: &become_nobody }
}

/// Checks that the command has the same output and status with and without the tracer, and that the tracer notes
/// `notes`.
#[track_caller]
fn assert_same(setting: &Setting<'_>, command: &[&str], wanted: &str, notes: &str) {
    let expected = bare(setting, command);
    assert!(expected.output.contains(wanted), "without a tracer: {expected:?}");
    let (run, noted) = traced(setting, command, &look);
    assert_eq!((&*run.output, run.status), (&*expected.output, expected.status), "notes: {noted}");
    assert_eq!(noted, notes);
}

fn show(programs: &Programs, mode: u32) -> PathBuf {
    let show = programs.compile("show.c", "show", &[]);
    give(&show, 0, 0, mode);
    show
}

#[test]
fn dynamic_setuid_program_keeps_its_privileges() {
    let programs = Programs::new();
    let show = show(&programs, 0o4755);
    let command = [show.to_str().unwrap(), "one", "", "three"];
    assert_same(&nobody_in(programs.path()), &command, "uid 65534 0 0", "Setuid\n");
}

#[test]
fn relative_path_and_search_path_and_symbolic_link_stay_visible() {
    let programs = Programs::new();
    show(&programs, 0o4755);
    std::os::unix::fs::symlink("show", programs.path().join("link")).unwrap();
    let setting = nobody_in(programs.path());
    assert_same(&setting, &["./show"], "AT_EXECFN ./show", "Setuid\n");
    assert_same(&setting, &["./link"], "comm link", "Setuid\n");
    assert_same(&setting, &["sh", "-c", "PATH=.:$PATH; exec show x"], "argv show", "Setuid\n");
}

#[test]
fn child_of_a_shell_keeps_its_privileges_and_the_shell_stays_traced() {
    let programs = Programs::new();
    show(&programs, 0o4755);
    let command = ["sh", "-c", "./show a; trap '' INT; ./show b | cat; (exec -a other ./show c) 2>/dev/null; echo $?"];
    let (_, notes) = traced(&nobody_in(programs.path()), &command, &look);
    assert!(notes.starts_with("Setuid\nSetuid\n"), "{notes}");
    assert_same(&nobody_in(programs.path()), &command, "not default 2", &notes);
}

#[test]
fn static_setuid_program_keeps_its_privileges() {
    let programs = Programs::new();
    let show = programs.compile("show.c", "show", &["-static"]);
    give(&show, 0, 0, 0o4755);
    assert_same(&nobody_in(programs.path()), &["./show"], "uid 65534 0 0", "Setuid\n");
}

#[test]
fn setgid_program_keeps_its_group() {
    let programs = Programs::new();
    let show = programs.compile("show.c", "show", &[]);
    give(&show, 0, 42, 0o2755);
    assert_same(&nobody_in(programs.path()), &["./show"], "gid 65534 42 42", "Setgid\n");
}

/// CAP_NET_RAW, permitted and effective: `struct vfs_cap_data`, version 2.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn set_capabilities(path: &Path, value: &[u8]) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: both names end with NUL, and the length is the value's.
    let result = unsafe {
        libc::setxattr(path.as_ptr(), c"security.capability".as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    assert_eq!(result, 0);
}

#[test]
fn file_capabilities_are_kept() {
    let programs = Programs::new();
    let show = show(&programs, 0o755);
    set_capabilities(&show, &NET_RAW);
    assert_same(&nobody_in(programs.path()), &["./show"], "CapEff:\t0000000000002000", "Capabilities\n");
}

#[test]
fn script_with_a_setuid_interpreter_gets_the_same_arguments() {
    let programs = Programs::new();
    let show = show(&programs, 0o4755);
    let show = show.display();
    programs.script("plain", &format!("#!{show}\n"));
    programs.script("argument", &format!("#! {show}  -x y \n"));
    let outer = programs.path().join("argument");
    programs.script("nested", &format!("#!{} -z\n", outer.display()));
    let setting = nobody_in(programs.path());
    assert_same(&setting, &["./plain", "one", "two"], "argv ./plain\nargv one\nargv two\n", "Setuid\n");
    assert_same(&setting, &["./argument", "one"], "argv -x y\nargv ./argument\nargv one\n", "Setuid\n");
    assert_same(&setting, &["./nested", "one"], "argv -z\nargv ./nested\nargv one\n", "Setuid\n");
    assert_same(&setting, &["sh", "-c", "exec ./argument"], "comm argument\n", "Setuid\n");
}

#[test]
fn script_that_changes_after_its_exec_still_has_its_interpreter() {
    let programs = Programs::new();
    let show = show(&programs, 0o4755);
    let script = programs.script("script", &format!("#!{} -x\n", show.display()));
    let setting = nobody_in(programs.path());
    let expected = bare(&setting, &["./script", "one"]);
    // The tracer finds another first line than the kernel found.
    let change = || -> Look {
        let look = look();
        let script = script.clone();
        let text = format!("#!{}\n", show.display());
        Box::new(move |pid| {
            // The tracer runs as the user `nobody`. So `give` below makes this user the owner of the script.
            fs::write(&script, &text).unwrap();
            look(pid)
        })
    };
    give(&script, NOBODY, NOBODY, 0o755);
    let (run, notes) = traced(&setting, &["./script", "one"], &change);
    assert_eq!(notes, "Setuid\n");
    let arguments = |output: &str| -> Vec<String> {
        output.lines().filter(|line| line.starts_with("argv") || line.starts_with("uid")).map(Into::into).collect()
    };
    assert_eq!(arguments(&run.output), arguments(&expected.output));
    assert_eq!(run.status, expected.status);
}

#[test]
fn program_executed_by_a_closed_descriptor_keeps_its_privileges() {
    let programs = Programs::new();
    let show = show(&programs, 0o4755);
    programs.compile("by_descriptor.c", "by_descriptor", &[]);
    let setting = nobody_in(programs.path());
    for kind in ["closed", "kept"] {
        let command = ["./by_descriptor", show.to_str().unwrap(), kind];
        let expected = bare(&setting, &command);
        let (run, notes) = traced(&setting, &command, &look);
        assert_eq!(notes, "Setuid\n");
        // The second exec has a path. Before Linux 6.14 the first has the descriptor's number as its name.
        let same = |output: &str| -> Vec<String> {
            output
                .lines()
                .filter(|line| !line.starts_with("AT_EXECFN") && !line.starts_with("comm"))
                .map(Into::into)
                .collect()
        };
        assert_eq!(same(&run.output), same(&expected.output));
        assert!(run.output.contains("uid 65534 0 0") && run.output.contains("argv zero\nargv one\n"), "{run:?}");
        assert!(run.output.contains("comm show\n"), "{run:?}");
        assert_eq!(run.status, expected.status);
    }
}

#[test]
fn deleted_setuid_program_runs_without_its_privileges_and_is_named() {
    let programs = Programs::new();
    programs.compile("by_descriptor.c", "by_descriptor", &[]);
    let show = show(&programs, 0o4755);
    give(programs.path(), NOBODY, NOBODY, 0o755);
    let command = ["./by_descriptor", show.to_str().unwrap(), "deleted"];
    let (run, notes) = traced(&nobody_in(programs.path()), &command, &look);
    assert_eq!(notes, "lost Setuid: its file has no path any more\n");
    assert!(run.output.contains("uid 65534 65534 65534"), "{run:?}");
    assert_eq!(run.status, 42);
}

#[test]
fn unreadable_setuid_program_keeps_its_privileges() {
    let programs = Programs::new();
    let show = show(&programs, 0o4111);
    programs.script("script", &format!("#!{} -x\n", show.display()));
    let setting = nobody_in(programs.path());
    assert_same(&setting, &[show.to_str().unwrap(), "one"], "uid 65534 0 0", "Setuid\n");
    assert_same(&setting, &["sh", "-c", "exec /bin/sh -c 'exec ./show one'"], "uid 65534 0 0", "Unreadable\n");
    let script = programs.path().join("script");
    assert_same(&setting, &[script.to_str().unwrap(), "one"], "argv -x\n", "Setuid\n");
}

#[test]
fn unreadable_static_setuid_program_keeps_its_privileges() {
    let programs = Programs::new();
    let show = programs.compile("show.c", "show", &["-static"]);
    give(&show, 0, 0, 0o4111);
    assert_same(&nobody_in(programs.path()), &[show.to_str().unwrap(), "one"], "uid 65534 0 0", "Setuid\n");
}

#[test]
fn unreadable_program_that_gains_no_privilege_stays_traced_and_unharmed() {
    let programs = Programs::new();
    let show = show(&programs, 0o111);
    let setting = nobody_in(programs.path());
    let command = [show.to_str().unwrap(), "one"];
    let expected = bare(&setting, &command);
    let (run, notes) = traced(&setting, &command, &look);
    assert_eq!(notes, "");
    let without_tracer = |output: &str| {
        output.lines().filter(|line| !line.starts_with("TracerPid")).map(Into::into).collect::<Vec<String>>()
    };
    assert_eq!(without_tracer(&run.output), without_tracer(&expected.output));
    assert_ne!(run.output, expected.output, "the tracer has left the program");
    assert_eq!(run.status, expected.status);
}

#[test]
fn script_with_an_unreadable_interpreter_and_a_relative_path_is_refused() {
    let programs = Programs::new();
    let show = show(&programs, 0o4111);
    programs.script("script", &format!("#!{} -x\n", show.display()));
    let (run, notes) = traced(&nobody_in(programs.path()), &["./script", "one"], &look);
    assert_eq!(notes, "lost Unreadable: its arguments are not those of the script that started it\n");
    assert!(run.output.contains("argv -x\nargv ./script\nargv one\n"), "{run:?}");
    assert!(run.output.contains("uid 65534 65534 65534"), "{run:?}");
    assert_eq!(run.status, 42);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn setuid_program_of_32_bits_keeps_its_privileges() {
    let programs = Programs::new();
    // Freestanding, so that no 32-bit C library has to be installed.
    let flags =
        ["-m32", "-static", "-nostdlib", "-ffreestanding", "-fno-pic", "-no-pie", "-fno-stack-protector", "-O1"];
    let show = programs.compile("show32.c", "show32", &flags);
    programs.script("script", &format!("#!{} -x\n", show.display()));
    let setting = nobody_in(programs.path());
    for (mode, absolute) in [(0o4755, false), (0o4111, true)] {
        give(&show, 0, 0, mode);
        assert_same(&setting, &[show.to_str().unwrap(), "one"], "one\neuid 00000\n", "Setuid\n");
        let script = programs.path().join("script");
        let script = if absolute { script.to_str().unwrap() } else { "./script" };
        assert_same(&setting, &[script, "one"], "-x\n", "Setuid\n");
    }
}

#[test]
fn exec_that_gains_no_privilege_stays_traced() {
    let programs = Programs::new();
    let show = show(&programs, 0o4755);
    let directory = programs.path();
    let no_new_privileges = || {
        become_nobody();
        nix::sys::prctl::set_no_new_privs().unwrap();
    };
    let setting = Setting { directory, prepare: &|| (), become_user: &no_new_privileges };
    let (run, notes) = traced(&setting, &["./show"], &look);
    assert!(run.output.contains("uid 65534 65534 65534"), "{run:?}");
    assert_eq!((&*notes, run.status), ("", 42));

    let unreadable = programs.compile("show.c", "unreadable", &[]);
    give(&unreadable, 0, 0, 0o4111);
    let (run, notes) = traced(&setting, &["./unreadable"], &look);
    assert!(run.output.contains("uid 65534 65534 65534"), "{run:?}");
    assert_eq!((&*notes, run.status), ("", 42));

    // The owner of the file has no number in this namespace.
    let (run, notes) = traced(&nobody_in(directory), &["unshare", "--user", "./show"], &look);
    assert!(!run.output.contains("AT_SECURE 1"), "{run:?}");
    assert_eq!((&*notes, run.status), ("", 42));

    let nosuid = || {
        mount(None::<&str>, "/mnt", Some("tmpfs"), MsFlags::MS_NOSUID, None::<&str>).unwrap();
        fs::copy(&show, "/mnt/show").unwrap();
        give(Path::new("/mnt/show"), 0, 0, 0o4755);
    };
    let (run, notes) = traced(&Setting { prepare: &nosuid, ..nobody_in(directory) }, &["/mnt/show"], &look);
    assert!(run.output.contains("uid 65534 65534 65534"), "{run:?}");
    assert_eq!((&*notes, run.status), ("", 42));

    // As root, with CAP_SYS_PTRACE: the kernel gives the privileges under the tracer.
    let command = ["setpriv", "--reuid=65534", "./show"];
    let (run, notes) = traced(&Setting { become_user: &|| (), ..nobody_in(directory) }, &command, &look);
    assert!(run.output.contains("uid 65534 0 0"), "{run:?}");
    assert_eq!((&*notes, run.status), ("", 42));
}

/// Root without CAP_SYS_PTRACE, as in a container.
fn become_container_root() {
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    #[repr(C)]
    struct Header(u32, i32);
    // SAFETY: PR_CAPBSET_DROP has one argument.
    assert_eq!(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, 19, 0, 0, 0) }, 0);
    // _LINUX_CAPABILITY_VERSION_3 of linux/capability.h.
    let header = Header(0x2008_0522, 0);
    let mut data = [0u32; 6];
    // SAFETY: the structures are those of version 3.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capget, &raw const header, &raw mut data) }, 0);
    let keep = !(CAP_SYS_PTRACE as u32);
    data[0] &= keep;
    data[1] &= keep;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const data) }, 0);
}

#[test]
fn program_of_another_user_keeps_its_privileges_under_root_without_cap_sys_ptrace() {
    let programs = Programs::new();
    let show = show(&programs, 0o4755);
    let setting = Setting { become_user: &become_container_root, ..nobody_in(programs.path()) };
    let show = show.to_str().unwrap();
    // setpriv keeps its capabilities until its next exec. From a process with CAP_SETUID, the kernel withholds no
    // privilege. So setpriv executes sh, which has no capabilities.
    let script = format!("exec {show} one");
    let command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script];
    assert_same(&setting, &command, "uid 65534 0 0", "Setuid\n");
    let (run, notes) = traced(&setting, &["setpriv", "--reuid=65534", "sh", "-c", "/bin/true; exit 3"], &look);
    assert_eq!((&*notes, run.status), ("", 3));
    let (run, notes) = traced(&setting, &[show], &look);
    assert!(run.output.contains("uid 0 0 0"), "{run:?}");
    assert_eq!(notes, "");
}

#[test]
fn ping_with_file_capabilities_works() {
    let programs = Programs::new();
    let system =
        ["/usr/bin/ping", "/bin/ping"].iter().find(|path| Path::new(path).exists()).expect("ping is installed");
    let ping = programs.path().join("ping");
    fs::copy(system, &ping).unwrap();
    give(&ping, 0, 0, 0o755);
    set_capabilities(&ping, &NET_RAW);
    // Without a raw socket, ping would use a datagram socket of ICMP.
    let command = ["sh", "-c", "./ping -c1 127.0.0.1 | grep -c 'bytes from'"];
    assert_same(&nobody_in(programs.path()), &command, "1\n", "Capabilities\n");
}

#[test]
fn sudo_and_su_become_root() {
    let programs = Programs::new();
    let sudoers = programs.path().join("sudoers");
    fs::write(&sudoers, "nobody ALL=(ALL) NOPASSWD: ALL\n").unwrap();
    give(&sudoers, 0, 0, 0o440);
    let su = programs.path().join("su");
    fs::write(
        &su,
        "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\nsession sufficient pam_permit.so\n",
    )
    .unwrap();
    // In the mount namespace of this test only.
    let prepare = || {
        for (file, target) in [(&sudoers, "/etc/sudoers"), (&su, "/etc/pam.d/su")] {
            mount(Some(file), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
    };
    let setting = Setting { prepare: &prepare, ..nobody_in(programs.path()) };
    assert_same(&setting, &["sudo", "-n", "sh", "-c", "id -u; echo $SUDO_USER; exit 7"], "0\nnobody\n", "Setuid\n");
    assert_same(&setting, &["sh", "-c", "sudo -n id -u | cat; echo next"], "0\nnext\n", "Setuid\n");
    assert_same(&setting, &["su", "-s", "/bin/sh", "-c", "id -u; exit 8"], "0\n", "Setuid\n");
    programs.script("script", "#!/usr/bin/sudo sh\nid -u; echo $0 $1; exit 9\n");
    assert_same(&setting, &["./script", "one"], "0\n./script one\n", "Setuid\n");
}
