//! Picks the calls of compilers out of the events of a run.

use std::{collections::HashMap, sync::Arc};

use tracer_model::{
    Event, Identity,
    event::{Image, Visibility},
};

use super::compiler::Program;

/// What the database needs of an event.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A process executed a compiler.
    Compiler {
        /// The process.
        process: Identity,
        /// The image, with all arguments as they are.
        image: Arc<Image>,
        /// Whether each path names the same file for the process and for process-tracer.
        has_our_files: bool,
    },
    /// Such a process ended.
    End(Identity),
}

/// Follows the processes that belong to a compilation. A compiler can execute other compilers: ccache and nvcc do. Their
/// calls are parts of the same compilation, so only the outermost process counts.
#[derive(Debug, Default)]
pub struct Observer {
    processes: HashMap<Identity, Role>,
    /// The mount namespace of the first image.
    mount_namespace: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Compiler,
    /// A compiler has started it, directly or not.
    Part,
}

impl Observer {
    /// Looks at an event before the model does.
    pub fn observe(&mut self, event: &Event) -> Option<Observation> {
        match event {
            Event::Fork { process, parent, .. } => {
                if self.processes.contains_key(parent) {
                    self.processes.insert(*process, Role::Part);
                }
                None
            }
            Event::Exec { process, image, .. } => {
                let mount_namespace = *self.mount_namespace.get_or_insert(image.namespaces.mount);
                if self.processes.get(process) == Some(&Role::Part) || !calls_compiler(image) {
                    return None;
                }
                self.processes.insert(*process, Role::Compiler);
                let has_our_files = image.visibility == Visibility::All
                    && image.namespaces.mount == mount_namespace
                    && !image.has_other_root;
                Some(Observation::Compiler { process: *process, image: Arc::clone(image), has_our_files })
            }
            Event::Exit { process, .. } => match self.processes.remove(process) {
                Some(Role::Compiler) => Some(Observation::End(*process)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Whether an image is a compiler, or a wrapper with a compiler.
fn calls_compiler(image: &Image) -> bool {
    match Program::of(image.name()) {
        Some(Program::Compiler) => true,
        Some(Program::Wrapper) => wrapped(image.arguments.iter().skip(1)).is_some(),
        None => false,
    }
}

/// The place of the compiler in the arguments of a wrapper. Options and settings (`ccache NAME=VALUE gcc`) come before it.
pub(super) fn wrapped(arguments: impl Iterator<Item = impl AsRef<str>>) -> Option<usize> {
    for (place, argument) in arguments.enumerate() {
        let argument = argument.as_ref();
        if Program::of(argument) == Some(Program::Compiler) {
            return Some(place);
        }
        // A wrapper can call another one.
        if !argument.starts_with('-') && !argument.contains('=') && Program::of(argument).is_none() {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tracer_model::{ExitStatus, Ktime};

    use super::*;

    fn process(tgid: u32) -> Identity {
        Identity { tgid, start: Ktime(u64::from(tgid)) }
    }

    fn exec(tgid: u32, arguments: &[&str]) -> Event {
        let image = Image { file: arguments[0].to_owned(), arguments: arguments.iter().collect(), ..Image::default() };
        let (at, parent) = (Ktime(9), process(1));
        let (environment, context) = (None, None);
        Event::Exec { at, process: process(tgid), parent, image: Arc::new(image), environment, context }
    }

    fn fork(parent: u32, child: u32) -> Event {
        Event::Fork { process: process(child), parent: process(parent), is_root: false }
    }

    fn exit(tgid: u32) -> Event {
        let (at, status) = (Ktime(10), ExitStatus::Code(0));
        Event::Exit { at, process: process(tgid), parent: process(1), status, is_oom_victim: false, usage: None }
    }

    #[test]
    fn compilers_below_a_compiler_are_parts_of_its_compilation() {
        let events = [
            exec(1, &["make"]),
            fork(1, 2),
            exec(2, &["/usr/bin/ccache", "gcc", "-c", "a.c"]),
            fork(2, 3),
            exec(3, &["/usr/bin/gcc", "-c", "/tmp/a.i"]),
            fork(3, 4),
            exec(4, &["/usr/bin/clang", "-cc1"]),
            exit(4),
            exit(3),
            exit(2),
            fork(1, 5),
            exec(5, &["/usr/bin/ccache", "--show-stats"]),
            exit(5),
            fork(1, 3),
            exec(3, &["/usr/bin/distcc", "-j"]),
            fork(3, 6),
            exec(6, &["cc", "-c", "b.c"]),
        ];
        let mut observer = Observer::default();
        let seen: Vec<_> = events
            .iter()
            .filter_map(|event| observer.observe(event))
            .map(|observation| match observation {
                Observation::Compiler { process, image, .. } => format!("{} {}", process.tgid, image.file),
                Observation::End(process) => format!("{} ends", process.tgid),
            })
            .collect();
        assert_eq!(seen, ["2 /usr/bin/ccache", "2 ends", "6 cc"]);
    }
}
