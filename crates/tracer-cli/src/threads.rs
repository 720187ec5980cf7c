//! The threads of this process: when there is one only, and how others are started.

use std::{
    cell::Cell,
    io,
    marker::PhantomData,
    panic::resume_unwind,
    thread::{self, JoinHandle},
};

/// Proof that this process has one thread. Only then the environment may change: setenv(3) is not thread-safe.
///
/// It cannot go to another thread. A thread that outlives the function that starts it takes [`Threads`], and [`Threads`] ends
/// this proof.
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

    /// From here on there may be several threads.
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
    /// The kernel has no thread for us.
    pub(crate) fn start<T: Send + 'static>(
        self,
        name: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        thread::Builder::new().name(name.to_owned()).spawn(act)
    }

    /// Starts a thread whose panics print nothing. Its joiner has to report them: while the command runs, its terminal must
    /// not show anything of ours.
    ///
    /// # Errors
    ///
    /// The kernel has no thread for us.
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

/// Runs `act` in a thread of its own and waits for it. A panic is passed on, and is as quiet as it is here.
///
/// # Errors
///
/// Those of `act`. The kernel has no thread for us.
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

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether panics of this thread print nothing.
pub(crate) fn is_quiet() -> bool {
    IS_QUIET.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_thread_passes_its_silence_on_to_the_threads_it_waits_for() {
        let is_quiet_apart = || apart("apart", || Ok(is_quiet())).unwrap();
        let threads = Threads::of_test();
        assert!(threads.start_quiet("quiet", move || is_quiet() && is_quiet_apart()).unwrap().join().unwrap());
        assert!(!threads.start("loud", move || is_quiet() || is_quiet_apart()).unwrap().join().unwrap());
        assert!(!is_quiet());
    }
}
