//! Privileges: ordinary users with and without capabilities, sudo, and other users.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::UdpSocket,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt},
            process::CommandExt,
        },
    },
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use nix::{
    libc,
    sys::resource::{Resource, setrlimit},
};
use tempfile::TempDir;

use crate::{
    harness::{FORBID_PTRACE, PROCESS_TRACER, copy_program, process_tracer, python, workload, write_program},
    rotel::Rotel,
    trace::{Span, Trace},
};

const NOBODY: u32 = 65534;

/// The capabilities that tracing needs.
const CAPABILITIES: &str = "cap_bpf,cap_perfmon=ep";

/// A folder in which an ordinary user can reach programs of the tests.
struct Ordinary {
    folder: TempDir,
}

impl Ordinary {
    /// A copy of process-tracer with these file capabilities.
    fn new(capabilities: Option<&str>) -> Self {
        // /tmp may be mounted nosuid: then file capabilities and setuid programs have no effect.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let ordinary = Self { folder };
        copy_program(PROCESS_TRACER, ordinary.path("process-tracer"));
        if let Some(capabilities) = capabilities {
            let setcap = Command::new("setcap").arg(capabilities).arg(ordinary.path("process-tracer")).status();
            assert!(setcap.unwrap().success());
        }
        ordinary
    }

    /// Adds a program that runs other programs as root, like sudo.
    fn with_sudo(self) -> Self {
        copy_program(workload(), self.path("sudo"));
        fs::set_permissions(self.path("sudo"), fs::Permissions::from_mode(0o4755)).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that the user `nobody` runs. Its PATH has these programs.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
        command.arg(program).current_dir(self.folder.path()).env("PATH", path).env_remove("TRACEPARENT");
        command
    }

    /// process-tracer in an environment that forbids ptrace.
    fn without_ptrace(&self) -> Command {
        let mut command = self.command(python());
        command.args(["-IS", "-c", FORBID_PTRACE]).arg(self.path("process-tracer"));
        command
    }

    /// Traces a script.
    fn trace(&self, flags: &[&str], variables: &[(&str, &str)], script: &str) -> (Output, Trace) {
        let mut command = self.command(self.path("process-tracer"));
        command.args(flags).args(["-o", "t.jsonl", "--", "sh", "-c", script]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (output, Trace::read(&self.path("t.jsonl")))
    }
}

/// The same command in a new namespace. Root prepares the namespace with a script.
fn inside(namespace: &str, setup: &str, command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer.args([namespace, "sh", "-ec", &format!("{setup}; exec \"$@\""), "sh"]);
    outer.arg(command.get_program()).args(command.get_args());
    outer.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_privileges_the_command_runs_and_has_its_own_span() {
    let ordinary = Ordinary::new(None);
    let mut command = ordinary.without_ptrace();
    let output = command.args(["-o", "t.jsonl", "--", "sh", "-c", "/bin/true; exit 3"]).output().unwrap();
    let trace = Trace::read(&ordinary.path("t.jsonl"));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("only the command itself is traced"), "{stderr}");
    assert!(stderr.contains("ptrace(2) failed"), "{stderr}");
    trace.assert_sound();
    let root = trace.root();
    assert_eq!((trace.spans.len(), root.name.as_str(), root.attribute("process.exit.code")), (1, "sh", "3"));
    assert_eq!(root.attribute("process_tracer.complete"), "false");
    assert!(root.attribute("process_tracer.unobserved").contains("CAP_BPF"));
    assert!(root.attribute("process_tracer.tree.memory.peak").parse::<u64>().unwrap() > 100_000, "{root:#?}");
    assert!(root.has("process_tracer.tree.cpu.user_time"));
}

#[test]
fn with_strict_the_command_does_not_run_untraced() {
    let ordinary = Ordinary::new(None);
    let output = ordinary.without_ptrace().args(["--strict", "--", "echo", "ran"]).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{stderr}");
    assert!(stderr.contains("because of --strict: missing CAP_BPF"), "{stderr}");
}

#[test]
fn the_command_runs_as_another_user_with_the_users_groups_and_variables() {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let show =
        "id; env | grep -E '^(HOME|USER|LOGNAME|SHELL)=' | sort; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status";
    let expected = Command::new("setpriv")
        .args(["--reuid=nobody", "--regid", &nobody.gid.to_string(), "--init-groups", "sh", "-c", show])
        .env("HOME", &nobody.dir)
        .envs([("USER", "nobody"), ("LOGNAME", "nobody")])
        .env("SHELL", &nobody.shell)
        .output()
        .unwrap();
    assert!(expected.status.success());
    let uid = nobody.uid.to_string();
    for user in ["nobody", &uid, "invoker"] {
        let mut command = process_tracer();
        command.args(["-q", "--user", user, "--", "sh", "-c", show]).env("SUDO_UID", &uid).env("SUDO_GID", &uid);
        let output = command.output().unwrap();
        assert_eq!(text(&output.stdout), text(&expected.stdout));
    }
    for (user, shown) in [(&b"no-such-user"[..], "no-such-user"), (b"nobody\xff", "nobody\u{fffd}")] {
        let mut command = process_tracer();
        command.args(["--", "echo", "ran"]).env("PROCESS_TRACER_USER", OsStr::from_bytes(user));
        let output = command.output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{stderr}");
        assert!(stderr.contains(&format!("PROCESS_TRACER_USER: there is no user '{shown}'")), "{stderr}");
    }
    for (user, reason) in [("no-such-user", "there is no user 'no-such-user'"), ("invoker", "SUDO_GID are not set")] {
        let output = process_tracer().args(["-u", user, "--", "true"]).env_remove("SUDO_UID").output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125));
        assert!(stderr.contains("--user: ") && stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn the_command_of_another_user_cannot_read_the_keys_of_root() {
    // include/uapi/linux/keyctl.h: KEYCTL_JOIN_SESSION_KEYRING and KEY_SPEC_SESSION_KEYRING, KEYCTL_SEARCH, KEYCTL_READ.
    let script = format!(
        "import ctypes; call = ctypes.CDLL(None, use_errno=True).syscall; text = ctypes.create_string_buffer(9); \
         key = call({0}, 10, -3, b'user', b'process-tracer-test', 0); \
         error = ctypes.get_errno(); call({0}, 11, key, text, 9); print(text.value if key > 0 else error); \
         print(call({0}, 10, -3, b'keyring', b'_uid.' + str(__import__('os').getuid()).encode(), 0) > 0)",
        libc::SYS_keyctl
    );
    let with_a_key = |arguments: &[&str]| {
        let mut command = process_tracer();
        command.arg("-q").args(arguments).args(["--", "python3", "-c", &script]);
        let join = || {
            let (join, session, nothing): (libc::c_long, libc::c_long, libc::c_long) = (1, -3, 0);
            let (kind, name, secret) = (c"user".as_ptr(), c"process-tracer-test".as_ptr(), c"secret".as_ptr());
            // SAFETY: without a name the call uses no memory.
            if unsafe { libc::syscall(libc::SYS_keyctl, join, nothing) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
            // SAFETY: the texts are constants, and the secret has that length.
            match unsafe { libc::syscall(libc::SYS_add_key, kind, name, secret, 6_usize, session) } {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(join) };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    // Without another user the command inherits the keyring.
    for arguments in [&[][..], &["-u", "root"]] {
        let told = with_a_key(arguments);
        assert!(told.starts_with("b'secret'\n"), "{arguments:?}: {told}");
    }
    // With another user it has that user's keyring.
    assert_eq!(with_a_key(&["-u", "nobody"]), format!("{}\nTrue\n", libc::ENOKEY));
}

#[test]
fn file_capabilities_are_enough_and_the_command_gets_none() {
    let (output, trace) = Ordinary::new(Some(CAPABILITIES)).trace(&[], &[], "/bin/true; grep Cap /proc/self/status");
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(stdout.contains(&format!("{set}:\t0000000000000000")), "{stdout}");
    }
    trace.assert_complete();
    assert_eq!(trace.spans.len(), 3, "{trace:#?}");
}

#[test]
fn with_file_capabilities_the_command_keeps_all_variables() {
    let ordinary = Ordinary::new(Some(CAPABILITIES));
    // The dynamic linker removes some of these variables for a program with capabilities. The order must stay too.
    let given = "Z=1\nTMPDIR=/var/tmp\nLD_LIBRARY_PATH=/nowhere\nA=2\nGCONV_PATH=/no where\nEMPTY=\nRES_OPTIONS=a=b\n";
    let show = |wrap: &[&str]| {
        let mut command = ordinary.command("env");
        command.arg("-i").args(given.lines()).args(wrap).arg("/usr/bin/env");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let bare = show(&[]);
    assert_eq!(bare, given);
    let wrapped = show(&["./process-tracer", "-q", "--"]);
    let (context, rest): (Vec<_>, Vec<_>) =
        wrapped.split_inclusive('\n').partition(|line| line.starts_with("TRACEPARENT="));
    assert_eq!((context.len(), rest.concat()), (1, bare));
}

#[test]
fn a_low_limit_of_processes_does_not_stop_the_command() {
    // This test has its own user id, because the limit counts all processes of a user.
    const USER: u32 = 61_213;
    let ordinary = Ordinary::new(Some(CAPABILITIES));
    let run = |limit| {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()]);
        command.arg(ordinary.path("process-tracer")).args(["-o", "t.jsonl", "-o", "tree", "--", "sh", "-c", "exit 7"]);
        // SAFETY: the closure only makes a system call.
        unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NPROC, limit, limit)?)) };
        let output = command.current_dir(ordinary.folder.path()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    for limit in 1..8 {
        let (status, stderr) = run(limit);
        // If the limit allows no process for the command, the command replaces process-tracer.
        assert_eq!(status, Some(7), "{limit}: {stderr}");
        assert!(!stderr.contains("bug"), "{limit}: {stderr}");
        let is_whole = !stderr.contains("cannot start a thread") && !stderr.contains("runs without a trace");
        assert_eq!(is_whole, stderr.contains(", complete"), "{limit}: {stderr}");
    }
    let (_, stderr) = run(20);
    assert!(stderr.contains("1 span to t.jsonl, complete"), "{stderr}");
}

/// A setuid program and its children are traced. Their environment is not read, because the kernel hides it from the user who
/// traces.
fn assert_only_own_environments_are_seen(ordinary: &Ordinary, flags: &[&str]) {
    let flags = [flags, &["-a", "word=env[\"WORD\"]"]].concat();
    let (output, trace) = ordinary.trace(&flags, &[("WORD", "secret")], "./sudo -- id -u; /bin/true");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), stdout.as_str()), (Some(0), "0\n"), "{stderr}");
    assert!(!stderr.contains("warning"), "{stderr}");
    trace.assert_complete();
    let of = |name: &str| {
        trace.spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}: {trace:#?}"))
    };
    for name in ["sh", "true"] {
        assert_eq!((of(name).attribute("process.user.id"), of(name).attribute("word")), ("65534", "secret"));
    }
    // sudo executes id in its own process.
    let privileged = of("id");
    assert_eq!(privileged.attribute("process.user.id"), "0");
    for key in ["word", "process.working_directory", "process.executable.path", "process_tracer.io.read_chars"] {
        assert!(!privileged.has(key) && of("true").has(key), "{privileged:#?}");
    }
}

/// UDP flows and unix connects are recorded for the user's own programs, but not for setuid programs.
fn assert_only_own_sockets_are_seen(ordinary: &Ordinary, flags: &[&str]) {
    let send = "import socket; own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); own.bind((\"127.0.0.1\", 0)); \
                [own.sendto(b\"to myself\", own.getsockname()) for again in range(3)]; \
                socket.socket(socket.AF_UNIX).connect_ex(\"/nowhere\")";
    let script = format!("./sudo -- python3 -c '{send}'; python3 -c '{send}'");
    let (output, trace) = ordinary.trace(&[flags, &["--unix"]].concat(), &[], &script);
    assert!(output.status.success(), "{}", text(&output.stderr));
    trace.assert_complete();
    let connects = trace.unix_connects().filter(|span| span.attribute("network.peer.address") == "/nowhere");
    assert_eq!(connects.count(), 1, "{trace:#?}");
    let flow = trace.flows().next().unwrap();
    assert_eq!(trace.flows().count(), 1, "{trace:#?}");
    let owner = trace.spans.iter().find(|span| span.span_id == flow.parent_id).unwrap();
    assert_eq!(owner.attribute("process.user.id"), NOBODY.to_string());
    for (count, expected) in [("datagrams_sent", "3"), ("bytes_received", "27")] {
        assert_eq!(flow.attribute(&format!("process_tracer.udp.{count}")), expected, "{flow:#?}");
    }
}

/// Only the parent and root see exit statuses and namespaces of a setuid program's children.
fn assert_only_own_ends_are_seen(ordinary: &Ordinary, flags: &[&str]) {
    let script = "./sudo -- sh -c 'sh -c \"exit 7\"; unshare --mount /bin/true; exit 5'; [ $? = 5 ] && exit 4";
    let (output, trace) = ordinary.trace(flags, &[], script);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    trace.assert_complete();
    let ended = |code| {
        let is_ended = move |span: &&Span| span.has("process.exit.code") && span.attribute("process.exit.code") == code;
        trace.spans.iter().filter(is_ended)
    };
    // The shell has waited for this child.
    assert_eq!(ended("5").map(|span| span.attribute("process.user.id")).collect::<Vec<_>>(), ["0"], "{trace:#?}");
    assert_eq!(ended("7").count(), 0, "{trace:#?}");
    let withheld: Vec<_> = trace.spans.iter().filter(|span| span.has("process_tracer.exit.withheld")).collect();
    assert_eq!(withheld.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["sh", "true"], "{trace:#?}");
    for span in withheld {
        assert_eq!((span.attribute("process_tracer.exit.withheld"), span.status), ("true", 0));
        assert!(!span.has("process.exit.code") && !span.has("error.type"), "{span:#?}");
        for namespace in ["mount", "pid", "network", "user"] {
            assert!(!span.has(&format!("process_tracer.namespace.{namespace}")), "{span:#?}");
        }
        // The same user id can have another name in another namespace, and this namespace is unknown.
        assert!(span.has("process.user.id") && !span.has("process.user.name"), "{span:#?}");
    }
}

#[test]
fn only_exit_statuses_and_namespaces_that_proc_shows_are_recorded() {
    assert_only_own_ends_are_seen(&Ordinary::new(Some(CAPABILITIES)).with_sudo(), &[]);
    assert_only_own_ends_are_seen(&Ordinary::new(None).with_sudo(), &["--sudo"]);
}

#[test]
fn connections_in_networks_that_proc_hides_are_not_recorded() {
    let connect = "import fcntl, socket, struct; server = socket.create_server((\"127.0.0.1\", 0)); \
                   socket.create_connection(server.getsockname())";
    // SIOCSIFFLAGS with IFF_UP and IFF_RUNNING: netdevice(7).
    let up = "fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sh\", b\"lo\", 0x41))";
    let elsewhere = connect.replacen("server =", &format!("{up}; server ="), 1);
    let script = format!(
        "./sudo -- unshare --net python3 -c '{elsewhere}'; ./sudo -- python3 -c '{connect}'; \
         unshare -Urn python3 -c '{elsewhere}'"
    );
    for (ordinary, flags) in
        [(Ordinary::new(Some(CAPABILITIES)).with_sudo(), &[][..]), (Ordinary::new(None).with_sudo(), &["--sudo"])]
    {
        let (output, trace) = ordinary.trace(flags, &[], &script);
        assert!(
            output.status.success() && output.stderr.is_empty() || !text(&output.stderr).contains("Traceback"),
            "{}",
            text(&output.stderr)
        );
        trace.assert_complete();
        // Both ends of two connections are recorded. One connection is in the user's own network, which all users see
        // in /proc/net/tcp. The other is in a network that the user made.
        assert_eq!(trace.connections().count(), 4, "{trace:#?}");
    }
}

#[test]
fn arguments_that_proc_hides_are_not_recorded() {
    for (ordinary, flags) in
        [(Ordinary::new(Some(CAPABILITIES)).with_sudo(), &[][..]), (Ordinary::new(None).with_sudo(), &["--sudo"])]
    {
        let trace = |option: &str| {
            let traced = "./sudo -- echo hidden; /bin/echo shown";
            let mut command = ordinary.command(ordinary.path("process-tracer"));
            command.args(flags).args(["-o", "t.jsonl", "--", "sh", "-c", traced]);
            let mount = format!("mount -t proc -o {option} proc /proc");
            let output = inside("--mount", &mount, &command).output().unwrap();
            assert_eq!(text(&output.stdout), "hidden\nshown\n", "{}", text(&output.stderr));
            let trace = Trace::read(&ordinary.path("t.jsonl"));
            trace.assert_complete();
            trace
        };
        let of_root = |trace: &Trace| {
            trace
                .spans
                .iter()
                .find(|span| span.has("process.user.id") && span.attribute("process.user.id") == "0")
                .cloned()
        };
        let open = of_root(&trace("hidepid=off")).unwrap();
        assert_eq!((open.name.as_str(), open.attribute("process.command_args")), ("echo", "[echo, hidden]"));
        let trace = trace("hidepid=invisible");
        let hidden = of_root(&trace).unwrap();
        assert!(!hidden.has("process.command_args") && !hidden.has("process.linux.cgroup"), "{hidden:#?}");
        assert!(!format!("{hidden:?}").contains("hidden") && !format!("{hidden:?}").contains("echo"), "{hidden:#?}");
        assert_eq!(trace.named("echo").attribute("process.command_args"), "[/bin/echo, shown]");
    }
}

#[test]
fn a_user_without_root_gets_a_limited_amount_of_kernel_memory() {
    let ordinary = Ordinary::new(Some(CAPABILITIES)).with_sudo();
    for (flag, value, limit) in
        [("--buffer-size", "128M", "at most 64M"), ("--max-processes", "65537", "at most 65536")]
    {
        let output = ordinary.command("./process-tracer").args([flag, value, "--", "echo", "ran"]).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{stderr}");
        assert!(stderr.contains(flag) && stderr.contains(limit), "{stderr}");
        let variable = format!("PROCESS_TRACER_{}", flag[2..].to_uppercase().replace('-', "_"));
        let (output, trace) = ordinary.trace(&[], &[(&variable, value)], "exit 3");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(&format!("{variable} is ignored: ")) && stderr.contains(limit), "{stderr}");
        trace.assert_complete();
    }
    // The helper of --sudo runs as root, but enforces the limit of the user.
    for [ring, processes] in [["134217728", "1024"], ["1048576", "65537"]] {
        let script = format!(
            "import os, socket, subprocess; own, helpers = socket.socketpair(); \
             subprocess.run(['./sudo', '--', os.path.abspath('process-tracer'), 'attach-for-sudo', '{ring}', '{processes}', \
             '0'], stdin=helpers); helpers.close(); print(own.recv(4096).decode())"
        );
        let output = ordinary.command("sh").args(["-c", "exec python3 -c \"$0\"", &script]).output().unwrap();
        assert_eq!(
            text(&output.stdout),
            "-an ordinary user may have at most 64 MiB of buffer and 65536 processes\n",
            "{}",
            text(&output.stderr)
        );
    }
    let output = process_tracer().args(["--max-processes", "65537", "--", "true"]).output().unwrap();
    assert!(output.status.success() && !text(&output.stderr).contains("at most"), "{}", text(&output.stderr));
}

#[test]
fn only_four_runs_without_root_watch_the_system_calls_at_once() {
    let ordinary = Ordinary::new(Some(CAPABILITIES));
    // The limit counts the runs in one network namespace. In a new namespace, no other test counts.
    let script = "\
for number in 1 2 3 4; do
    ./process-tracer -q --unix -o $number.jsonl -- sh -c 'echo > ready.$0; until [ -e over ]; do sleep 0.1; done; echo > gone.$0' $number > $number.log 2>&1 &
    last=$!
done
until [ -e ready.1 ] && [ -e ready.2 ] && [ -e ready.3 ] && [ -e ready.4 ]; do sleep 0.1; done
./process-tracer --unix --failed-execs -o fifth.jsonl -- sh -c 'exit 3'; echo $?
./process-tracer --strict --failed-execs -- echo ran; echo $?
./process-tracer -o without.jsonl -- sh -c 'exit 4'; echo $?
kill -9 $last
wait $last
./process-tracer --unix -o sixth.jsonl -- sh -c 'exit 5'; echo $?
echo > over
wait
# 'wait' does not wait for the command of the killed run: it is no child of this shell.
until [ -e gone.4 ]; do sleep 0.1; done
";
    let output = inside("--net", ":", ordinary.command("sh").args(["-c", script])).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(text(&output.stdout), "3\n125\n4\n5\n", "{stderr}");
    let reason = "other runs without root already observe the system calls";
    assert!(stderr.contains(&format!("warning: --failed-execs and --unix not observed: {reason}")), "{stderr}");
    assert!(stderr.contains(&format!("because of --strict: --failed-execs not observed: {reason}")), "{stderr}");
    let fifth = Trace::read(&ordinary.path("fifth.jsonl"));
    assert_eq!(fifth.root().attribute("process_tracer.complete"), "false");
    assert!(fifth.root().attribute("process_tracer.unobserved").contains(reason), "{fifth:#?}");
    for name in ["without.jsonl", "sixth.jsonl"] {
        Trace::read(&ordinary.path(name)).assert_complete();
    }
}

#[test]
fn runs_with_ptrace_do_not_count_toward_the_limit_of_four_runs() {
    let ordinary = Ordinary::new(Some(CAPABILITIES));
    copy_program(PROCESS_TRACER, ordinary.path("incapable"));
    let script = "\
for number in 1 2 3 4; do
    ./incapable -q --unix -o $number.jsonl -- sh -c 'echo > ready.$0; until [ -e over ]; do sleep 0.1; done' $number &
done
until [ -e ready.1 ] && [ -e ready.2 ] && [ -e ready.3 ] && [ -e ready.4 ]; do sleep 0.1; done
./process-tracer --unix -o fifth.jsonl -- sh -c 'exit 3'; echo $?
echo > over
wait
";
    // In a new network namespace, no other test counts.
    let output = inside("--net", ":", ordinary.command("sh").args(["-c", script])).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(text(&output.stdout), "3\n", "{stderr}");
    assert_eq!(stderr.matches("--unix not observed: impossible with ptrace").count(), 4, "{stderr}");
    Trace::read(&ordinary.path("fifth.jsonl")).assert_complete();
}

#[test]
fn a_setuid_program_cannot_be_made_the_launcher() {
    // With the descriptors from --sudo, an ordinary user can write the launcher's pid into the shared page.
    let ordinary = Ordinary::new(None).with_sudo();
    copy_program("/usr/bin/xargs", ordinary.path("setuid"));
    fs::set_permissions(ordinary.path("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    let script = "\
import mmap, os, socket, struct, subprocess, sys
own, helpers = socket.socketpair()
helper = subprocess.Popen(['./sudo', '--', os.path.abspath('process-tracer'), 'attach-for-sudo', str(1 << 20), '1024', '0'], stdin=helpers)
helpers.close()
first, descriptors, _, _ = socket.recv_fds(own, 1, 64)
assert first == b'+', first + own.recv(4096)
# struct shared_page of wire.h: launcher_pid and launcher_namespace are its third and fourth words.
page = mmap.mmap(descriptors[1], 4096)
namespace = os.stat('/proc/self/ns/pid').st_ino & 0xffffffff
def is_taken(command):
    launcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    while open(f'/proc/{launcher.pid}/comm').read().strip() not in ('xargs', 'setuid'):
        pass
    page[8:16] = struct.pack('II', launcher.pid, namespace)
    launcher.communicate(b'word')
    return struct.unpack('I', page[8:12])[0] == 0
print(is_taken(['./setuid', 'id']), is_taken(['xargs', 'id']))
";
    let output = ordinary.command("sh").args(["-c", "exec python3 -c \"$0\"", script]).output().unwrap();
    assert_eq!(text(&output.stdout), "False True\n", "{}", text(&output.stderr));
}

/// The user does not see a socket that another user has passed on.
fn assert_sockets_of_others_are_not_seen(ordinary: &Ordinary, flags: &[&str]) {
    let foreign = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = "import socket; query = bytes.fromhex(\"00070100000100000000000003666f7804746573740000010001\"); \
 other = socket.socket(fileno=0); own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
                [each.sendto(query, (\"127.0.0.1\", port)) for each, port in ((other, 53), (other, 4444), (own, 5555))]";
    let mut command = ordinary.command(ordinary.path("process-tracer"));
    command.args(flags).args(["-o", "t.jsonl", "--", "python3", "-c", send]).stdin(OwnedFd::from(foreign));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = Trace::read(&ordinary.path("t.jsonl"));
    trace.assert_complete();
    let flows: Vec<_> = trace.flows().map(|span| span.name.as_str()).collect();
    assert_eq!((flows, trace.lookups().count()), (vec!["udp 127.0.0.1:5555"], 0));
}

#[test]
fn with_file_capabilities_or_sudo_only_own_sockets_are_recorded() {
    assert_only_own_sockets_are_seen(&Ordinary::new(Some(CAPABILITIES)).with_sudo(), &[]);
    assert_only_own_sockets_are_seen(&Ordinary::new(None).with_sudo(), &["--sudo"]);
    assert_sockets_of_others_are_not_seen(&Ordinary::new(Some(CAPABILITIES)), &[]);
    assert_sockets_of_others_are_not_seen(&Ordinary::new(None).with_sudo(), &["--sudo"]);
}

#[test]
fn with_file_capabilities_only_own_environments_are_read() {
    assert_only_own_environments_are_seen(&Ordinary::new(Some(CAPABILITIES)).with_sudo(), &[]);
}

#[test]
fn with_the_sudo_flag_an_ordinary_user_traces_their_own_command() {
    let ordinary = Ordinary::new(None).with_sudo();
    assert_only_own_environments_are_seen(&ordinary, &["--sudo"]);
    let show =
        "id; pwd; env | grep -vE '^(TRACEPARENT|_)='; grep -E '^(Cap|NoNew)' /proc/self/status; ls /proc/self/fd";
    let bare = ordinary.command("sh").args(["-c", show]).output().unwrap();
    let wrapped = ordinary.command("./process-tracer").args(["-q", "--sudo", "--", "sh", "-c", show]).output().unwrap();
    assert_eq!((text(&wrapped.stdout), text(&wrapped.stderr)), (text(&bare.stdout), text(&bare.stderr)));
}

#[test]
fn the_descriptors_from_sudo_stay_private() {
    let ordinary = Ordinary::new(None).with_sudo();
    let look = "ls /proc/$PPID/fd; cat /proc/$PPID/environ; cat /proc/$PPID/maps";
    let output = ordinary.command("./process-tracer").args(["-q", "--sudo", "--", "sh", "-c", look]).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!((text(&output.stdout).as_str(), stderr.matches("Permission denied").count()), ("", 3), "{stderr}");

    let mut command = ordinary.command("./process-tracer");
    command.args(["-q", "--sudo", "--", "sh", "-c", "echo; read line"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    // With the descriptor of an eBPF program, a process could run the program with arguments of its choice.
    assert_eq!(open_kinds(child.id()), ["map_type", "link_type"].into());
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn the_spool_belongs_to_the_user_who_called_sudo() {
    let ordinary = Ordinary::new(None);
    let folder = ordinary.path("own");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = process_tracer();
    command.envs(["SUDO_UID", "SUDO_GID"].map(|name| (name, NOBODY.to_string()))).env("XDG_STATE_HOME", &folder);
    let output = command.args(["--endpoint", &format!("http://{nobody}"), "--", "true"]).output().unwrap();
    let kept: Vec<_> =
        fs::read_dir(folder.join("process-tracer")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "{}", text(&output.stderr));
    assert_eq!(fs::metadata(&kept[0]).unwrap().uid(), NOBODY);
    assert_eq!(Trace::read(&kept[0]).spans.len(), 1);
}

#[test]
fn if_sudo_fails_the_command_still_runs() {
    let ordinary = Ordinary::new(None);
    for (script, reason) in [
        (None, "cannot run sudo"),
        (Some("#!/bin/sh\nexit 1\n"), "sudo did not run the helper: exit status: 1"),
        (Some("#!/bin/sh\nshift\nSUDO_UID=1 SUDO_GID=1 exec \"$@\"\n"), "sudo did not run the helper"),
    ] {
        if let Some(script) = script {
            write_program(ordinary.path("sudo"), script);
        }
        let path =
            if script.is_some() { format!("{}:/bin", ordinary.folder.path().display()) } else { "/nowhere".to_owned() };
        let mut command = ordinary.command("env");
        command
            .arg(format!("PATH={path}"))
            .arg(ordinary.path("process-tracer"))
            .args(["--sudo", "--", "/bin/sh", "-c", "exit 3"]);
        let output = command.output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(reason), "{reason}: {stderr}");
    }
}

/// The kinds of eBPF objects that a process has open.
fn open_kinds(pid: u32) -> HashSet<&'static str> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = files.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    texts
        .flat_map(|text| {
            ["prog_type", "map_type", "link_type"]
                .into_iter()
                .filter(move |kind| text.contains(kind))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The kernel's ids of the eBPF objects that a process has open: programs, maps and links.
fn open_objects(pid: u32) -> Vec<(&'static str, u32)> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let information = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        for kind in ["prog_id", "map_id", "link_id"] {
            let id =
                information.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':')?.trim().parse().ok());
            objects.extend(id.map(|id| (kind, id)));
        }
    }
    objects
}

/// Whether the kernel still has that object.
fn exists((kind, id): (&str, u32)) -> bool {
    // include/uapi/linux/bpf.h: BPF_PROG_GET_FD_BY_ID and others.
    let command = match kind {
        "prog_id" => 13,
        "map_id" => 14,
        _ => 30,
    };
    let attributes = [id, 0, 0];
    // SAFETY: the attributes have that size and outlive the call.
    let descriptor = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes)) };
    if descriptor < 0 {
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT));
        return false;
    }
    // SAFETY: the kernel has just opened this descriptor for this process.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor as i32) });
    true
}

#[test]
fn after_sigkill_the_command_continues_and_no_program_stays_loaded() {
    let mut command = process_tracer();
    command.args(["--", "sh", "-c", "echo $$; read line; echo \"still here: $line\""]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let objects = open_objects(child.id());
    for kind in ["prog_id", "map_id", "link_id"] {
        assert!(objects.iter().any(|(found, _)| *found == kind), "no {kind} in {objects:?}");
    }
    assert!(objects.iter().all(|object| exists(*object)));
    let mut stdin = child.stdin.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    std::io::Write::write_all(&mut stdin, b"you\n").unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "still here: you\n");
    // The kernel frees them a little later.
    for _ in 0..100 {
        if !objects.iter().any(|object| exists(*object)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("left behind: {:?}", objects.into_iter().filter(|object| exists(*object)).collect::<Vec<_>>());
}

#[test]
fn the_doctor_reports_whether_tracing_works_and_the_remedies() {
    let output = process_tracer().arg("doctor").output().unwrap();
    let stdout = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{stdout}");
    let rows =
        ["kernel", "type information", "lockdown", "CAP_BPF", "CAP_PERFMON", "perf_event_paranoid", "locked memory"];
    for what in rows.iter().chain(&["unprivileged_bpf_disabled", "clang", "eBPF programs", "collector"]) {
        assert!(stdout.lines().any(|line| line.starts_with(&format!("ok    {what} "))), "{what}: {stdout}");
    }
    assert!(stdout.ends_with("\ntracing works here\n") && !stdout.contains("FAIL"), "{stdout}");

    let ordinary = Ordinary::new(None);
    let output = ordinary.command("./process-tracer").arg("doctor").output().unwrap();
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(
        stdout.ends_with("3 problems, but tracing works here with ptrace: no connections are recorded\n"),
        "{stdout}"
    );
    for what in ["CAP_BPF", "CAP_PERFMON", "eBPF programs"] {
        assert!(stdout.lines().any(|line| line.starts_with(&format!("FAIL  {what} "))), "{what}: {stdout}");
    }
    assert_eq!(stdout.matches("remedy: ").count(), 3, "{stdout}");
    let once = ordinary.path("process-tracer");
    assert!(stdout.contains(&format!("once: sudo {} setup\n", once.display())), "{stdout}");

    let ordinary = Ordinary::new(Some(CAPABILITIES));
    let output = ordinary.command("./process-tracer").arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn setup_lets_all_users_or_one_group_trace_and_undo_takes_it_back() {
    let ordinary = Ordinary::new(None);
    let program = ordinary.path("process-tracer");
    let setup = |arguments: &[&str]| {
        let output = Command::new(&program).arg("setup").args(arguments).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let mode = || (fs::metadata(&program).unwrap().mode() & 0o777, fs::metadata(&program).unwrap().gid());
    // The doctor of an ordinary user, and of a member of the group 'tty'.
    let doctor = |groups: &str| {
        let mut command = Command::new("setpriv");
        // setpriv has root's capabilities until it executes a program. So env, not setpriv, executes process-tracer.
        command.args(["--reuid=65534", "--regid=65534", groups, "env"]).arg(&program).arg("doctor");
        command.output().map(|output| (output.status.code(), text(&output.stdout))).unwrap()
    };
    let tty = fs::read_to_string("/etc/group").unwrap();
    let tty: u32 = tty.lines().find_map(|line| line.strip_prefix("tty:x:")?.split(':').next()?.parse().ok()).unwrap();

    let (status, stdout, stderr) = setup(&[]);
    let granted = format!("{}: cap_bpf,cap_perfmon: every user can trace\n", program.display());
    assert_eq!((status, stdout, stderr.as_str()), (Some(0), granted, ""));
    let (status, table) = doctor("--clear-groups");
    assert!(
        status == Some(0) && table.contains("file capabilities          cap_bpf,cap_perfmon: every user"),
        "{table}"
    );

    let (status, stdout, stderr) = setup(&["--group", "tty"]);
    assert!(status == Some(0) && stdout.ends_with(": the group 'tty' can trace\n"), "{stdout}{stderr}");
    assert_eq!(mode(), (0o750, tty));
    // env exits with 126 because this user may not execute process-tracer.
    assert_eq!(doctor("--clear-groups").0, Some(126));
    let (status, table) = doctor("--groups=tty");
    assert!(
        status == Some(0) && table.contains("file capabilities          cap_bpf,cap_perfmon: the group 'tty'"),
        "{table}"
    );

    // Without a group, it is for all users again.
    let (status, stdout, stderr) = setup(&[]);
    assert!(status == Some(0) && stdout.ends_with(": every user can trace\n"), "{stdout}{stderr}");
    assert_eq!((mode(), doctor("--clear-groups").0), ((0o755, 0), Some(0)));

    // Without CAP_SETFCAP, the mode and the group stay.
    let (status, _, _) = setup(&["--undo"]);
    assert_eq!(status, Some(0));
    let mut without = Command::new("setpriv");
    let output =
        without.arg("--bounding-set=-setfcap").arg(&program).args(["setup", "--group", "tty"]).output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(125) && stderr.contains("CAP_SETFCAP is missing here"), "{stderr}");
    assert_eq!(mode(), (0o755, 0));

    assert_eq!(setup(&["--group", "tty"]).0, Some(0));
    let (status, stdout, stderr) = setup(&["--undo"]);
    assert!(status == Some(0) && stdout.contains(": none. To let ordinary users trace: sudo "), "{stdout}{stderr}");
    assert_eq!(mode(), (0o755, 0));
    let (status, table) = doctor("--clear-groups");
    assert!(
        status == Some(0)
            && table.contains("ok    file capabilities          none. To let ordinary users trace: sudo "),
        "{table}"
    );
    // There is nothing to take back.
    assert_eq!(setup(&["--undo"]).0, Some(0));

    let (status, _, stderr) = setup(&["--group", "no-such-group"]);
    assert!(
        status == Some(125) && stderr.contains("there is no group 'no-such-group'; add it with: sudo groupadd"),
        "{stderr}"
    );
    let output = ordinary.command(&program).arg("setup").output().unwrap();
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains(&format!("only root can change capabilities; use: sudo {} setup", program.display())),
        "{stderr}"
    );
    // The owner of a file can change its mode.
    std::os::unix::fs::chown(&program, Some(NOBODY), None).unwrap();
    let (status, _, stderr) = setup(&["--group", "tty"]);
    assert!(status == Some(125) && stderr.contains("does not belong to root"), "{stderr}");
    assert!(doctor("--clear-groups").1.contains("FAIL  CAP_BPF "));
}

#[test]
fn the_doctor_checks_the_collector() {
    let collector = Rotel::start();
    for protocol in ["http/protobuf", "grpc"] {
        // No process listens there.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", socket.local_addr().unwrap());
        drop(socket);
        let ask = |flags: &[&str]| {
            let output = process_tracer().args(flags).output().unwrap();
            let stdout = text(&output.stdout);
            let row = stdout.lines().find(|line| line.contains("  collector  ")).unwrap_or_default().to_owned();
            (output.status.code(), row)
        };
        let (code, row) = ask(&["doctor", "--endpoint", &endpoint, "--protocol", protocol]);
        assert_eq!(code, Some(1), "{row}");
        assert!(row.starts_with("FAIL") && row.contains(&endpoint) && row.contains("refused"), "{row}");
        let endpoint = if protocol == "grpc" { &collector.grpc } else { &collector.http };
        let (code, row) = ask(&["--endpoint", endpoint, "--protocol", protocol, "doctor"]);
        assert_eq!(code, Some(0), "{row}");
        assert!(row.starts_with("ok") && row.contains(endpoint) && row.contains("answers in"), "{row}");
    }
}
