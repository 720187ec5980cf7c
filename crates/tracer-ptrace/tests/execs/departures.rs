//! The whole event source: it leaves programs that tracing would break, counts them, and follows the rest of the tree.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _, unix::process::ExitStatusExt as _},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use tracer_model::{
    Event, ExitStatus, Ktime,
    event::Usage,
    source::{Child, ChildChange, End, EventStream as _, Source as _, Spawn},
};

use tracer_ptrace::Ptrace;

use crate::tracer::{NOBODY, Programs, Setting, become_nobody, give, observed};

/// Starts a command under the source.
fn launch(source: &Ptrace, command: &[&str], output: OwnedFd) -> Box<dyn Child> {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    process.stdout(output.try_clone().unwrap()).stderr(output);
    let spawn: Spawn = Box::new(move |after_fork| {
        let after_fork = after_fork.expect("the source waits for the new process");
        // SAFETY: `after_fork` makes only async-signal-safe calls.
        unsafe { process.pre_exec(after_fork) };
        let child: Box<dyn Child> = Box::new(Running(process.spawn()?));
        Ok::<_, io::Error>(child)
    });
    source.launch(spawn).unwrap()
}

/// The end of the command. `meanwhile` is called again and again.
fn end_of(child: &mut dyn Child, meanwhile: &mut dyn FnMut()) -> End {
    loop {
        meanwhile();
        match child.look() {
            Some(ChildChange::Ended(end)) => return end,
            _ => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Runs the command. Returns a report and the status. The report has the execs and the ends of processes that were left,
/// in order. Then it has the losses and the warnings.
fn observe(command: &[&str], output: OwnedFd) -> (String, i32) {
    let (source, mut stream) = tracer_ptrace::observe(false, 16 << 20).unwrap();
    let mut child = launch(&source, command, output);
    let mut text = String::new();
    let mut handle = |event: Event| match event {
        Event::Exec { image, .. } => {
            writeln!(text, "exec {}", image.file.rsplit('/').next().unwrap_or_default()).unwrap();
        }
        Event::Exit { status: ExitStatus::Withheld, .. } => text.push_str("end of a process that was left\n"),
        _ => {}
    };
    let end = end_of(&mut *child, &mut || {
        stream.drain(Ktime(0), &mut handle).unwrap();
    });
    stream.finish(Ktime(0), &end, &mut handle);
    let losses = source.losses();
    let counts = [losses.privileged_programs, losses.tracing_programs, losses.traced_targets, losses.lost_privileges];
    writeln!(text, "{counts:?}").unwrap();
    for warning in source.warnings() {
        writeln!(text, "{warning}").unwrap();
    }
    (text, end.status.shell_code().map_or(-1, i32::from))
}

struct Running(std::process::Child);

impl Child for Running {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn look(&mut self) -> Option<ChildChange> {
        let status = self.0.try_wait().unwrap()?;
        let status = ExitStatus::from_wait_status(status.into_raw().cast_unsigned());
        Some(ChildChange::Ended(End { status, usage: Usage::default() }))
    }
}

/// Runs the command under the source. Returns its output and status, and the report of the source.
fn run(directory: &Path, command: &[&str]) -> (String, i32, String) {
    let setting = Setting { directory, prepare: &|| (), become_user: &become_nobody };
    let (run, notes) = observed(&setting, &|output, notes| {
        let (text, status) = observe(command, output);
        File::from(notes).write_all(text.as_bytes()).unwrap();
        status
    });
    (run.output, run.status, notes)
}

/// Runs a shell that executes 300 programs. The events are not read in the meantime. Returns the forks, execs and exits
/// that were read at the end, the lost ones, and the status.
fn unread(output: OwnedFd) -> ([u64; 3], [u64; 3], i32) {
    let (source, mut stream) = tracer_ptrace::observe(false, 8 << 10).unwrap();
    let script = "i=0; while [ $i -lt 300 ]; do /bin/true || exit 9; i=$((i+1)); done; exit 3";
    let mut child = launch(&source, &["sh", "-c", script], output);
    let end = end_of(&mut *child, &mut || ());
    let mut read = [0; 3];
    stream.finish(Ktime(0), &end, &mut |event| match event {
        Event::Fork { .. } => read[0] += 1,
        Event::Exec { .. } => read[1] += 1,
        Event::Exit { .. } => read[2] += 1,
        _ => {}
    });
    let losses = source.losses();
    let lost = [losses.forks, losses.execs, losses.exits];
    assert_eq!(source.lost_events(), lost.iter().sum::<u64>());
    (read, lost, end.status.shell_code().map_or(-1, i32::from))
}

#[test]
fn unread_events_are_counted_and_the_command_continues() {
    let programs = Programs::new();
    let setting = Setting { directory: programs.path(), prepare: &|| (), become_user: &become_nobody };
    let (run, notes) = observed(&setting, &|output, notes| {
        let (read, lost, status) = unread(output);
        write!(File::from(notes), "{read:?} {lost:?} {:?}", [read[0] + lost[0], read[1] + lost[1], read[2] + lost[2]])
            .unwrap();
        status
    });
    assert_eq!((run.status, &*run.output), (3, ""));
    assert!(notes.ends_with(" [301, 301, 301]"), "{notes}");
    // The buffer has room for a few programs.
    assert!(notes.starts_with("[") && !notes.starts_with("[301") && !notes.starts_with("[0"), "{notes}");
}

#[test]
fn setuid_program_is_left_and_counted_and_the_shell_is_followed() {
    let programs = Programs::new();
    let show = programs.compile("show.c", "show", &[]);
    give(&show, 0, 0, 0o4755);
    let (output, status, notes) = run(programs.path(), &["sh", "-c", "./show; /bin/true; exit 3"]);
    assert!(output.contains("uid 65534 0 0") && output.contains("TracerPid:\t0"), "{output}");
    // The end is seen at the next check, so it can come after the next exec.
    let (ends, others): (Vec<_>, Vec<_>) = notes.lines().partition(|line| line.starts_with("end"));
    assert_eq!(ends.len(), 1, "{notes}");
    assert_eq!((status, &*others), (3, &["exec sh", "exec show", "exec true", "[1, 0, 0, 0]"][..]));
}

#[test]
fn setuid_command_is_left_and_its_status_is_known() {
    let programs = Programs::new();
    let show = programs.compile("show.c", "show", &[]);
    give(&show, 0, 0, 0o4755);
    let (output, status, notes) = run(programs.path(), &["./show"]);
    assert!(output.contains("uid 65534 0 0"), "{output}");
    assert_eq!((status, &*notes), (42, "exec show\n[1, 0, 0, 0]\n"));
}

#[test]
fn program_without_its_privileges_is_counted_and_named() {
    let programs = Programs::new();
    programs.compile("by_descriptor.c", "by_descriptor", &[]);
    let show = programs.compile("show.c", "show", &[]);
    give(&show, 0, 0, 0o4755);
    give(programs.path(), NOBODY, NOBODY, 0o755);
    let (output, status, notes) = run(programs.path(), &["./by_descriptor", show.to_str().unwrap(), "deleted"]);
    assert!(output.contains("uid 65534 65534 65534"), "{output}");
    assert_eq!(status, 42);
    assert!(
        notes.ends_with("[0, 0, 0, 1]\nshow runs without its privileges: its file has no path any more\n"),
        "{notes}"
    );
}

#[test]
fn debugger_and_its_target_are_left() {
    let programs = Programs::new();
    let script = "sleep 600 & while [ \"$(cat /proc/$!/comm)\" != sleep ]; do :; done
        gdb -q -nx -batch -p $! -ex 'info proc' -ex detach; kill $!; exit 4";
    let (output, status, notes) = run(programs.path(), &["sh", "-c", script]);
    assert!(output.contains("cmdline = 'sleep 600'"), "{output}");
    assert_eq!(status, 4);
    assert!(notes.contains("exec gdb\n") && notes.ends_with("[0, 1, 1, 0]\n"), "{notes}");
}

#[test]
fn debugger_of_the_command_itself_works() {
    let programs = Programs::new();
    let script = "sh -c 'exec gdb -q -nx -batch -p '$$' -ex \"info proc\" -ex detach'; exit 5";
    let (output, status, notes) = run(programs.path(), &["sh", "-c", script]);
    assert!(output.contains("cmdline = 'sh -c"), "{output}");
    assert_eq!(status, 5);
    assert!(notes.ends_with("[0, 1, 1, 0]\n"), "{notes}");
}

#[test]
fn target_with_threads_and_a_stopped_target_are_left() {
    let programs = Programs::new();
    let threads = "import threading, time, sys
for _ in range(20): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print('ready', flush=True); time.sleep(600)";
    programs.script("threads.py", threads);
    let script = "/usr/bin/python3 threads.py > ready & target=$!; while [ ! -s ready ]; do sleep 0.02; done
        gdb -q -nx -batch -p $target -ex 'info threads' -ex detach 2>&1 | grep -c 'Thread .*LWP'; kill $target
        sleep 600 & target=$!; kill -STOP $target
        until grep -q '^State:.[Tt]' /proc/$target/status; do :; done
        gdb -q -nx -batch -p $target -ex 'info proc' -ex detach 2>&1 | grep -c '^cmdline'
        until grep -q '^State:.T' /proc/$target/status; do :; done
        kill -KILL $target; wait $target; echo $?; exit 6";
    give(programs.path(), NOBODY, NOBODY, 0o755);
    let (output, status, notes) = run(programs.path(), &["sh", "-c", script]);
    let lines: Vec<_> = output.lines().collect();
    assert!(lines[0].parse::<u32>().is_ok_and(|threads| threads >= 21), "{output}");
    // The shell can print "Killed" before the status.
    assert!(lines[1] == "1" && lines.last() == Some(&"137"), "{output}");
    assert_eq!(status, 6);
    assert!(notes.ends_with("[0, 2, 2, 0]\n"), "{notes}");
}
