//! The image of a program: read at its exec stop, decoded later.

use std::{borrow::Cow, ffi::CStr, fs, io, mem, sync::Arc};

use hashbrown::HashMap;
use libc::c_int;
use tracer_model::{
    context::{SpanContext, TRACEPARENT},
    event::{Image, Names, Namespaces, RootFolder, Strings, Visibility},
};

use crate::{
    accounts::{Registry, Resident, own_namespaces},
    aside,
    cgroup::{self, ControlGroups},
    kernel::{self, Tid},
    procfs::{Folder, mask, numbers, stat_fields},
};

/// Bytes of the arguments that are read, and bytes of the environment. The eBPF source has the same limits.
const TEXT_LIMIT: usize = 128 * 1024;

/// Bytes of the stack that are read at first. Most programs have no more arguments and variables.
const FIRST_LOOK: usize = 16 * 1024;

/// The largest number of bytes that are read word by word.
const PEEKED: usize = 16 * 1024;

/// The longest path: PATH_MAX of linux/limits.h.
const PATH_BYTES: usize = 4096;

/// The data that was read at an exec stop.
#[derive(Debug, Default)]
pub(crate) struct RawImage {
    /// The short texts of the image. One piece of memory is less work for the tracer than one for each text.
    texts: Texts,
    stack: RawStack,
    executable: Option<Part>,
    directory: Option<Part>,
    root: Part,
    group_leader: Tid,
    session_leader: Tid,
    is_interactive: bool,
    nice: c_int,
    /// It is read only if the process is in another user namespace or pid namespace.
    status: Option<Part>,
    cgroup: Part,
    namespaces: Namespaces,
    tgid: Tid,
    /// The names of its users and groups. Empty unless the process is in another root folder or mount namespace.
    names: Names,
    /// The kernel refused to show some data: the user has changed, or the file of the program is unreadable.
    is_refused: bool,
}

/// The data that the kernel put on the stack of a new program.
#[derive(Debug, Default)]
struct RawStack {
    file: Part,
    /// `file` is the name that the kernel keeps, because it does not show the path.
    has_no_path: bool,
    arguments: Vec<u8>,
    arguments_size: u64,
    argument_count: u64,
    environment: Option<Vec<u8>>,
    environment_size: u64,
    context: Option<Part>,
    /// The variables that decide whether the program needs ptrace itself.
    variables: Part,
    /// Real and effective user id, real and effective group id.
    ids: [u32; 4],
}

/// Texts, one after the other.
#[derive(Debug, Default)]
struct Texts(Vec<u8>);

/// The place of a text in [`Texts`].
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    start: usize,
    end: usize,
}

impl Texts {
    /// Adds what `append` appends.
    fn add(&mut self, append: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<Part> {
        let start = self.0.len();
        append(&mut self.0)?;
        Ok(Part { start, end: self.0.len() })
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> Part {
        let start = self.0.len();
        self.0.extend_from_slice(bytes);
        Part { start, end: self.0.len() }
    }

    fn get(&self, Part { start, end }: Part) -> &[u8] {
        self.0.get(start..end).unwrap_or_default()
    }
}

/// Reads images for one tracer.
pub(crate) struct Reader {
    /// The events need whole environments.
    with_environment: bool,
    own_namespaces: Namespaces,
    /// In our own user namespace, a tracee can possibly enter other namespaces and another root folder.
    may_move: bool,
    /// Whether a session has a terminal. Only the leader of the session can change this. So the next exec of the leader
    /// reads it again.
    terminals: HashMap<Tid, bool>,
    groups: ControlGroups,
    registry: Registry,
    /// Memory of the last image, used again: paths, the stack, texts.
    folder: Folder,
    bytes: Vec<u8>,
    texts: Texts,
}

/// Sessions that are remembered.
const SESSIONS: usize = 1024;

impl Reader {
    pub(crate) fn new(with_environment: bool) -> Self {
        Self {
            with_environment,
            own_namespaces: own_namespaces(),
            may_move: may_move(),
            terminals: HashMap::new(),
            groups: ControlGroups::default(),
            registry: Registry::default(),
            folder: Folder::default(),
            bytes: Vec::new(),
            texts: Texts::default(),
        }
    }

    /// Reads the image of a process at its exec stop.
    pub(crate) fn read(&mut self, tgid: Tid) -> RawImage {
        let (mut folder, mut texts) = (mem::take(&mut self.folder), mem::take(&mut self.texts));
        folder.enter(tgid);
        texts.0.clear();
        let stack = self.stack(tgid, &mut folder, &mut texts);
        let executable = texts.add(|texts| folder.link("exe", texts));
        let is_refused = executable.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        let namespaces = if is_refused { Namespaces::default() } else { self.namespaces(&mut folder, &mut texts) };
        let own = self.own_namespaces;
        let is_elsewhere = namespaces.user != own.user || namespaces.pid != own.pid;
        let needs_root = self.may_move || is_elsewhere;
        let session_leader = kernel::session_of(tgid);
        let mut image = RawImage {
            stack,
            executable: executable.ok(),
            directory: texts.add(|texts| folder.link("cwd", texts)).ok(),
            root: needs_root.then(|| texts.add(|texts| folder.link("root", texts)).ok()).flatten().unwrap_or_default(),
            group_leader: kernel::group_of(tgid),
            session_leader,
            is_interactive: self.has_terminal(session_leader, tgid, &mut folder),
            nice: kernel::nice_of(tgid),
            status: is_elsewhere.then(|| texts.add(|texts| folder.append("status", texts)).ok()).flatten(),
            cgroup: texts.add(|texts| self.groups.append(tgid, &mut folder, texts)).unwrap_or_default(),
            namespaces,
            tgid,
            names: Names::default(),
            is_refused,
            texts: Texts(texts.0.as_slice().to_vec()),
        };
        if !is_refused && (image.has_other_root() || namespaces.mount != own.mount) {
            image.names = self.registry.names(Resident {
                pids: vec![tgid.cast_unsigned()],
                namespaces,
                // The process is stopped.
                root_folder: RootFolder::default(),
                ids: image.ids(),
            });
        }
        (self.folder, self.texts) = (folder, texts);
        image
    }

    /// Without capabilities in our user namespace, a process must first enter another user namespace. Only then can it
    /// enter other namespaces. So if the user namespace is still ours, the others need not be read.
    fn namespaces(&self, folder: &mut Folder, texts: &mut Texts) -> Namespaces {
        let own = self.own_namespaces;
        if !self.may_move && own.user != 0 && folder.namespace("ns/user", &mut texts.0) == own.user {
            own
        } else {
            folder.all_namespaces(&mut texts.0)
        }
    }

    fn has_terminal(&mut self, session: Tid, tgid: Tid, folder: &mut Folder) -> bool {
        if session != tgid
            && let Some(has_terminal) = self.terminals.get(&session)
        {
            return *has_terminal;
        }
        // Field 7 of proc_pid_stat(5).
        let has_terminal =
            folder.read("stat").is_ok_and(|stat| stat_fields(&stat).nth(4).is_some_and(|terminal| terminal != 0));
        if self.terminals.len() >= SESSIONS {
            self.terminals.clear();
        }
        self.terminals.insert(session, has_terminal);
        has_terminal
    }

    fn stack(&mut self, tgid: Tid, folder: &mut Folder, texts: &mut Texts) -> RawStack {
        self.bytes.clear();
        self.read_stack(tgid, texts).unwrap_or_else(|| {
            // The stack cannot be read: the file is unreadable, or this kernel does not say where the stack is.
            let arguments = folder.read("cmdline").unwrap_or_default();
            RawStack {
                file: texts.add_bytes(&name(folder, &arguments)),
                has_no_path: true,
                arguments_size: arguments.len() as u64,
                argument_count: arguments.iter().filter(|byte| **byte == 0).count() as u64,
                arguments,
                ids: folder.read("status").map(|status| ids(&status)).unwrap_or_default(),
                ..RawStack::default()
            }
        })
    }

    /// Reads the stack as create_elf_tables (Linux, fs/binfmt_elf.c) writes it: argc, argv, envp, the auxiliary vector. Above
    /// that are the arguments, the environment and the name of the file, one directly after the other.
    fn read_stack(&mut self, tid: Tid, texts: &mut Texts) -> Option<RawStack> {
        let (start, word) = kernel::stack_pointer(tid).ok()?;
        let mut window = Window { tid, start, word, bytes: mem::take(&mut self.bytes), is_peeked: false };
        let stack = window.extend(FIRST_LOOK).and_then(|()| window.parse(self.with_environment, texts));
        self.bytes = window.bytes;
        stack
    }
}

/// The beginning of a stack.
struct Window {
    tid: Tid,
    start: u64,
    /// Bytes in a pointer.
    word: usize,
    bytes: Vec<u8>,
    is_peeked: bool,
}

impl Window {
    /// Reads `size` bytes more.
    fn extend(&mut self, size: usize) -> Option<()> {
        let end = self.start + self.bytes.len() as u64;
        let before = self.bytes.len();
        if !self.is_peeked {
            match kernel::read_memory(self.tid, end, size, &mut self.bytes) {
                Ok(()) => {}
                Err(_) => self.is_peeked = true,
            }
        }
        if self.is_peeked {
            kernel::peek_memory(self.tid, end, size.min(PEEKED), &mut self.bytes).ok()?;
        }
        (self.bytes.len() > before).then_some(())
    }

    /// The pointer at that index.
    fn pointer(&mut self, index: usize) -> Option<u64> {
        let at = index * self.word;
        while self.bytes.len() < at + self.word {
            self.extend(FIRST_LOOK)?;
        }
        let bytes = self.bytes.get(at..at + self.word)?;
        Some(match self.word {
            4 => u32::from_ne_bytes(bytes.try_into().ok()?).into(),
            _ => u64::from_ne_bytes(bytes.try_into().ok()?),
        })
    }

    /// The bytes from one address up to another, no more than `limit`.
    fn between(&self, from: u64, to: u64, limit: usize) -> Cow<'_, [u8]> {
        let size = (to.saturating_sub(from) as usize).min(limit);
        let offset = from.wrapping_sub(self.start) as usize;
        if let Some(bytes) = self.bytes.get(offset..offset.saturating_add(size)) {
            return Cow::Borrowed(bytes);
        }
        let mut bytes = Vec::new();
        let _ = if self.is_peeked {
            kernel::peek_memory(self.tid, from, size.min(PEEKED), &mut bytes).ok()
        } else {
            kernel::read_memory(self.tid, from, size, &mut bytes).ok()
        };
        Cow::Owned(bytes)
    }

    /// A path.
    fn string(&self, from: u64) -> Cow<'_, [u8]> {
        let offset = from.wrapping_sub(self.start) as usize;
        let here = self.bytes.get(offset..).and_then(|rest| CStr::from_bytes_until_nul(rest).ok());
        here.map(|string| Cow::Borrowed(string.to_bytes())).unwrap_or_else(|| {
            let mut name = self.between(from, from + PATH_BYTES as u64, PATH_BYTES).into_owned();
            name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
            Cow::Owned(name)
        })
    }

    fn parse(&mut self, with_environment: bool, texts: &mut Texts) -> Option<RawStack> {
        let argument_count = self.pointer(0)?;
        let count = usize::try_from(argument_count).ok()?;
        let arguments = self.pointer(1)?;
        let mut index = count + 2;
        let environment = self.pointer(index)?;
        while self.pointer(index)? != 0 {
            index += 1;
        }
        index += 1;
        let (mut file, mut ids) = (0, [0; 4]);
        loop {
            let (kind, value) = (self.pointer(index)?, self.pointer(index + 1)?);
            // Ids have 32 bits: linux/types.h.
            match kind {
                libc::AT_NULL => break,
                libc::AT_EXECFN => file = value,
                libc::AT_UID => ids[0] = value as u32,
                libc::AT_EUID => ids[1] = value as u32,
                libc::AT_GID => ids[2] = value as u32,
                libc::AT_EGID => ids[3] = value as u32,
                _ => {}
            }
            index += 2;
        }
        // Before Linux 5.18, the list of arguments can be empty.
        let end = if environment == 0 { file } else { environment };
        let start = if arguments == 0 { end } else { arguments };
        let environment = if environment == 0 { file } else { environment };
        let text = self.between(environment, file, TEXT_LIMIT);
        let (variables, context) = wanted(&text, texts);
        Some(RawStack {
            file: texts.add_bytes(&self.string(file)),
            has_no_path: false,
            arguments: self.between(start, end, TEXT_LIMIT).into_owned(),
            arguments_size: end.saturating_sub(start),
            argument_count,
            context: context.filter(|_| !with_environment),
            variables,
            environment: with_environment.then(|| text.into_owned()),
            environment_size: file.saturating_sub(environment),
            ids,
        })
    }
}

/// The kernel's name of a program: proc_pid_comm(5). The kernel cuts it after 15 bytes. If the base
/// name of the first argument begins with these bytes, it is the whole name.
fn name(folder: &mut Folder, arguments: &[u8]) -> Vec<u8> {
    const KEPT: usize = 15;
    let mut kept = folder.read("comm").unwrap_or_default();
    kept.truncate(kept.trim_ascii_end().len());
    let first = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if kept.len() == KEPT && first.starts_with(&kept) { first.to_vec() } else { kept }
}

/// Looks at each variable of an environment once. Adds those of [`aside::VARIABLES`], each with a NUL byte behind it, and the
/// variable that names a span.
fn wanted(environment: &[u8], texts: &mut Texts) -> (Part, Option<Part>) {
    let is = |variable: &[u8], name: &str| {
        variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
    };
    let mut context = None;
    let start = texts.0.len();
    for variable in strings(environment) {
        if aside::VARIABLES.iter().any(|name| is(variable, name)) {
            texts.0.extend_from_slice(variable);
            texts.0.push(0);
        } else if context.is_none() && is(variable, TRACEPARENT) {
            context = Some(variable);
        }
    }
    let variables = Part { start, end: texts.0.len() };
    (variables, context.map(|variable| texts.add_bytes(variable)))
}

/// Strings, each with a NUL byte behind it. The last one may be cut off.
fn strings(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        // This search is faster than a loop over the bytes.
        let string = CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes);
        let rest = bytes.get(string.len() + 1..).unwrap_or_default();
        let is_end = bytes.is_empty();
        bytes = rest;
        (!is_end).then_some(string)
    })
}

/// From `/proc/PID/status`: real and effective user id, real and effective group id.
fn ids(status: &[u8]) -> [u32; 4] {
    let mut users = numbers(status, "Uid");
    let mut groups = numbers(status, "Gid");
    // Ids have 32 bits: linux/types.h.
    let next = |numbers: &mut dyn Iterator<Item = u64>| numbers.next().unwrap_or_default() as u32;
    [next(&mut users), next(&mut users), next(&mut groups), next(&mut groups)]
}

impl RawImage {
    /// Whether the kernel refused to show some data.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The variables that decide whether the program needs ptrace itself.
    pub(crate) fn variables(&self) -> &[u8] {
        self.texts.get(self.stack.variables)
    }

    /// The name of the program, for a message.
    pub(crate) fn program(&self) -> String {
        let image = Image { file: self.text(self.stack.file), executable: self.executable(), ..Image::default() };
        image.name().to_owned()
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> usize {
        let RawStack { arguments, environment, .. } = &self.stack;
        let texts = [&self.texts.0, arguments].into_iter().chain(environment);
        size_of::<Self>() + texts.map(Vec::capacity).sum::<usize>()
    }

    /// The captured arguments.
    pub(crate) fn arguments(&self) -> &[u8] {
        &self.stack.arguments
    }

    fn has_other_root(&self) -> bool {
        self.texts.get(self.root).len() > 1
    }

    /// User, real user, group and real group.
    fn ids(&self) -> [u32; 4] {
        let [real_user, user, real_group, group] =
            self.status.map_or(self.stack.ids, |status| ids(self.texts.get(status)));
        [user, real_user, group, real_group]
    }

    fn text(&self, part: Part) -> String {
        String::from_utf8_lossy(self.texts.get(part)).into_owned()
    }

    fn executable(&self) -> Option<String> {
        self.path(self.executable).map(|path| String::from_utf8_lossy(path).into_owned())
    }

    /// As the process itself sees it.
    fn path(&self, part: Option<Part>) -> Option<&[u8]> {
        part.map(|part| inside(self.texts.get(part), self.texts.get(self.root)))
    }

    /// The image, its environment if that is needed, and the span that the environment names.
    pub(crate) fn decode(mut self) -> (Arc<Image>, Option<Strings>, Option<SpanContext>) {
        let arguments = mem::take(&mut self.stack.arguments);
        let environment = mem::take(&mut self.stack.environment);
        let environment = environment.map(|bytes| Strings { bytes, size: self.stack.environment_size });
        let (stack, texts) = (&self.stack, &self.texts);
        let is_script = !stack.has_no_path && is_script(texts.get(stack.file), &arguments);
        let context = stack.context.map(|part| texts.get(part).to_vec());
        let context = context.map(|bytes| Strings { size: bytes.len() as u64, bytes });
        let context = environment.as_ref().or(context.as_ref()).and_then(SpanContext::of_environment);
        let status = self.status.map(|part| texts.get(part));
        let [user_id, real_user_id, group_id, real_group_id] = self.ids();
        let vpid = status.and_then(|status| numbers(status, "NSpid").last());
        let groups = texts.get(self.cgroup);
        let image = Image {
            file: self.text(stack.file),
            executable: self.executable(),
            directory: self.path(self.directory).map(<[u8]>::to_vec),
            arguments: Strings { bytes: arguments, size: stack.arguments_size },
            argument_count: stack.argument_count.try_into().unwrap_or(u32::MAX),
            visibility: if self.is_refused { Visibility::Public } else { Visibility::All },
            user_id,
            real_user_id,
            cgroup: cgroup::unified(groups).map(|line| String::from_utf8_lossy(line).into()),
            cgroup_v1: cgroup::v1(groups).map(|line| String::from_utf8_lossy(line).into()),
            // Linux's pids have 22 bits at most.
            vpid: vpid.map_or(self.tgid as u32, |vpid| vpid as u32),
            group_leader_pid: self.group_leader as u32,
            session_leader_pid: self.session_leader as u32,
            is_interactive: self.is_interactive,
            is_script,
            has_other_root: self.has_other_root(),
            group_id,
            real_group_id,
            // Between -20 and 19: sched(7).
            nice: self.nice as i8,
            namespaces: self.namespaces,
            names: self.names.clone(),
            ..Image::default()
        };
        (Arc::new(image), environment, context)
    }
}

/// A path below the root folder of the process, as the process itself sees it.
fn inside<'a>(path: &'a [u8], root: &[u8]) -> &'a [u8] {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let below = if root.len() > 1 { path.strip_prefix(root) } else { None };
    match below {
        Some([]) => b"/",
        Some(below) if below.starts_with(b"/") => below,
        _ => path,
    }
}

/// The kernel puts the interpreter's path, and perhaps an argument for it, before the path of a script: execve(2). An
/// interpreter can be a script too, so there can be several.
fn is_script(file: &[u8], arguments: &[u8]) -> bool {
    let mut arguments = arguments.split(|byte| *byte == 0);
    let Some(interpreter) = arguments.next().filter(|interpreter| interpreter.contains(&b'/')) else { return false };
    interpreter != file && arguments.take(4).any(|argument| argument == file)
}

/// Whether we have the capabilities that let a process enter other namespaces and root folders. Our tracees have no
/// further capabilities. An exec of a traced process gives none, unless we have CAP_SYS_PTRACE.
fn may_move() -> bool {
    // Of linux/capability.h: CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
    const ANY: u64 = 1 << 18 | 1 << 19 | 1 << 21;
    fs::read("/proc/thread-self/status").map_or(true, |status| mask(&status, "CapPrm") & ANY != 0)
}

#[cfg(test)]
impl RawImage {
    pub(crate) fn with_arguments(arguments: Vec<u8>) -> Self {
        Self { stack: RawStack { arguments, ..RawStack::default() }, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_is_recognised_by_its_arguments() {
        assert!(is_script(b"./configure", b"/bin/sh\0./configure\0--prefix\0"));
        assert!(is_script(b"/x/run", b"/usr/bin/env\0-S sh\0/x/run\0"));
        assert!(!is_script(b"/bin/sh", b"sh\0./configure\0"));
        assert!(!is_script(b"/bin/ls", b"/bin/ls\0/bin/ls\0"));
        assert!(!is_script(b"/bin/ls", b"ls\0/bin/ls\0"));
    }

    #[test]
    fn wanted_variables_are_found_by_their_whole_names() {
        let find = |environment: &[u8]| {
            let mut texts = Texts::default();
            let (variables, context) = wanted(environment, &mut texts);
            let text = |part| String::from_utf8(texts.get(part).to_vec()).unwrap();
            (text(variables), context.map(text))
        };
        let environment = b"A=b\0LD_PRELOADED=x\0TRACEPARENT=00-1\0LD_PRELOAD=/l.so\0TRACEPARENT=00-2\0LSAN_OPTIONS=\0";
        assert_eq!(
            find(environment),
            ("LD_PRELOAD=/l.so\0LSAN_OPTIONS=\0".to_owned(), Some("TRACEPARENT=00-1".to_owned()))
        );
        assert_eq!(find(b"A=b\0TRACEPARENT=cut"), (String::new(), Some("TRACEPARENT=cut".to_owned())));
        assert_eq!(find(b"TRACEPARENT\0\0"), (String::new(), None));
        assert_eq!(find(b""), (String::new(), None));
    }

    #[test]
    fn path_is_relative_to_the_root_of_the_process() {
        let path = |path, root| str::from_utf8(inside(path, root)).unwrap();
        assert_eq!(path(b"/usr/bin/dash", b"/"), "/usr/bin/dash");
        assert_eq!(path(b"/srv/root/bin/sh", b"/srv/root"), "/bin/sh");
        assert_eq!(path(b"/srv/rooted/bin/sh", b"/srv/root"), "/srv/rooted/bin/sh");
        assert_eq!(path(b"/srv/root", b"/srv/root"), "/");
        assert_eq!(path(b"/tmp/gone (deleted)", b"/"), "/tmp/gone");
    }
}
