//! The tracer: one thread that waits for stops and deaths, takes notes and lets the tracees continue.

mod departures;

use std::sync::{Arc, atomic::Ordering};

use libc::c_int;
use nix::errno::Errno;
use tracer_model::{
    ExitStatus, Identity, Ktime,
    event::Usage,
    source::{ChildChange, End},
};

use self::departures::Departures;
use crate::{
    gate::Gate,
    image::Reader,
    interrupted,
    kernel::{self, Change, Continue, OPTIONS, Tid},
    notes::Note,
    procfs::{Folder, numbers},
    shared::{Left, Shared},
    tree::{Early, Process, Thread, Tree},
    usage,
};

/// The signal of a stop at a system call, with PTRACE_O_TRACESYSGOOD.
const SYSTEM_CALL: c_int = libc::SIGTRAP | 0x80;

/// Signals that stop a process.
const STOPPING: [c_int; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Lives in its own thread.
pub(crate) struct Tracer {
    shared: Arc<Shared>,
    needs_environment: bool,
    tree: Tree,
    root: Tid,
    departures: Departures,
    tick_ns: u64,
}

impl Tracer {
    pub(crate) fn new(shared: Arc<Shared>, needs_environment: bool) -> Self {
        Self {
            shared,
            needs_environment,
            tree: Tree::default(),
            root: 0,
            departures: Departures::default(),
            tick_ns: usage::tick_ns(),
        }
    }

    /// Traces the process behind the gate, and its descendants. When it returns, its thread must end. Then the kernel
    /// releases all tracees.
    pub(crate) fn run(&mut self, gate: Gate) {
        let mut reader = Reader::new(self.needs_environment);
        if self.begin(gate) {
            self.follow(&mut reader);
        }
    }

    /// Seizes the process behind the gate. Returns whether there is something to trace.
    pub(crate) fn begin(&mut self, mut gate: Gate) -> bool {
        let Some(root) = gate.wait() else { return false };
        self.root = root;
        // The kernel checks the tracer's privileges at this moment.
        self.departures = Departures::for_this_thread();
        let seized = kernel::seize(root, OPTIONS);
        let process = identity(root, self.tree.time());
        let parent = Identity { tgid: std::process::id(), start: Ktime(0) };
        self.shared.note(Note::Fork { process, parent, is_root: true });
        if seized.is_err() {
            self.shared.leave(Left { process, parent });
            return false;
        }
        self.add(root, Process::new(process, parent), false);
        gate.open();
        true
    }

    /// Handles stops and deaths until there is no tracee any more.
    fn follow(&mut self, reader: &mut Reader) {
        // Until the first exec of the command, the standard library waits for the command. If exec fails, the standard
        // library must get the exit status, and not this loop.
        let mut is_in_spawn = true;
        loop {
            if is_in_spawn && kernel::peek().is_ok_and(|is_dead| is_dead) {
                return;
            }
            match kernel::wait() {
                Ok(change) => {
                    is_in_spawn &= !is_event(&change, libc::PTRACE_EVENT_EXEC);
                    self.handle(&change, reader);
                }
                Err(Errno::EINTR) => {}
                // There is no tracee any more.
                Err(_) => return,
            }
        }
    }

    /// Leaves all tracees after a panic. The kernel releases the tracees when the thread ends.
    pub(crate) fn abandon(&self) {
        let root = self.tree.processes.get(&self.root);
        self.shared
            .abandon(root.map(|Process { identity: process, parent, .. }| Left { process: *process, parent: *parent }));
    }

    fn handle(&mut self, change: &Change, reader: &mut Reader) {
        let Change { tid, status, .. } = *change;
        if !libc::WIFSTOPPED(status) {
            self.death(tid, status, &usage::total(&change.usage));
            return;
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == SYSTEM_CALL => self.system_call(tid),
            0 => self.signal(tid, signal),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => self.fork(tid, false),
            libc::PTRACE_EVENT_CLONE => self.fork(tid, true),
            libc::PTRACE_EVENT_EXEC => self.exec(tid, &usage::total(&change.usage), reader),
            libc::PTRACE_EVENT_EXIT => self.exit(tid),
            kernel::EVENT_STOP => self.stop(tid, signal),
            _ => kernel::go_on(tid, Continue::Run, 0),
        }
    }

    fn add(&mut self, tgid: Tid, process: Process, stops_at_exit: bool) {
        self.tree.processes.insert(tgid, process);
        self.tree.threads.insert(tgid, Thread { tgid, stops_at_exit, repeated: None });
        self.shared.set_live(self.tree.processes.len());
    }

    /// Lets a thread continue with a signal, or without one: 0.
    fn go_on(&mut self, tid: Tid, signal: c_int) {
        self.set_options(tid);
        kernel::go_on(tid, Continue::Run, signal);
    }

    /// Gives a stopped thread the options of its process.
    fn set_options(&mut self, tid: Tid) {
        if let Some(thread) = self.tree.threads.get_mut(&tid) {
            let wanted = self.tree.processes.get(&thread.tgid).is_some_and(|process| process.has_forked);
            if wanted != thread.stops_at_exit {
                let more = if wanted { libc::PTRACE_O_TRACEEXIT } else { 0 };
                if kernel::set_options(tid, OPTIONS | more).is_ok() {
                    thread.stops_at_exit = wanted;
                }
            }
        }
    }

    /// Handles three stops: the first stop of a thread, the stop of its process by a signal, and the report that
    /// SIGCONT has ended such a stop.
    fn stop(&mut self, tid: Tid, signal: c_int) {
        let Some(thread) = self.tree.threads.get(&tid) else {
            // This is a new thread. Its creator reports it, unless the creator was killed.
            self.tree.forget_adopted(tid);
            self.tree.add_early(tid, Early::Stopped(signal));
            if self.tree.may_have_orphans() {
                self.adopt_orphans();
            }
            return;
        };
        if STOPPING.contains(&signal) {
            if thread.tgid == self.root && tid == self.root {
                self.shared.report(ChildChange::Stopped { signal });
            }
            kernel::listen(tid);
        } else {
            self.go_on(tid, 0);
        }
    }

    fn signal(&mut self, tid: Tid, signal: c_int) {
        let how = match self.tree.threads.get_mut(&tid) {
            Some(Thread { tgid, repeated, .. }) => {
                if *tgid == self.root && signal != libc::SIGCHLD {
                    receive(&self.shared, tid, signal);
                }
                interrupted::at_signal(*tgid, tid, signal, repeated)
            }
            None => Continue::Run,
        };
        self.set_options(tid);
        kernel::go_on(tid, how, signal);
    }

    fn system_call(&mut self, tid: Tid) {
        let how = match self.tree.threads.get_mut(&tid) {
            Some(thread) => interrupted::at_system_call(tid, &mut thread.repeated),
            None => Continue::Run,
        };
        kernel::go_on(tid, how, 0);
    }

    /// A thread has made another thread, or a process.
    fn fork(&mut self, creator: Tid, may_be_thread: bool) {
        // Linux's pids have 22 bits at most.
        let Ok(tid) = kernel::event_message(creator).map(|tid| tid as Tid) else {
            // It was killed.
            return;
        };
        if self.tree.take_adopted(tid) {
            // Its adoption has added it.
            self.go_on(creator, 0);
            return;
        }
        let time = self.tree.time();
        let Some((thread, process)) = self.tree.process_of(creator) else {
            kernel::go_on(creator, Continue::Run, 0);
            return;
        };
        let (tgid, stops_at_exit, parent) = (thread.tgid, thread.stops_at_exit, process.identity);
        let is_thread = may_be_thread && kernel::has_thread(tgid, tid);
        process.has_forked |= !is_thread;
        // The creator goes on as early as possible.
        self.go_on(creator, 0);
        if is_thread {
            if let Some(process) = self.tree.processes.get_mut(&tgid) {
                process.threads += 1;
            }
            self.tree.threads.insert(tid, Thread { tgid, stops_at_exit, repeated: None });
        } else {
            let child = identity(tid, time);
            self.shared.note(Note::Fork { process: child, parent, is_root: false });
            self.add(tid, Process::new(child, parent), stops_at_exit);
        }
        match self.tree.early.remove(&tid) {
            Some(Early::Stopped(signal)) => self.stop(tid, signal),
            Some(Early::Dead(status, usage)) => self.death(tid, status, &usage),
            None => {}
        }
    }

    fn exec(&mut self, tgid: Tid, total: &Usage, reader: &mut Reader) {
        let has_threads = self.has_threads(tgid);
        // The thread that called exec is looked up only if the process has several threads.
        let former = if has_threads { kernel::event_message(tgid).map_or(tgid, |tid| tid as Tid) } else { tgid };
        if former != tgid {
            // The thread that has called exec is the process now. Its options come with it.
            let thread = self.tree.threads.remove(&former);
            if let Some(thread) = thread {
                self.tree.threads.insert(tgid, thread);
            }
        }
        let at = self.tree.time();
        // Even if nobody reads the events any more, the image shows whether the tracer must leave the program.
        let image = reader.read(tgid);
        if image.is_refused() {
            self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        let has_departed = self.departs(tgid, &image, reader);
        if !has_departed {
            self.go_on(tgid, 0);
        }
        if let Some((_, process)) = self.tree.process_of(tgid) {
            process.execute(total);
            let Process { identity: process, parent, .. } = *process;
            self.shared.note(Note::Exec { at, process, parent, image: Box::new(image) });
        }
        if has_departed {
            self.forget(tgid);
        }
        if has_threads {
            // The exec has killed all other threads.
            self.expect_orphans();
        }
    }

    /// A thread of a process with children is about to end.
    fn exit(&mut self, tid: Tid) {
        let tick_ns = self.tick_ns;
        if !self.shared.is_over()
            && let Some((thread, process)) = self.tree.process_of(tid)
        {
            let (tgid, has_threads) = (thread.tgid, process.threads > 0);
            process.readings.read(tgid, tid, has_threads, tick_ns);
        }
        kernel::go_on(tid, Continue::Run, 0);
    }

    fn death(&mut self, tid: Tid, status: c_int, total: &Usage) {
        let Some(thread) = self.tree.threads.remove(&tid) else {
            self.tree.add_early(tid, Early::Dead(status, *total));
            return;
        };
        if thread.tgid == tid {
            // This was the last thread of the process. If the process was not killed and never had another thread, it has
            // reported all its children.
            let may_leave_orphans = libc::WIFSIGNALED(status) || self.has_threads(tid);
            self.process_death(tid, status, total);
            if may_leave_orphans {
                self.expect_orphans();
            }
        }
    }

    /// Whether the process has ever had more than one thread.
    fn has_threads(&self, tgid: Tid) -> bool {
        self.tree.processes.get(&tgid).is_some_and(|process| process.threads > 0)
    }

    /// Threads were killed. Nobody reports the threads and processes that they have just made. Some of these may reach
    /// their first stop only later.
    fn expect_orphans(&mut self) {
        self.tree.expect_orphans();
        self.adopt_orphans();
    }

    fn process_death(&mut self, tid: Tid, status: c_int, total: &Usage) {
        let Some(process) = self.tree.processes.remove(&tid) else { return };
        let at = self.tree.time();
        self.shared.set_live(self.tree.processes.len());
        if let Some(parent) = self.tree.processes.get_mut(&(process.parent.tgid as Tid)) {
            parent.add_child(total);
        }
        let usage = Some(Box::new(process.own_usage(*total, self.tick_ns)));
        let status = status.cast_unsigned();
        let Process { identity, parent, .. } = process;
        self.shared.note(Note::Exit { at, process: identity, parent, status: Some(status), usage });
        if tid == self.root {
            let end = End { status: ExitStatus::from_wait_status(status), usage: *total };
            self.shared.report(ChildChange::Ended(end));
        }
    }

    /// Adds the threads and processes at their first stop that no creator has reported. A killed creator reports
    /// nothing, and the new threads must not wait for ever. If a report comes later, [`Self::fork`] ignores it.
    fn adopt_orphans(&mut self) {
        let stopped = self.tree.early.iter().filter(|(_, early)| matches!(early, Early::Stopped(_)));
        let orphans: Vec<_> = stopped.map(|(tid, _)| *tid).collect();
        for tid in orphans {
            let status = Folder::of(tid).read("status").unwrap_or_default();
            let number = |name| numbers(&status, name).next().map_or(0, |number| number as Tid);
            let (tgid, parent) = (number("Tgid"), number("PPid"));
            self.tree.adopt(tid);
            if tgid != tid && self.tree.processes.contains_key(&tgid) {
                // Its options are unknown. The next stop sets them.
                self.tree.threads.insert(tid, Thread { tgid, stops_at_exit: true, repeated: None });
                if let Some(process) = self.tree.processes.get_mut(&tgid) {
                    process.threads += 1;
                }
            } else {
                let time = self.tree.time();
                let parent = if self.tree.processes.contains_key(&parent) { parent } else { self.root };
                let nobody = Identity { tgid: 0, start: Ktime(0) };
                let parent = self.tree.processes.get_mut(&parent).map_or(nobody, |parent| {
                    parent.has_forked = true;
                    parent.identity
                });
                let child = identity(tid, time);
                self.shared.note(Note::Fork { process: child, parent, is_root: false });
                self.add(tid, Process::new(child, parent), true);
            }
            if let Some(Early::Stopped(signal)) = self.tree.early.remove(&tid) {
                self.stop(tid, signal);
            }
        }
    }
}

/// Takes note of the sender of a signal to the command, if a process has sent it.
fn receive(shared: &Shared, tid: Tid, signal: c_int) {
    let Ok(info) = kernel::signal_info(tid) else { return };
    // A negative code or 0 means that a system call sent the signal: sigaction(2).
    if info.si_code <= 0 {
        // SAFETY: signals of system calls have this field.
        let sender = unsafe { info.si_pid() };
        shared.receive(signal, sender.cast_unsigned());
    }
}

fn is_event(change: &Change, event: c_int) -> bool {
    libc::WIFSTOPPED(change.status) && change.status >> 16 == event
}

/// Linux's pids have 22 bits at most.
fn identity(tgid: Tid, start: Ktime) -> Identity {
    Identity { tgid: tgid as u32, start }
}
