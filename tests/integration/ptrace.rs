//! The ptrace source. The command behaves as without a tracer. The trace is the same as with eBPF, except for facts that
//! ptrace cannot see.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use crate::{
    compare::{Pids, assert_same_processes},
    harness::{FORBID_PTRACE, PROCESS_TRACER, build, process_tracer, python, trace_with, workload},
    trace::{Span, Trace},
    transparency::{differences, terminal},
};

const PTRACE: [&str; 2] = ["--source", "ptrace"];

#[test]
fn a_command_under_ptrace_behaves_like_a_bare_one() {
    let differences: Vec<_> = differences(&PTRACE.join(" "))
        .into_iter()
        // A process can see its tracer.
        .filter(|difference| !difference.starts_with("no tracer:"))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn terminal_and_its_job_control_work_under_ptrace() {
    let [bare, wrapped] = terminal(&["-q", "--source", "ptrace", "--"]);
    assert_eq!(wrapped, bare);
}

/// Traces a command with both sources at once: an inner process-tracer uses ptrace, and eBPF observes the inner
/// process-tracer and its command. Compares all processes of the command span by span. Returns the number of processes.
fn compare(flags: &[&str], command: &[&str]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let inner_file = folder.path().join("ptrace.jsonl");
    let inner = [PROCESS_TRACER, "-q", "--source", "ptrace", "-o", inner_file.to_str().unwrap()];
    let outer = trace_with(&[&["--source", "ebpf"], flags].concat(), &[&inner[..], flags, &["--"], command].concat());
    assert_same_processes(&Trace::read(&inner_file), &outer.trace, Pids::Same)
}

#[test]
fn both_sources_see_the_same_script() {
    let script = "/bin/true; (cd /; pwd) | cat; nice -n 3 sh -c 'exec env A=b sh -c \"exit 3\"'; sh -c 'kill -9 $$'; \
                  setsid sh -c true; true";
    assert_eq!(compare(&[], &["sh", "-c", script]), 7);
}

#[test]
fn both_sources_see_the_same_chains_threads_orphans_and_forks() {
    let workload = workload().to_str().unwrap();
    for scenario in
        [&["vfork"][..], &["thread-exec"], &["leader-first"], &["orphan"], &["exec-chain", "5"], &["deep", "20"]]
    {
        compare(&["--wait", "tree"], &[&[workload], scenario].concat());
    }
}

#[test]
fn both_sources_see_the_same_work() {
    let script = "import hashlib, os, subprocess, sys
data = bytearray(b'x' * (8 << 20))
for _ in range(20): hashlib.sha256(data).digest()
for _ in range(3): subprocess.run([sys.executable, '-IS', '-c', 'sum(range(2000000))'], check=True)
os.fork() or os._exit(7)
os.wait()";
    assert_eq!(compare(&[], &[python(), "-IS", "-c", script]), 5);
}

#[test]
fn both_sources_see_the_same_build() {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path());
    let folder = folder.path().to_str().unwrap();
    // make, and for each of 12 modules sed, gcc, cc1, as, and a pipeline of four programs in a shell.
    let count = compare(&["--wait", "tree"], &["make", "-s", "-j2", "-C", folder]);
    assert!(count > 12 * 8, "{count}");
    assert_eq!(fs::read_to_string(format!("{folder}/sum")).unwrap(), "66\n");
}

/// Runs a command as the user nobody, in a folder of this user. The folder contains process-tracer.
fn as_nobody(folder: &Path, command: &[&str]) -> Command {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    if !folder.join("process-tracer").exists() {
        crate::harness::copy_program(PROCESS_TRACER, folder.join("process-tracer"));
    }
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(command).current_dir(folder);
    setpriv.env_remove("TRACEPARENT").env("XDG_STATE_HOME", folder);
    setpriv
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_privileges_the_whole_tree_is_traced() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = "/bin/true; sh -c 'exit 4'; exit 3";
    let command = ["./process-tracer", "-o", "t.jsonl", "--", "sh", "-c", script];
    let output = as_nobody(folder.path(), &command).output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("ptrace observes the processes, because eBPF is impossible: missing CAP_BPF"), "{stderr}");
    assert!(stderr.contains("3 spans to t.jsonl, complete, connections not observed"), "{stderr}");
    let trace = Trace::read(&folder.path().join("t.jsonl"));
    trace.assert_complete();
    let root = trace.root();
    assert_eq!(root.attribute("process_tracer.source"), "ptrace");
    assert!(root.attribute("process_tracer.unobserved.kinds").starts_with("[connections, flows, lookups"));
    assert_eq!(root.attribute("process.user.id"), "65534");
    let mut children: Vec<_> = trace.children_of(root).map(|span| span.name.as_str()).collect();
    children.sort_unstable();
    assert_eq!(children, ["sh", "true"]);
}

/// Compiles a program from a few lines of C.
fn compile(folder: &Path, name: &str, code: &str, flags: &[&str]) -> PathBuf {
    let (source, program) = (folder.join(name).with_extension("c"), folder.join(name));
    fs::write(&source, code).unwrap();
    let status = Command::new("gcc").args(flags).arg("-o").arg(&program).arg(&source).status().unwrap();
    assert!(status.success(), "{name}");
    program
}

#[test]
fn programs_that_are_not_followed_have_a_reason_and_a_name() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    // sudo needs its privileges even to report that a password is required.
    let script = "strace -o /dev/null /bin/true; gdb -q -nx -batch; gdb --version >&2; sudo -n true; exit 3";
    let command = ["./process-tracer", "--source", "ptrace", "-o", "t.jsonl", "--", "sh", "-c", script];
    let output = as_nobody(folder.path(), &command).output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("sudo: a password is required"), "{stderr}");
    let verdict = "incomplete: 3 programs not followed: uses ptrace itself (strace, gdb), \
                   1 program not followed: gains privileges (sudo), connections not observed";
    assert!(stderr.contains(verdict), "{stderr}");
    let trace = Trace::read(&folder.path().join("t.jsonl"));
    let root = trace.root();
    assert_eq!(root.attribute("process_tracer.lost.tracing_programs"), "3");
    assert_eq!(root.attribute("process_tracer.lost.privileged_programs"), "1");
    assert!(!root.attributes.contains_key("process_tracer.lost.traced_targets"), "{root:#?}");
}

#[test]
fn real_programs_work_as_without_a_tracer() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let leak =
        "#include <stdlib.h>\nint main(void) { volatile char *lost = malloc(10); lost[0] = 1; lost = 0; return 0; }";
    compile(folder.path(), "leak", leak, &["-fsanitize=address"]);
    compile(
        folder.path(),
        "sums",
        "int add(int a, int b) { return a + b; } int main(void) { return add(2, 3); }",
        &["-g"],
    );
    let ids = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf(\"%d %d\\n\", geteuid(), getegid()); return 3; }";
    let setgid = compile(folder.path(), "setgid", ids, &[]);
    std::os::unix::fs::chown(&setgid, None, Some(42)).unwrap();
    fs::set_permissions(&setgid, fs::Permissions::from_mode(0o2755)).unwrap();
    fs::write(folder.path().join("Makefile"), "check:\n\t./leak 2>&1 | grep -q LeakSanitizer && exit 23\n").unwrap();
    // Checks that the output and the status of a script are the same, and that the output has `wanted`.
    let cases = [
        ("make check; echo $?", "2\n"),
        (
            "gdb -q -nx -batch -ex 'break add' -ex run -ex 'print a + b' -ex continue ./sums | grep -v process",
            "$1 = 5\n",
        ),
        ("sleep 60 & gdb -q -nx -batch -p $! -ex 'info proc' -ex kill 2>&1 | grep cmdline", "cmdline = 'sleep 60'\n"),
        ("sleep 60 & gcore -o core $! >/dev/null 2>&1; echo $? $(ls core.* | wc -l); rm core.*; kill $!", "0 1\n"),
        ("strace -f -o s sh -c './sums; exit 4'; echo $? $(grep -c 'execve(' s)", "4 2\n"),
        ("./setgid; echo $?", "65534 42\n3\n"),
        ("sudo -n true 2>&1; echo $?", "sudo: a password is required\n1\n"),
        ("ping -c1 -W5 127.0.0.1 | grep -c ttl=", "1\n"),
    ];
    for (script, wanted) in cases {
        let run = |tracer: &[&str]| {
            let output = as_nobody(folder.path(), &[tracer, &["sh", "-c", script]].concat()).output().unwrap();
            ((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()), stderr_of(&output))
        };
        let (bare, stderr) = run(&[]);
        assert!(bare.1.contains(wanted), "{script}: {bare:?} {stderr}");
        let (traced, stderr) = run(&["./process-tracer", "--source", "ptrace", "-o", "t.jsonl", "--"]);
        assert_eq!(traced, bare, "{script}: {stderr}");
        Trace::read(&folder.path().join("t.jsonl")).assert_sound();
    }
}

#[test]
fn target_of_a_debugger_is_counted_but_not_followed() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = "sleep 60 & gdb -q -nx -batch -p $! -ex 'info proc' -ex kill 2>&1; exit 4";
    let command = ["./process-tracer", "--source", "ptrace", "-o", "t.jsonl", "--", "sh", "-c", script];
    let output = as_nobody(folder.path(), &command).output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    let reasons = "incomplete: 1 program not followed: uses ptrace itself (gdb), \
                   1 process not followed: traced by a debugger";
    assert!(stderr.contains(reasons), "{stderr}");
    let trace = Trace::read(&folder.path().join("t.jsonl"));
    assert_eq!(trace.root().attribute("process_tracer.lost.traced_targets"), "1");
}

#[test]
fn a_debugger_can_have_itself_or_its_parent_or_a_thread_as_its_target() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let code = r#"
        #define _GNU_SOURCE
        #include <pthread.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <unistd.h>
        static void *debug(void *unused)
        {
            char command[99];
            sprintf(command, "gdb -q -nx -batch -p %d -ex 'info proc' 2>&1 | grep cmdline", gettid());
            exit(system(command));
        }
        int main(void)
        {
            pthread_t thread;
            pthread_create(&thread, 0, debug, 0);
            return pthread_join(thread, 0);
        }"#;
    compile(folder.path(), "threads", code, &["-pthread"]);
    let cases = [
        ("exec strace -p $$ 2>&1", "strace: I'm sorry, I can't let you do that, Dave.\n", "(strace)"),
        (
            "gdb -q -nx -batch -p $$ -ex 'info proc' | grep -c '^cmdline = '; exit 4",
            "1\n",
            "(gdb), 1 process not followed: traced by a debugger",
        ),
        ("./threads", "cmdline = './threads'\n", "(gdb), 1 process not followed: traced by a debugger"),
    ];
    for (script, wanted, reason) in cases {
        let run =
            |tracer: &[&str]| as_nobody(folder.path(), &[tracer, &["sh", "-c", script]].concat()).output().unwrap();
        let bare = run(&[]);
        assert_eq!(String::from_utf8_lossy(&bare.stdout), wanted, "{bare:?}");
        let tracer = ["timeout", "-s", "KILL", "60", "./process-tracer", "--source", "ptrace", "-o", "t.jsonl", "--"];
        let traced = run(&tracer);
        assert_eq!((&traced.stdout, traced.status.code()), (&bare.stdout, bare.status.code()), "{traced:?}");
        let reason = format!("1 program not followed: uses ptrace itself {reason}");
        assert!(stderr_of(&traced).contains(&reason), "{traced:?}");
        Trace::read(&folder.path().join("t.jsonl")).assert_sound();
    }
}

#[test]
fn a_debugger_gets_a_target_that_executes_programs_all_the_time() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    // Large arguments make each exec slow, so that most interruptions come during an exec.
    let code = r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            static char large[128 << 10];
            char text[12], *next[16] = {arguments[0], text};
            int left = atoi(arguments[1]);
            memset(large, 'x', sizeof large - 1);
            for (int place = 2; place < 14; place++)
                next[place] = large;
            snprintf(text, sizeof text, "%d", left - 1);
            if (left > 0)
                execv(arguments[0], next);
            sleep(5);
            return 0;
        }"#;
    compile(folder.path(), "chain", code, &["-static"]);
    let one = "./chain 200 & gdb -q -nx -batch -p $! -ex 'info proc' -ex kill 2>&1 | grep -c cmdline; wait";
    let script = format!("for turn in 1 2 3 4 5 6 7 8 9 10; do {one}; done");
    let command = ["./process-tracer", "--source", "ptrace", "-o", "t.jsonl", "--", "sh", "-c", &script];
    let output = as_nobody(folder.path(), &command).output().unwrap();
    // If the tracer keeps the target, the debugger waits for it until the target is dead.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n".repeat(10), "{}", stderr_of(&output));
    Trace::read(&folder.path().join("t.jsonl")).assert_sound();
}

#[test]
fn program_with_an_unreadable_file_has_its_name() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let long = "a-name-of-more-than-15-bytes";
    for (name, mode) in [("secret", 0o711), (long, 0o711), ("setuid", 0o4711)] {
        let program = compile(folder.path(), name, "int main(void) { return 0; }", &[]);
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    }
    let here = folder.path().display();
    // The second program has a relative path, and its working directory cannot be read. So it is not known whether it gains
    // privileges.
    let script = format!("{here}/secret {here}/secret; ./{long}; {here}/setuid");
    let command = ["./process-tracer", "--source", "ptrace", "-o", "t.jsonl", "--", "sh", "-c", &script];
    let output = as_nobody(folder.path(), &command).output().unwrap();
    let stderr = stderr_of(&output);
    let reasons = format!(
        "incomplete: 1 program not followed: gains privileges (setuid), \
         1 program not followed: its file cannot be read ({long})"
    );
    assert!(stderr.contains(&reasons), "{stderr}");
    let trace = Trace::read(&folder.path().join("t.jsonl"));
    let mut names: Vec<_> = trace.children_of(trace.root()).map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, [long, "secret", "setuid"]);
    assert!(trace.root().attribute("process_tracer.unobserved.kinds").contains("withheld_attributes"), "{trace:#?}");
    assert!(trace.processes().all(|span| !span.attributes.contains_key("process_tracer.script")), "{trace:#?}");
}

#[test]
fn program_that_has_lost_its_privileges_is_named_in_a_warning() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let setuid = compile(folder.path(), "setuid", "int main(void) { return 0; }", &[]);
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
    // The file has no path any more when the tracer looks.
    let code = r#"
        #include <fcntl.h>
        #include <unistd.h>
        int main(void)
        {
            int program = open("setuid", O_RDONLY);
            char *arguments[] = {"other", "name", 0};
            unlink("setuid");
            return fexecve(program, arguments, arguments + 2);
        }"#;
    compile(folder.path(), "launcher", code, &[]);
    let command = ["./process-tracer", "--source", "ptrace", "-o", "t.jsonl", "--", "./launcher"];
    let output = as_nobody(folder.path(), &command).output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let warning = "warning: setuid runs without its privileges: its file has no path any more";
    assert!(stderr.contains(warning), "{stderr}");
    assert!(
        stderr.contains("incomplete: 1 program ran without the privileges of setuid, setgid or file capabilities"),
        "{stderr}"
    );
    let trace = Trace::read(&folder.path().join("t.jsonl"));
    assert_eq!(trace.root().attribute("process_tracer.lost.lost_privileges"), "1");
    assert_eq!(trace.root().name, "launcher");
}

#[test]
fn impossible_source_ends_the_run_with_125() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let command = ["./process-tracer", "--source", "ebpf", "--", "echo", "ran"];
    let output = as_nobody(folder.path(), &command).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{output:?}");
    assert!(stderr_of(&output).contains("--source ebpf: missing CAP_BPF"), "{output:?}");
    let forbidden = |flags: &[&str]| {
        let command =
            [&[python(), "-IS", "-c", FORBID_PTRACE, "./process-tracer"], flags, &["--", "echo", "ran"]].concat();
        let output = as_nobody(folder.path(), &command).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr_of(&output))
    };
    let (code, stdout, stderr) = forbidden(&PTRACE);
    assert_eq!((code, &*stdout), (Some(125), ""), "{stderr}");
    assert!(
        stderr.contains("--source ptrace: ptrace(2) failed: Operation not permitted; a seccomp profile"),
        "{stderr}"
    );
    let (code, stdout, stderr) = forbidden(&[]);
    assert_eq!((code, &*stdout), (Some(0), "ran\n"), "{stderr}");
    assert!(stderr.contains("only the command itself is traced") && stderr.contains("ptrace(2) failed"), "{stderr}");
}

#[test]
fn a_flag_that_ptrace_cannot_serve_prints_a_warning_and_is_an_error_with_strict() {
    for flag in ["--unix", "--failed-execs"] {
        let output = process_tracer().args(PTRACE).args([flag, "--", "echo", "ran"]).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 4), "{output:?}");
        assert!(
            stderr_of(&output).contains(&format!("warning: {flag} not observed: impossible with ptrace")),
            "{output:?}"
        );
        let output = process_tracer().args(PTRACE).args(["--strict", flag, "--", "echo", "ran"]).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{output:?}");
    }
    let output = process_tracer().args(PTRACE).args(["--strict", "--", "echo", "ran"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = process_tracer().args(PTRACE).args(["--sudo", "--", "echo", "ran"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr_of(&output).contains("--sudo has no effect"), "{output:?}");
}

#[test]
fn the_tree_continues_when_process_tracer_is_killed() {
    let script = "echo start; i=0; while [ $i -lt 60 ]; do /bin/true; sh -c 'exit 3'; [ $? -eq 3 ] || exit; i=$((i+1)); done; \
                  echo done";
    for round in 0..30u64 {
        let mut tracer = process_tracer();
        tracer.args(PTRACE).args(["-q", "--", "sh", "-c", script]).stdout(Stdio::piped());
        let mut tracer = tracer.spawn().unwrap();
        let mut output = BufReader::new(tracer.stdout.take().unwrap());
        let mut text = String::new();
        let has_started = round % 3 > 0;
        if has_started {
            output.read_line(&mut text).unwrap();
        }
        thread::sleep(Duration::from_millis(round * 7 % 90));
        tracer.kill().unwrap();
        tracer.wait().unwrap();
        // The whole output comes from the command. The output ends when all processes of the command have ended.
        output.read_to_string(&mut text).unwrap();
        // Without output, process-tracer had not forked yet.
        assert!(text == "start\ndone\n" || text.is_empty() && !has_started, "round {round}: {text}");
    }
}

#[test]
fn stopped_and_waiting_processes_continue_when_process_tracer_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {}; (sleep 0.5; echo late > late) & sh -c 'kill -STOP $$; echo resumed > resumed' & echo $! > pid; wait",
        folder.path().display()
    );
    let mut tracer = process_tracer().args(PTRACE).args(["-q", "--", "sh", "-c", &script]).spawn().unwrap();
    let is_stopped = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") t ") || stat.contains(") T "))
    };
    let wait_for = |what: &dyn Fn() -> bool| {
        for _ in 0..500 {
            if what() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the condition was not true within ten seconds");
    };
    let pid = || fs::read_to_string(folder.path().join("pid")).unwrap_or_default().trim().to_owned();
    wait_for(&|| !pid().is_empty() && is_stopped(&pid()));
    tracer.kill().unwrap();
    tracer.wait().unwrap();
    wait_for(&|| fs::read_to_string(format!("/proc/{}/stat", pid())).is_ok_and(|stat| stat.contains(") T ")));
    assert!(Command::new("kill").args(["-CONT", &pid()]).status().unwrap().success());
    wait_for(&|| folder.path().join("resumed").exists() && folder.path().join("late").exists());
}

#[test]
fn daemon_outlives_the_run_unharmed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late");
    let script = format!("(sleep 1; /bin/true; echo late > {}) >/dev/null 2>&1 & exit 3", file.display());
    let run = trace_with(&PTRACE, &["sh", "-c", &script]);
    assert_eq!(run.code(), Some(3));
    run.trace.assert_sound();
    assert!(!file.exists());
    let is_unfinished = |span: &Span| span.attributes.contains_key("process_tracer.unfinished");
    assert!(run.trace.processes().any(is_unfinished), "{:#?}", run.trace);
    for _ in 0..100 {
        if file.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(file.exists());
    let script = "(sleep 0.3; /bin/true) >/dev/null 2>&1 & exit 3";
    let run = trace_with(&[&PTRACE[..], &["--wait", "tree"]].concat(), &["sh", "-c", script]);
    run.trace.assert_complete();
    assert!(!run.trace.processes().any(is_unfinished), "{:#?}", run.trace);
    assert_eq!(run.trace.processes().count(), 3);
}

/// Runs a Python script bare and under ptrace, and compares the outputs.
fn assert_python_is_as_bare(script: &str) {
    let run = |wrap: &[&str]| {
        let command = [wrap, &[python(), "-IS", "-c", script]].concat();
        let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code(), stderr_of(&output))
    };
    let bare = run(&[]);
    assert!(!bare.0.is_empty(), "{bare:?}");
    assert_eq!(run(&[PROCESS_TRACER, "-q", "--source", "ptrace", "--"]), bare);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn ignored_signal_does_not_interrupt_a_wait() {
    // Python repeats calls that fail with EINTR, so these go to the C library directly.
    assert_python_is_as_bare(
        "import ctypes, os, signal, select, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def during(signals, call):
    def send():
        for number in signals:
            time.sleep(0.05)
            os.kill(os.getpid(), number)
    sender = threading.Thread(target=send)
    sender.start()
    start = time.monotonic()
    result = call()
    took = time.monotonic() - start
    sender.join()
    return result, ctypes.get_errno() if result < 0 else 0, took
epoll = select.epoll()
events = ctypes.create_string_buffer(120)
wait = lambda time_out: lambda: libc.epoll_wait(epoll.fileno(), events, 10, time_out)
result, error, took = during([signal.SIGCHLD], wait(400))
print('default', result, error, took > 0.39)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
result, error, took = during([signal.SIGUSR1] * 5, wait(400))
print('several', result, error, 0.39 < took < 2)
signal.signal(signal.SIGUSR2, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
result, error, took = during([signal.SIGUSR2], wait(20000))
print('handled', result, error, took < 15)
",
    );
}

#[test]
fn real_time_signals_arrive_with_their_values() {
    assert_python_is_as_bare(
        "import ctypes, os, signal
libc = ctypes.CDLL(None)
signal.pthread_sigmask(signal.SIG_BLOCK, {34 + 3, 34 + 4})
for value in range(5):
    libc.sigqueue(os.getpid(), 34 + 3, ctypes.c_void_p(value))
libc.sigqueue(os.getpid(), 34 + 4, ctypes.c_void_p(9))
got = [signal.sigwaitinfo({34 + 3, 34 + 4}) for _ in range(6)]
print([(info.si_signo, info.si_code, info.si_pid == os.getpid()) for info in got])
counts = []
signal.signal(34 + 5, lambda number, _: counts.append(number))
for value in range(7):
    libc.sigqueue(os.getpid(), 34 + 5, ctypes.c_void_p(value))
print(len(counts))
",
    );
}

#[test]
fn thread_storm_and_group_exit_are_traced() {
    let script = "import os, threading
for _ in range(200):
    threading.Thread(target=lambda: None).start()
def spin():
    while True: pass
for _ in range(3): threading.Thread(target=spin, daemon=True).start()
pid = os.fork()
if pid == 0: os._exit(5)
os.waitpid(pid, 0)
os._exit(6)";
    let run = trace_with(&PTRACE, &[python(), "-IS", "-c", script]);
    assert_eq!(run.code(), Some(6));
    run.trace.assert_complete();
    assert_eq!(run.trace.root().attribute("process_tracer.threads"), "203");
    assert_eq!(run.trace.processes().count(), 2);
}

#[test]
fn many_processes_at_once_are_all_traced() {
    let script = "for i in 1 2 3 4 5 6 7 8; do (for j in 1 2 3 4 5 6 7 8 9 10; do /bin/true & done; wait) & done; wait";
    let run = trace_with(&PTRACE, &["sh", "-c", script]);
    assert_eq!(run.code(), Some(0));
    run.trace.assert_complete();
    assert_eq!(run.trace.processes().count(), 1 + 8 + 80);
}

#[test]
fn death_signal_of_the_parent_thread_works() {
    // The thread that forks the command lives as long as process-tracer.
    let script = "import ctypes, signal, time
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
time.sleep(0.3)
print('alive')";
    let output = process_tracer().arg("-q").args(PTRACE).args(["--", python(), "-IS", "-c", script]).output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"alive\n"[..]));
}
