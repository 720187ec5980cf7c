//! All forms of fork, exec and exit.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::harness::{PROCESS_TRACER, Run, trace_python, trace_script, trace_workload, workload};
use crate::trace::{STATUS_ERROR, Span, Trace};

fn pid(word: &str) -> u32 {
    word.parse().unwrap()
}

fn name_of_workload() -> &'static str {
    workload().file_name().unwrap().to_str().unwrap()
}

fn images(span: &Span) -> Vec<String> {
    span.events.iter().map(|event| event.attributes["process.command_args"].clone()).collect()
}

/// Each printed line `child A of B` is a span A below the span B.
fn assert_children_as_told(run: &Run) -> usize {
    let mut count = 0;
    for words in run.told("child") {
        let (child, parent) = (run.trace.process(pid(words[1])), run.trace.process(pid(words[3])));
        assert_eq!(child.parent_id, parent.span_id);
        assert_eq!(child.attribute("process.parent_pid"), words[3]);
        count += 1;
    }
    count
}

#[test]
fn a_script_is_the_parent_of_its_commands() {
    let run = trace_script(&[], "cd /usr; /bin/echo one two; (exit 4); exit 3");
    run.trace.assert_complete();
    assert_eq!(run.code(), Some(3));
    assert_eq!(run.stdout, "one two\n");
    let root = run.trace.root();
    assert_eq!((root.name.as_str(), root.status, root.attribute("error.type")), ("sh", STATUS_ERROR, "3"));
    let echo = run.trace.named("echo");
    assert_eq!(echo.parent_id, root.span_id);
    assert_eq!(echo.attribute("process.command_args"), "[/bin/echo, one, two]");
    assert_eq!(echo.attribute("process.args_count"), "3");
    let executable = std::fs::canonicalize("/bin/echo").unwrap();
    assert_eq!(echo.attribute("process.executable.path"), executable.to_str().unwrap());
    assert_eq!(echo.attribute("process.working_directory"), "/usr");
    assert_eq!(echo.attribute("process.user.id"), nix::unistd::geteuid().to_string());
    assert_eq!((echo.attribute("process.exit.code"), echo.status), ("0", 0));
    let subshell: Vec<_> = run.trace.children_of(root).filter(|span| span.name == "sh").collect();
    assert_eq!(subshell.len(), 1);
    assert_eq!(subshell[0].attribute("process_tracer.fork"), "true");
    assert_eq!(subshell[0].attribute("process.exit.code"), "4");
}

#[test]
fn an_orphan_stays_below_the_parent_that_forked_it() {
    let run = trace_workload(&["orphan"]);
    run.trace.assert_complete();
    let words = run.told("orphan").next().unwrap();
    let (orphan, parent) = (run.trace.process(pid(words[1])), run.trace.process(pid(words[3])));
    assert_eq!(orphan.parent_id, parent.span_id);
    assert_eq!(orphan.attribute("process.parent_pid"), words[3]);
    assert_eq!(parent.attribute("process.exit.code"), "7");
    assert!(orphan.end > parent.end);
    assert_eq!(assert_children_as_told(&run), 1);
}

#[test]
fn a_chain_of_execs_is_one_span() {
    let run = trace_workload(&["exec-chain"]);
    run.trace.assert_complete();
    assert_eq!(run.code(), Some(5));
    assert_eq!(run.trace.spans.len(), 1);
    let root = run.trace.root();
    let path = workload().to_str().unwrap();
    assert_eq!(root.name, name_of_workload());
    assert_eq!(images(root).len(), 4, "{root:#?}");
    assert_eq!(images(root)[2..], [format!("[env, LINK=last, {path}, exit, 5]"), format!("[{path}, exit, 5]")]);
    assert!(root.events.is_sorted_by_key(|event| event.at));
    assert_eq!(root.attribute("process.command_args"), format!("[{path}, exit, 5]"));
}

#[test]
fn an_exec_by_a_thread_belongs_to_its_process() {
    let run = trace_workload(&["thread-exec"]);
    run.trace.assert_complete();
    assert_eq!((run.code(), run.trace.spans.len()), (Some(6), 1));
    let words = run.told("process").next().unwrap();
    assert_ne!(words[1], words[3], "the leader itself has called exec");
    let root = run.trace.process(pid(words[1]));
    assert_eq!(root.attribute("process.command_args"), "[replaced, exit, 6]");
    assert_eq!(root.attribute("process.exit.code"), "6");
}

#[test]
fn a_process_outlives_its_leader() {
    let run = trace_workload(&["leader-first"]);
    run.trace.assert_complete();
    assert_eq!((run.code(), run.trace.spans.len()), (Some(8), 1));
    let root = run.trace.root();
    assert_eq!(root.attribute("process.exit.code"), "8");
    assert!(root.end - root.start >= 100_000_000, "the span ended with the leader");
}

#[test]
fn vfork_is_a_fork() {
    let run = trace_workload(&["vfork"]);
    run.trace.assert_complete();
    let child = run.trace.process(pid(run.told("child").next().unwrap()[1]));
    assert_eq!(child.attribute("process.command_args"), "[vforked, exit, 9]");
    assert_eq!(child.attribute("process.exit.code"), "9");
    assert_eq!(child.parent_id, run.trace.root().span_id);
}

#[test]
fn ten_thousand_forks_are_ten_thousand_spans() {
    let run = trace_workload(&["forks", "10000"]);
    run.trace.assert_complete();
    assert_eq!(run.trace.spans.len(), 10_001);
    let root = run.trace.root();
    let mut codes = vec![0; 251];
    for child in run.trace.children_of(root) {
        codes[child.attribute("process.exit.code").parse::<usize>().unwrap()] += 1;
    }
    let expected: Vec<_> = (0..251).map(|code| (0..10_000).filter(|i| i % 251 == code).count()).collect();
    assert_eq!(codes, expected);
}

#[test]
fn a_deep_tree_keeps_its_depth() {
    let run = trace_workload(&["deep", "200"]);
    run.trace.assert_complete();
    assert_eq!(run.trace.spans.len(), 201);
    assert_eq!(assert_children_as_told(&run), 200);
}

#[test]
fn a_wide_tree_keeps_its_width() {
    let run = trace_workload(&["wide", "1000"]);
    run.trace.assert_complete();
    assert_eq!(run.trace.spans.len(), 1001);
    assert_eq!(assert_children_as_told(&run), 1000);
}

#[test]
fn processes_that_outlive_the_command_are_unfinished() {
    let run = trace_workload(&["background", "10000"]);
    run.trace.assert_complete();
    assert_eq!(assert_children_as_told(&run), 1);
    let child = run.trace.process(pid(run.told("child").next().unwrap()[1]));
    assert_eq!(child.attribute("process_tracer.unfinished"), "true");
    assert_eq!(child.status, 0);
    assert!(!child.attributes.contains_key("process.exit.code"));
}

#[test]
fn death_by_signal_is_recorded_and_process_tracer_dies_by_it_too() {
    use std::os::unix::process::ExitStatusExt;
    for (number, name) in [(9, "SIGKILL"), (15, "SIGTERM"), (11, "SIGSEGV"), (6, "SIGABRT")] {
        let run = trace_workload(&["die", &number.to_string()]);
        run.trace.assert_complete();
        assert_eq!(run.output.status.signal(), Some(number));
        let root = run.trace.root();
        assert_eq!(root.attribute("process_tracer.exit.signal"), name);
        assert_eq!(root.attribute("process.exit.code"), (128 + number).to_string());
        assert_eq!((root.status, root.attribute("error.type")), (STATUS_ERROR, name));
    }
}

#[test]
fn process_tracer_returns_each_exit_code() {
    for code in [0, 1, 2, 77, 125, 126, 127, 128, 200, 255] {
        let run = trace_workload(&["exit", &code.to_string()]);
        assert_eq!(run.code(), Some(code));
        assert_eq!(run.trace.root().attribute("process.exit.code"), code.to_string());
    }
}

#[test]
fn arguments_are_complete_up_to_128_kib_and_marked_beyond() {
    let run = trace_workload(&["long-argument", "50000"]);
    run.trace.assert_complete();
    let root = run.trace.root();
    let long = "x".repeat(50_000);
    assert_eq!(root.attribute("process.command_args"), format!("[long, exit, 0, {long}, {long}]"));

    let run = trace_workload(&["long-argument", "100000"]);
    run.trace.assert_sound();
    let root = run.trace.root();
    assert_eq!(root.attribute("process.args_count"), "5");
    assert_eq!(root.attribute("process_tracer.args.size"), (5 + 5 + 2 + 2 * 100_001).to_string());
    let captured = root.attribute("process.command_args");
    assert!(captured.starts_with("[long, exit, 0, xxx") && captured.len() > 128 * 1024);
    assert_eq!(root.attribute("process_tracer.complete"), "false");
    assert_eq!(root.attribute("process_tracer.lost.cut_arguments"), "1");
    assert!(run.stderr.contains("incomplete: 1 command line cut"), "{}", run.stderr);
}

#[test]
fn a_script_has_its_own_name_and_the_executable_of_its_interpreter() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("configure");
    crate::harness::write_program(&script, "#!/bin/sh\nexit 0\n");
    let run = crate::harness::trace_with(&[], &[&script]);
    run.trace.assert_complete();
    let root = run.trace.root();
    assert_eq!(root.name, "configure");
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(root.attribute("process.executable.path"), shell.to_str().unwrap());
}

#[test]
fn a_script_keeps_its_name_behind_env_and_another_shell() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("tool", "#!/usr/bin/env sh\nexit 0\n"),
        ("configure", "#!/bin/sh\n[ \"$AGAIN\" ] || AGAIN=1 exec bash \"$0\" \"$@\"\nexit 0\n"),
    ] {
        let script = folder.path().join(name);
        crate::harness::write_program(&script, content);
        for source in ["ebpf", "ptrace"] {
            let run = crate::harness::trace_with(&["--source", source], &[&script]);
            run.trace.assert_complete();
            let root = run.trace.root();
            assert_eq!((root.name.as_str(), root.events.len()), (name, 2), "{source}");
            assert_eq!(root.attribute("process_tracer.script"), script.to_str().unwrap(), "{source}");
            // If the command line begins with the shell, the span is named after the shell and the script.
            let run = crate::harness::trace_with(&["--source", source], &[Path::new("bash"), &script]);
            assert_eq!(run.trace.root().name, format!("bash {name}"), "{source}");
        }
    }
}

#[test]
fn a_program_that_executes_proc_self_exe_has_the_name_of_its_file() {
    let run = trace_script(&[], "(exec /proc/self/exe -c 'exit 3'); :");
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(
        run.trace.children_of(run.trace.root()).next().unwrap().name,
        shell.file_name().unwrap().to_str().unwrap()
    );
}

#[test]
fn a_file_in_memory_has_one_name() {
    let script = "import os
m = os.memfd_create('parcel')
os.write(m, open('/bin/true', 'rb').read())
os.fork() or os.execve(m, ['x'], {})
os.wait()";
    let run = trace_python(&[], script, &[]);
    run.trace.assert_complete();
    let child = run.trace.children_of(run.trace.root()).next().unwrap();
    assert_eq!((child.name.as_str(), child.attribute("process.executable.path")), ("memfd", "/memfd:parcel"));
}

#[test]
fn resource_usage_is_what_the_kernel_reports_to_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let run = trace_workload(&["use", file.to_str().unwrap()]);
    run.trace.assert_complete();
    let told: Vec<f64> = run.told("used").next().unwrap()[1..].iter().map(|word| word.parse().unwrap()).collect();
    let [user_us, system_us, peak, faults, switches] = told[..] else { panic!("{}", run.stdout) };
    let root = run.trace.root();
    let value = |key: &str| root.attribute(&format!("process_tracer.{key}")).parse::<f64>().unwrap();
    // The process reads its usage shortly before its end.
    let is_about = |value: f64, told: f64, more: f64| value >= told * 0.98 && value <= told * 1.05 + more;
    let cpu = value("cpu.user_time") + value("cpu.system_time");
    assert!(cpu > 0.45 && is_about(cpu * 1e6, user_us + system_us, 50_000.0), "{cpu}: {}", run.stdout);
    assert!(is_about(value("memory.peak"), peak, 0.0), "{root:#?}: {}", run.stdout);
    assert!(is_about(value("page_faults.minor"), faults, 100.0), "{root:#?}: {}", run.stdout);
    assert!(is_about(value("context_switches.voluntary"), switches, 20.0), "{root:#?}: {}", run.stdout);
    assert_eq!(root.attribute("process_tracer.threads"), "3");
    // The bytes that the child has written do not count for its parent.
    let told_itself: usize = run.stdout.lines().map(|line| line.len() + 1).sum();
    assert_eq!(root.attribute("process_tracer.io.written_chars"), ((3 << 20) + told_itself).to_string());
    assert!(value("io.read_chars") >= f64::from(1 << 20), "{root:#?}");
    let child = run.trace.children_of(root).next().unwrap();
    assert_eq!(child.attribute("process_tracer.io.written_chars"), "256");
    assert!(!child.has("process_tracer.threads"));
    // The kernel also counts a total for the tree: the process and its child together.
    assert!(value("tree.cpu.user_time") + value("tree.cpu.system_time") >= cpu * 0.98, "{root:#?}");
    assert!(is_about(value("tree.memory.peak"), peak, 0.0), "{root:#?}");
}

#[test]
fn group_session_and_namespaces_are_recorded() {
    let run = trace_script(&[], "/bin/true; cat /proc/self/cgroup; setsid --wait sh -c 'echo $$; /bin/true'; true");
    run.trace.assert_complete();
    let session = nix::unistd::getsid(None).unwrap().to_string();
    let lines = || run.stdout.lines().filter(|line| line.starts_with("0::/") || line.contains(":memory:"));
    let line = lines().find(|line| line.starts_with("0::/") && line.len() > 4).or(lines().next()).unwrap();
    let path = line.splitn(3, ':').last().unwrap();
    let other = run.stdout.lines().last().unwrap();
    for span in run.trace.processes().filter(|span| span.has("process.group_leader.pid")) {
        // In a container the beginning of the cgroup path is not visible from within.
        assert!(span.attribute("process.linux.cgroup").ends_with(path), "{span:#?}");
        let is_in_new_session = span.attribute("process.pid") == other || span.attribute("process.parent_pid") == other;
        let expected = if is_in_new_session { other } else { &session };
        // The test can run in the kernel's own session, which has no leader.
        let leader = span.attributes.get("process.session_leader.pid").map_or("0", String::as_str);
        assert_eq!(leader, expected, "{span:#?}");
        let is_interactive = !is_in_new_session && std::fs::File::open("/dev/tty").is_ok();
        assert_eq!(span.attribute("process.interactive"), is_interactive.to_string());
    }
    assert!(run.trace.root().has("process.linux.cgroup"));
}

#[test]
fn a_process_is_below_the_span_that_its_environment_names() {
    let step = "7777777777777777";
    let script = format!(
        "/bin/echo $TRACEPARENT; TRACEPARENT=${{TRACEPARENT%-*-*}}-{step}-01 sh -c '/bin/true; true'; env -i A=1 /bin/cat /dev/null"
    );
    // Without `-a`, only TRACEPARENT is read from the environment. With this `-a`, all of the environment is read.
    for flags in [&[][..], &["-a", "a=env[\"A\"]"]] {
        let run = trace_script(flags, &script);
        run.trace.assert_complete();
        let root = run.trace.root();
        assert_eq!(run.stdout.trim(), format!("00-{}-{}-01", root.trace_id, root.span_id));
        let adopted = run.trace.processes().find(|span| span.parent_id == step).unwrap();
        assert_eq!(
            (adopted.name.as_str(), adopted.links.as_slice()),
            ("sh", &[(root.trace_id.clone(), root.span_id.clone())][..])
        );
        assert_eq!(run.trace.named("true").parent_id, adopted.span_id);
        assert_eq!(
            (run.trace.named("echo").parent_id.as_str(), run.trace.named("cat").parent_id.as_str()),
            (root.span_id.as_str(), root.span_id.as_str())
        );
    }
}

#[test]
fn failed_execs_are_recorded_when_requested() {
    let script = "PATH=/nowhere:/etc:/bin; env /etc/passwd; env -S no-such-command; no-such; true";
    let run = trace_script(&["--failed-execs"], script);
    run.trace.assert_complete();
    let failures: Vec<_> = run
        .trace
        .processes()
        .filter(|span| span.name == "env")
        .flat_map(|span| span.events.iter().filter(|event| event.name == "exec_failed"))
        .map(|event| {
            let attempts = event.attributes.get("process_tracer.exec.attempts").cloned();
            (event.attributes["process_tracer.exec.file"].as_str(), event.attributes["error.type"].as_str(), attempts)
        })
        .collect();
    assert_eq!(
        failures,
        [("/etc/passwd", "EACCES", None), ("/bin/no-such-command", "ENOENT", Some("3".to_owned()))],
        "{:#?}",
        run.trace
    );
    let untold = trace_script(&[], script);
    assert!(untold.trace.spans.iter().all(|span| span.events.iter().all(|event| event.name == "exec")));
}

#[test]
fn the_user_of_a_process_is_recorded() {
    let run = trace_script(
        &[],
        "nice -n 3 setpriv --reuid=65534 --regid=65534 --clear-groups /bin/true; unshare --mount --net /bin/echo",
    );
    run.trace.assert_complete();
    let root = run.trace.root();
    assert_eq!((root.attribute("process.user.id"), root.attribute("process.user.name")), ("0", "root"));
    assert_eq!((root.attribute("process_tracer.group.id"), root.attribute("process_tracer.group.name")), ("0", "root"));
    // The tests may run under nice(1).
    let nice: i32 = String::from_utf8(Command::new("nice").output().unwrap().stdout).unwrap().trim().parse().unwrap();
    assert_eq!(root.has("process_tracer.nice"), nice != 0);
    assert!(!root.has("process_tracer.namespace.mount"));
    let other = run.trace.named("true");
    assert_eq!((other.attribute("process.user.id"), other.attribute("process.user.name")), ("65534", "nobody"));
    assert_eq!(other.attribute("process_tracer.group.id"), "65534");
    assert_eq!(other.attribute("process_tracer.nice"), (nice + 3).min(19).to_string());
    let apart = run.trace.named("echo");
    assert!(apart.has("process_tracer.namespace.mount") && apart.has("process_tracer.namespace.network"));
    assert!(!apart.has("process_tracer.namespace.pid") && !apart.has("process.user.name"), "{apart:#?}");
}

#[test]
fn a_process_killed_by_the_out_of_memory_killer_is_marked() {
    // Control groups of version 1 have a separate hierarchy for memory. The limit includes swap, because with swap the test
    // would take a long time.
    let (root, limits) =
        match mounts().into_iter().find(|(kind, _, options)| kind == "cgroup" && options.contains("memory")) {
            Some((_, folder, _)) => (folder, ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]),
            None => {
                std::fs::write(control_groups().join("cgroup.subtree_control"), "+memory").unwrap();
                (control_groups(), ["memory.max", "memory.swap.max"])
            }
        };
    let group = root.join(format!("process-tracer-test-{}", std::process::id()));
    std::fs::create_dir(&group).unwrap();
    std::fs::write(group.join(limits[0]), "20M").unwrap();
    let _ = std::fs::write(group.join(limits[1]), "20M");
    let eat = "x = bytearray(200 << 20); print(len(x))";
    let script = format!(
        "sh -c 'echo $$ > {0}/cgroup.procs; exec {1} -c \"{eat}\"'; sh -c 'kill -9 $$'; true",
        group.display(),
        crate::harness::python()
    );
    let run = trace_script(&[], &script);
    remove_group(&group);
    run.trace.assert_complete();
    let victim = run.trace.named("python3");
    assert_eq!(
        (victim.attribute("process_tracer.exit.signal"), victim.attribute("process_tracer.exit.oom_killed")),
        ("SIGKILL", "true")
    );
    assert_eq!(victim.status_message, "killed by SIGKILL, out of memory");
    let other =
        run.trace.processes().find(|span| span.name == "sh" && span.status_message == "killed by SIGKILL").unwrap();
    assert!(!other.has("process_tracer.exit.oom_killed"));
}

#[test]
fn a_process_has_the_time_that_its_threads_waited_for_a_processor() {
    // Two processes with two threads each share one processor.
    let script = "\
import os, threading, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
waited = []
def spin():
    while time.thread_time() < 0.1:
        pass
    waited.append(int(open('/proc/thread-self/schedstat').read().split()[1]))
for child in range(2):
    if os.fork() == 0:
        thread = threading.Thread(target=spin)
        thread.start()
        thread.join()
        spin()
        print('waited', os.getpid(), sum(waited), flush=True)
        os._exit(0)
for child in range(2):
    os.wait()
";
    let run = trace_python(&[], script, &[]);
    run.trace.assert_complete();
    let children: Vec<_> = run.told("waited").collect();
    assert_eq!(children.len(), 2);
    for words in children {
        let child = run.trace.process(pid(words[1]));
        let seconds: f64 = child.attribute("process_tracer.cpu.wait_time").parse().unwrap();
        let waited: u64 = words[2].parse().unwrap();
        // The attribute has microseconds.
        assert!(waited > 0 && (seconds * 1e6).round() as u64 >= waited / 1000, "{words:?} {child:#?}");
    }
}

#[test]
fn throttling_by_the_cpu_limit_is_recorded_and_summarised() {
    let is_of_cpu = |options: &str| options.split(',').any(|option| option == "cpu");
    let (root, limits): (_, &[_]) =
        match mounts().into_iter().find(|(kind, _, options)| kind == "cgroup" && is_of_cpu(options)) {
            Some((_, folder, _)) => (folder, &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "20000")]),
            None => {
                std::fs::write(control_groups().join("cgroup.subtree_control"), "+cpu").unwrap();
                (control_groups(), &[("cpu.max", "20000 100000")])
            }
        };
    let group = root.join(format!("process-tracer-test-cpu-{}", std::process::id()));
    std::fs::create_dir(&group).unwrap();
    for (file, limit) in limits {
        std::fs::write(group.join(file), limit).unwrap();
    }
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("t.jsonl");
    // On a busy machine, the command might not reach the limit. So the command sets a lower limit until it is throttled.
    let busy = "import os, sys
group, limit, low, high = sys.argv[1:]
set_limit = lambda value: open(os.path.join(group, limit), 'w').write(value)
throttled = lambda: [line for line in open(os.path.join(group, 'cpu.stat')) if line.startswith('nr_throttled')]
before = throttled()
set_limit(low)
while throttled() == before: pass
set_limit(high)";
    let (limit, high) = limits[limits.len() - 1];
    let low = high.replacen("20000", "5000", 1);
    let output = Command::new("sh")
        .args(["-c", "echo $$ > \"$0/cgroup.procs\"; exec \"$@\""])
        .arg(&group)
        .args([PROCESS_TRACER, "-o", "summary", "-o"])
        .arg(&file)
        .args(["--", crate::harness::python(), "-c", busy])
        .arg(&group)
        .args([limit, &low, high])
        .output()
        .unwrap();
    remove_group(&group);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let trace = Trace::read(&file);
    let root = trace.root();
    let number = |key: &str| root.attribute(&format!("process_tracer.cgroup.cpu.{key}")).parse::<f64>().unwrap();
    assert_eq!((number("limit"), number("period")), (0.2, 0.1));
    assert!(number("throttled_periods") > 0.0 && number("throttled_periods") <= number("periods"), "{root:#?}");
    assert!(number("throttled_time") > 0.0, "{root:#?}");
    // The machine can have a second reason, which follows on the same line.
    let line = stderr.lines().find(|line| line.starts_with("  throttled by the CPU limit for "));
    assert!(line.is_some_and(|line| line.contains(": the limit is 0.2 processors")), "{stderr}");
}

#[test]
fn in_a_pid_namespace_a_process_has_two_ids() {
    let script = "unshare --pid --fork sh -c 'echo $$; exec /bin/true'";
    let run = trace_script(&[], script);
    run.trace.assert_complete();
    assert_eq!(run.stdout, "1\n");
    let inner = run.trace.named("true");
    assert_eq!(inner.attribute("process.vpid"), "1");
    assert_ne!(inner.attribute("process.pid"), "1");
    assert!(!run.trace.root().has("process.vpid"));
}

/// The mount point of control groups, version 2.
fn control_groups() -> PathBuf {
    let root = mounts().into_iter().find(|(kind, ..)| kind == "cgroup2");
    root.expect("control groups, version 2, have to be mounted").1
}

/// File system, place and options of each mount.
fn mounts() -> Vec<(String, PathBuf, String)> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.map(|fields| (fields[2].to_owned(), fields[1].into(), fields[3].to_owned())).collect()
}

/// The group becomes empty shortly after its processes are reaped.
fn remove_group(group: &Path) {
    for _ in 0..100 {
        if std::fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{} is still in use", group.display());
}

#[test]
fn a_container_is_known_by_its_control_group() {
    let id = format!("{:064x}", std::process::id());
    let name = format!("docker-{id}.scope");
    let group = control_groups().join(&name);
    std::fs::create_dir(&group).unwrap();
    let script = format!("/bin/true; sh -c 'echo $$ > {}/cgroup.procs; /bin/echo'", group.display());
    let run = trace_script(&[], &script);
    run.trace.assert_complete();
    remove_group(&group);
    let inside = run.trace.named("echo");
    assert_eq!(inside.attribute("container.id"), id);
    assert!(inside.attribute("process.linux.cgroup").ends_with(&format!("/{name}")), "{inside:#?}");
    assert!(!run.trace.named("true").has("container.id"));
}

/// With control groups of version 1, Docker's own driver puts a container's processes into the hierarchy for memory. On a
/// machine without version 1, this test uses version 2.
#[test]
fn a_container_is_known_by_its_control_group_for_memory() {
    let memory = mounts().into_iter().find(|(kind, _, options)| kind == "cgroup" && options.contains("memory"));
    let (root, hierarchy) = memory.map_or_else(|| (control_groups(), "0::/"), |(_, folder, _)| (folder, ":memory:/"));
    let id = format!("{:064x}", std::process::id());
    let group = root.join("docker-test").join(&id);
    std::fs::create_dir_all(&group).unwrap();
    let script = format!("/bin/true; sh -c 'echo $$ > {}/cgroup.procs; exec /bin/echo'", group.display());
    for source in ["ebpf", "ptrace"] {
        let run = trace_script(&["--source", source], &script);
        let inside = run.trace.named("echo");
        assert_eq!(inside.attribute("container.id"), id, "{source}");
        let line = inside.attribute("process.linux.cgroup");
        assert!(line.contains(hierarchy) && line.ends_with(&format!("/docker-test/{id}")), "{line}");
        assert!(!run.trace.named("true").has("container.id"), "{source}");
    }
    remove_group(&group);
    remove_group(group.parent().unwrap());
}

/// With control groups of version 1, Podman can put a container only into the hierarchy of systemd. On a machine without
/// version 1, this test uses version 2.
#[test]
fn with_ptrace_a_container_is_known_by_its_control_group_of_systemd() {
    let systemd = mounts().into_iter().find(|(kind, _, options)| kind == "cgroup" && options.contains("name=systemd"));
    let root = systemd.map_or_else(control_groups, |(_, folder, _)| folder);
    let id = format!("{:064x}", std::process::id());
    let group = root.join(format!("libpod-{id}.scope"));
    std::fs::create_dir(&group).unwrap();
    let script = format!("/bin/true; sh -c 'echo $$ > {}/cgroup.procs; exec /bin/echo'", group.display());
    let run = trace_script(&["--source", "ptrace"], &script);
    remove_group(&group);
    assert_eq!(run.trace.named("echo").attribute("container.id"), id);
    assert!(!run.trace.named("true").has("container.id"));
}

#[test]
fn a_time_namespace_does_not_shift_the_trace() {
    for source in ["ebpf", "ptrace", "none"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.jsonl");
        let nanoseconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", "100000", "--fork", PROCESS_TRACER, "--source", source, "-o"]);
        let before = nanoseconds();
        let output = command.arg(&file).args(["--", "sh", "-c", "/bin/true; :"]).output().unwrap();
        let after = nanoseconds();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let trace = Trace::read(&file);
        // The wall clock may be adjusted in the meantime.
        let second = 1_000_000_000;
        for span in &trace.spans {
            assert!(
                span.start + second >= before && span.end <= after + second,
                "{source}: {before} {after} {span:#?}"
            );
        }
        assert_eq!(trace.spans.len(), if source == "none" { 1 } else { 2 });
    }
}

#[test]
fn the_root_is_named_after_the_typed_program_or_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let run = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = crate::harness::process_tracer();
        command.args(flags).args(["-o", "summary", "-o"]).arg(&file);
        command.args(["--", "sh", "-c", "/bin/true; exec sleep 0"]).envs(variables.iter().copied());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        // The title of the summary is the command as it was typed.
        assert!(stderr.starts_with("sh -c '/bin/true; exec sleep 0'\n"), "{stderr}");
        Trace::read(&file).root().name.clone()
    };
    let job = [("GITHUB_ACTIONS", "true"), ("GITHUB_JOB", "build")];
    assert_eq!(run(&[], &[]), "sh");
    assert_eq!(run(&[], &job), "build: sh");
    assert_eq!(run(&["--root-name", "nightly"], &job), "nightly");
    assert_eq!(run(&["--root-name", "expr:env.GITHUB_JOB + '!'"], &job), "build!");
    // The arguments are those of the command.
    assert_eq!(run(&["--root-name", "expr:args[0] + ' ' + args[1]"], &[]), "sh -c");
    assert_eq!(
        run(&[], &[("PROCESS_TRACER_ROOT_NAME", "expr:'run of ' + cmdline")]),
        "run of sh -c /bin/true; exec sleep 0"
    );
}
