//! The traced command sees no difference from a run without process-tracer.

use std::process::{Command, Output};

use crate::harness::PROCESS_TRACER;

/// Counts the signals that it receives until a signal ends it.
const COUNT: &str = "import os, signal, sys, time
counts = {}
def count(number, _):
    counts[number] = counts.get(number, 0) + 1
    os.write(1, b'signal\\n')
    if number == signal.SIGTERM:
        time.sleep(0.1)
        print(sorted(counts.items()))
        sys.exit(0)
for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, count)
print('ready', flush=True)
while True:
    signal.pause()";

/// Runs a shell script in which `$WRAP` is before a command. It is empty in the first run and process-tracer in the second.
/// Returns both outputs.
fn bare_and_wrapped(flags: &str, script: &str) -> [Output; 2] {
    let wrap = format!("{PROCESS_TRACER} -q {flags} --");
    ["", wrap.as_str()].map(|wrap| {
        // Only a hang can reach this limit.
        let mut bash = Command::new("timeout");
        bash.args(["--kill-after=9", "300", "bash", "-c", script])
            .env("WRAP", wrap)
            .env("COUNT", COUNT)
            .env("LC_ALL", "C");
        for variable in ["TRACEPARENT", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"] {
            bash.env_remove(variable);
        }
        bash.output().unwrap()
    })
}

#[test]
fn a_wrapped_command_behaves_like_a_bare_command() {
    let differences = differences("");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Returns the cases in which a command that runs with these flags differs from a bare command.
pub fn differences(flags: &str) -> Vec<String> {
    // Each script prints some state that its command inherits, or the end of the command.
    let cases = [
        // signals
        ("nothing ignored or blocked", "$WRAP grep -E '^(Shd|Sig)(Pnd|Blk|Ign|Cgt)' /proc/self/status"),
        ("SIGPIPE ignored", "trap '' PIPE; $WRAP grep ^SigIgn /proc/self/status"),
        ("SIGHUP ignored, as by nohup", "trap '' HUP; $WRAP grep ^SigIgn /proc/self/status"),
        ("SIGINT and SIGTERM ignored", "trap '' INT TERM; $WRAP grep ^SigIgn /proc/self/status"),
        ("SIGCHLD ignored", "trap '' CHLD; $WRAP grep ^SigIgn /proc/self/status; echo $?"),
        ("SIGXFSZ ignored", "trap '' XFSZ; $WRAP grep ^SigIgn /proc/self/status"),
        (
            "signals blocked",
            r#"python3 -c 'import os,signal,sys; signal.pthread_sigmask(signal.SIG_BLOCK, {10, 15, 40}); os.execvp(sys.argv[1], sys.argv[1:])' $WRAP grep ^SigBlk /proc/self/status"#,
        ),
        // descriptors
        ("descriptors", "$WRAP sh -c 'ls /proc/$$/fd'"),
        (
            "inherited descriptors",
            "exec 7</dev/zero 9>/dev/null; $WRAP sh -c 'readlink /proc/$$/fd/7 /proc/$$/fd/9; ls /proc/$$/fd'",
        ),
        ("stdin closed", "$WRAP python3 -c 'import os; print(sorted(os.listdir(\"/proc/self/fd\")))' <&-"),
        (
            "stdin and stderr closed",
            "$WRAP python3 -c 'import os; print(sorted(os.listdir(\"/proc/self/fd\")))' <&- 2>&-",
        ),
        ("stdout closed", "$WRAP sh -c 'echo x' >&-; echo $?"),
        ("all closed", "$WRAP sh -c 'exit 7' <&- >&- 2>&-; echo $?"),
        ("stdin piped", "echo hello | $WRAP cat"),
        ("stdin not eaten", "(head -c 5 >/dev/null; $WRAP true; cat) <<< 'hello world'"),
        // the process
        ("working directory", "cd /usr/lib; $WRAP pwd"),
        ("umask", "umask 0027; $WRAP sh -c umask"),
        ("limits", "ulimit -n 100; ulimit -c 0; ulimit -s 4096; $WRAP cat /proc/self/limits"),
        ("niceness", "nice -n 5 $WRAP nice"),
        ("affinity", "taskset -c 0 $WRAP grep Cpus_allowed_list /proc/self/status"),
        ("oom score", "echo 77 > /proc/$$/oom_score_adj; $WRAP cat /proc/self/oom_score_adj"),
        ("cgroup", "$WRAP cat /proc/self/cgroup"),
        (
            "session and group",
            "$WRAP sh -c 'set -- $(cut -d\" \" -f5,6 /proc/$$/stat); [ $1 -eq '$(cut -d' ' -f5 /proc/$$/stat)' ] && [ $2 -eq '$(cut -d' ' -f6 /proc/$$/stat)' ]; echo $?'",
        ),
        ("user and groups", "$WRAP id"),
        ("capabilities", "$WRAP grep ^Cap /proc/self/status"),
        ("no new privileges", "setpriv --no-new-privs $WRAP grep -E '^(Cap|NoNewPrivs)' /proc/self/status"),
        ("namespaces", "$WRAP sh -c 'readlink /proc/self/ns/*'"),
        ("personality", "setarch -R $WRAP cat /proc/self/personality"),
        ("scheduler", "chrt -b 0 $WRAP chrt -p 0 | sed 's/pid.*current/current/'"),
        ("subreaper", "$WRAP sh -c '(sleep 0.2; cut -d\" \" -f4 /proc/self/stat) & sleep 0.01'; sleep 0.4"),
        ("no tracer", "$WRAP grep TracerPid /proc/self/status"),
        // arguments and environment
        ("arguments", "$WRAP printf '[%s]' '' a 'b c' $'d\\ne' '*' --help -- -x"),
        ("bytes that are not UTF-8", "$WRAP printf '[%s]' $'\\xff\\xfe'"),
        ("environment", "$WRAP env | grep -vE '^(TRACEPARENT|_|WRAP)='"),
        ("order of the environment", "env -i Z=1 A=2 M=3 $WRAP /usr/bin/env | grep -v ^TRACEPARENT="),
        ("a variable without a name", "env -i '=x' PATH=$PATH $WRAP /usr/bin/env | grep -v ^TRACEPARENT="),
        ("a small environment", "env -i 'A=1' PATH=$PATH $WRAP env | grep -v ^TRACEPARENT="),
        (
            "PATH of the caller",
            "mkdir -p ${TMPDIR:-/tmp}/pt$$; printf '#!/bin/sh\\necho found\\n' > ${TMPDIR:-/tmp}/pt$$/mine; chmod +x ${TMPDIR:-/tmp}/pt$$/mine; PATH=${TMPDIR:-/tmp}/pt$$:$PATH $WRAP mine; rm -r ${TMPDIR:-/tmp}/pt$$",
        ),
        (
            "a script without interpreter line",
            "f=$(mktemp); echo 'echo script $0 $1' > $f; chmod +x $f; $WRAP $f arg | sed \"s,$f,F,\"; rm $f",
        ),
        ("an argument of 100 KiB", "$WRAP printf %s $(head -c 100000 /dev/zero | tr '\\0' x) | md5sum"),
        (
            "two MiB of arguments",
            "a=$(head -c 131000 /dev/zero | tr '\\0' x); $WRAP printf %s $a $a $a $a $a $a $a $a $a $a $a $a $a $a $a | md5sum",
        ),
        (
            "an environment of 10,000 variables",
            "for i in {1..10000}; do export V$i=$i; done; $WRAP env | grep ^V | sort | md5sum; $WRAP env | grep -c ^V",
        ),
        ("an empty argv[0]", "(exec -a '' $WRAP sh -c 'echo $0 $#' '' a b)"),
        // how it ends
        ("exit codes", "for i in 0 1 2 99 125 126 127 128 255; do $WRAP sh -c \"exit $i\"; echo $?; done"),
        (
            "deaths by signal",
            "for s in HUP INT QUIT ILL ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT XCPU SYS 34 64; do (ulimit -c 0; $WRAP sh -c \"kill -$s \\$\\$\"); echo $s $?; done 2>/dev/null",
        ),
        ("not found", "$WRAP /no/such/command 2>/dev/null; echo $?"),
        ("not executable", "$WRAP /etc/passwd 2>/dev/null; echo $?"),
        ("a directory", "$WRAP / 2>/dev/null; echo $?"),
        ("an empty name", "$WRAP '' 2>/dev/null; echo $?"),
        ("a busy file", "f=$(mktemp); cp /bin/true $f; chmod +x $f; exec 8>>$f; $WRAP $f 2>/dev/null; echo $?; rm $f"),
        (
            "signals to the whole group come once",
            "set -m; f=$(mktemp -u); mkfifo $f; $WRAP python3 -c \"$COUNT\" > $f & disown; exec 3<$f; read -u 3; for i in 1 2 3; do kill -USR1 -- -$!; read -u 3; done; kill -HUP -- -$!; read -u 3; kill -TERM -- -$!; cat <&3; rm $f",
        ),
        (
            "signals to us come once",
            "f=$(mktemp -u); mkfifo $f; $WRAP python3 -c \"$COUNT\" > $f & exec 3<$f; read -u 3; for i in 1 2 3; do kill -USR1 $!; read -u 3; done; kill -HUP $!; read -u 3; kill -TERM $!; cat <&3; rm $f",
        ),
        (
            "a limit on file sizes",
            "f=$(mktemp); ulimit -c 0; ulimit -f 1; $WRAP sh -c \"head -c 9999 /dev/zero > $f\" 2>/dev/null; echo $?; stat -c %s $f; rm $f",
        ),
        ("stopped and continued", "$WRAP bash -c '(sleep 0.3; kill -CONT $$) & kill -STOP $$; echo resumed'"),
        ("a broken pipe", "$WRAP yes | head -1; echo ${PIPESTATUS[0]}"),
    ];
    let mut differences = Vec::new();
    for (what, script) in cases {
        let [bare, wrapped] = bare_and_wrapped(flags, script).map(|output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&output.stdout), text(&output.stderr), output.status.code())
        });
        assert!(!bare.0.is_empty(), "{what}: the bare run says nothing: {bare:?}");
        if bare != wrapped {
            differences.push(format!("{what}:\n  bare    {bare:?}\n  wrapped {wrapped:?}"));
        }
    }
    differences
}

#[test]
fn terminal_and_job_control_work_as_without_process_tracer() {
    let [bare, wrapped] = terminal(&["-q", "--"]);
    assert_eq!(wrapped, bare);
}

/// Returns the output of a terminal with job control, without process-tracer and with it.
pub fn terminal(flags: &[&str]) -> [String; 2] {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/integration/terminal.py");
    let wrap = [&[PROCESS_TRACER], flags].concat();
    let [bare, wrapped] = [&[][..], &wrap].map(|prefix| {
        let output = Command::new(crate::harness::python()).arg(script).args(prefix).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    assert_eq!(bare.lines().count(), 14, "{bare}");
    [bare, wrapped]
}
