//! The threads of this process: proof that there is only one, and the start of others.

use std::{
    any::Any,
    cell::Cell,
    io,
    marker::PhantomData,
    panic::resume_unwind,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{time::ClockId, unistd::gettid};

/// Proof that this process has one thread. Only with this proof, the environment may change, because setenv(3) is not
/// thread-safe.
///
/// The proof cannot go to another thread. Only a function with [`Threads`] can start a thread that outlives the function.
/// [`SingleThread::end`] exchanges this proof for [`Threads`].
#[derive(Debug)]
pub(crate) struct SingleThread {
    is_not_send: PhantomData<*const ()>,
}

impl SingleThread {
    /// # Safety
    ///
    /// There is no other thread, and no other [`SingleThread`].
    pub(crate) unsafe fn assume() -> Self {
        Self { is_not_send: PhantomData }
    }

    /// From now on, there may be several threads.
    pub(crate) fn end(self) -> Threads {
        Threads(())
    }
}

/// The right to start threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads(());

impl Threads {
    /// A test has several threads from its beginning, and changes no environment.
    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        Self(())
    }

    /// Starts a thread.
    ///
    /// # Errors
    ///
    /// The kernel cannot start another thread.
    pub(crate) fn start<T: Send + 'static>(
        self,
        name: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        thread::Builder::new().name(name.to_owned()).spawn(act)
    }

    /// Starts a thread whose panics print nothing. The thread that joins it must report them. While the command runs,
    /// its terminal must not show our messages.
    ///
    /// # Errors
    ///
    /// The kernel cannot start another thread.
    pub(crate) fn start_quiet<T: Send + 'static>(
        self,
        name: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        self.start(name, || {
            IS_QUIET.set(true);
            act()
        })
    }
}

/// Runs `act` in a separate thread and waits for it. A panic is passed on. The new thread prints a panic only if this
/// thread does.
///
/// # Errors
///
/// The errors of `act`. It is also an error if the kernel cannot start another thread.
pub(crate) fn apart<T: Send>(name: &str, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let is_quiet = is_quiet();
    thread::scope(|scope| {
        let act = || {
            IS_QUIET.set(is_quiet);
            act()
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, act)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// The clock of the processor time of a thread. Other threads can read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkClock(ClockId);

impl WorkClock {
    pub(crate) fn of_this_thread() -> Self {
        /// `CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED` of linux/posix-timers.h; pthread_getcpuclockid(3) does the same.
        const OF_THREAD: i32 = 6;
        Self(ClockId::from_raw((!gettid().as_raw() << 3) | OF_THREAD))
    }

    /// The time that the thread has used; zero if the thread has ended.
    pub(crate) fn read(&self) -> Duration {
        self.0.now().map(Duration::from).unwrap_or_default()
    }
}

/// The message of a panic, for a user. A panic is a bug.
pub(crate) fn bug(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("this is a bug, please report it: {text}")
}

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread leaves the report of its own panic to the thread that joins it.
pub(crate) fn is_quiet() -> bool {
    IS_QUIET.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_another_thread_can_be_read() {
        let clock = WorkClock::of_this_thread();
        let read = |least| {
            thread::scope(|scope| {
                let reader = scope.spawn(move || {
                    while clock.read() <= least {
                        thread::yield_now();
                    }
                    clock.read()
                });
                while !reader.is_finished() {
                    std::hint::spin_loop();
                }
                reader.join().unwrap()
            })
        };
        assert!(read(read(Duration::ZERO)) > Duration::ZERO);
    }

    #[test]
    fn threads_that_a_quiet_thread_waits_for_are_quiet_too() {
        let is_quiet_apart = || apart("apart", || Ok(is_quiet())).unwrap();
        let threads = Threads::of_test();
        assert!(threads.start_quiet("quiet", move || is_quiet() && is_quiet_apart()).unwrap().join().unwrap());
        assert!(!threads.start("loud", move || is_quiet() || is_quiet_apart()).unwrap().join().unwrap());
        assert!(!is_quiet());
    }
}
