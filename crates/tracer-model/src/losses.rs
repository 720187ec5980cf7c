//! What is missing from a trace: one table with a row for each kind of loss.
//!
//! A source fills [`Losses`]. The attributes of the root span, the last line of a run and the reports follow from the table.

/// A kind of loss.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// The key of the root span's attribute with the count.
    pub key: &'static str,
    /// Why it is missing.
    pub cause: Cause,
    /// Where the count comes from.
    pub source: &'static str,
    /// A count.
    pub example: &'static str,
    /// What is missing.
    pub meaning: &'static str,
    /// How many are missing.
    pub count: fn(&Losses) -> u64,
    words: Words,
}

/// The count of an attribute in words, for example "2 forks lost to a full buffer". An attribute that the table does not have
/// can come from another version of process-tracer.
///
/// ```
/// use tracer_model::losses::in_words;
///
/// assert_eq!(in_words("process_tracer.lost.forks", 2), "2 forks lost to a full buffer");
/// assert_eq!(in_words("process_tracer.lost.something_new", 1), "lost something new: 1");
/// ```
#[must_use]
pub fn in_words(key: &str, count: u64) -> String {
    match LOSSES.iter().find(|loss| loss.key == key) {
        Some(loss) => loss.words.with(count),
        None => format!("{}: {count}", key.trim_start_matches("process_tracer.").replace(['.', '_'], " ")),
    }
}

/// The noun for one, the noun for several, and what happened to them.
#[derive(Clone, Copy, Debug)]
struct Words {
    one: &'static str,
    many: &'static str,
    fate: &'static str,
}

impl Words {
    fn with(self, count: u64) -> String {
        [&self.counted(count), self.fate].join(" ")
    }

    fn counted(self, count: u64) -> String {
        format!("{count} {}", if count == 1 { self.one } else { self.many })
    }
}

/// The meaning of a row in the table of attributes: its own words, or its noun and its fate.
macro_rules! meaning {
    ($these:literal, $fate:literal) => {
        concat!($these, " ", $fate)
    };
    ($these:literal, $fate:literal, $meaning:literal) => {
        $meaning
    };
}

macro_rules! losses {
    ($(
        #[doc = $doc:literal]
        $cause:ident: $source:literal, [$one:literal, $many:literal], $fate:literal {
            $($field:ident: $example:literal, [$this:literal, $these:literal] $(, $meaning:literal)?;)*
        }
    )*) => {
        /// Why something is missing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause {
            $(#[doc = $doc] $cause,)*
        }

        impl Cause {
            /// All of them, in the order of a report.
            pub const ALL: &[Self] = &[$(Self::$cause,)*];

            /// The words for all its kinds together.
            fn words(self) -> Words {
                match self {
                    $(Self::$cause => Words { one: $one, many: $many, fate: $fate },)*
                }
            }
        }

        /// What is missing from a trace, by kind.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Losses {
            $($(#[doc = concat!("Number of ", $these, " ", $fate, ".")] pub $field: u64,)*)*
            /// The names of some missing programs, each with the cause.
            pub programs: Vec<(Cause, String)>,
            /// Events that the user asked for and the source did not observe, with the reason.
            pub unobserved: Option<String>,
        }

        /// All kinds of loss.
        pub const LOSSES: &[Loss] = &[$($(Loss {
            key: concat!("process_tracer.lost.", stringify!($field)),
            cause: Cause::$cause,
            source: $source,
            example: $example,
            meaning: meaning!($these, $fate $(, $meaning)?),
            count: |losses| losses.$field,
            words: Words { one: $this, many: $these, fate: $fate },
        },)*)*];
    };
}

// Cause: origin, [one, many] for all its kinds together, fate { field: example, [one, many], own words for the table; … }.
losses! {
    /// The source reported it, but it was not read in time.
    Unread: "eBPF: ring buffer; ptrace: buffer of notes", ["record", "records"], "lost to a full buffer" {
        forks: "5", ["fork", "forks"];
        execs: "5", ["exec", "execs"];
        texts: "17", ["piece of arguments, environments and paths", "pieces of arguments, environments and paths"];
        exits: "5", ["exit", "exits"];
        connections: "2", ["change of a connection", "changes of connections"];
        lookups: "2", ["DNS message", "DNS messages"];
        failed_execs: "2", ["failed exec", "failed execs"];
        flows: "2", ["new flow", "new flows"];
        unix_connects: "2", ["connection to a unix socket", "connections to unix sockets"];
    }
    /// The source had no room to follow it. The descendants of such a process are missing too.
    TooMany: "eBPF: full map", ["process or connection", "processes or connections"], "not followed: too many at once" {
        untracked_processes: "1", ["process", "processes"];
        untracked_connections: "1", ["connection or flow", "connections or flows"];
    }
    /// The source does not follow it, because a process has one tracer at most. Its descendants are missing too.
    Tracing: "ptrace: exec", ["program", "programs"], "not followed: uses ptrace itself" {
        tracing_programs: "1", ["program", "programs"], "programs that were not followed, because they use ptrace themselves";
    }
    /// The source does not follow it, so that a debugger can trace it. Its descendants are missing too.
    Traced: "ptrace: exec", ["process", "processes"], "not followed: traced by a debugger" {
        traced_targets: "1", ["process", "processes"], "processes that were not followed, because a debugger traces them";
    }
    /// The source does not follow it, because the kernel gives no privileges to a traced program. Its descendants are missing too.
    Privileged: "ptrace: exec", ["program", "programs"], "not followed: gains privileges" {
        privileged_programs: "1", ["program", "programs"], "programs that were not followed, because they gain privileges";
    }
    /// The source does not follow it, because it may gain privileges. Its descendants are missing too.
    Opaque: "ptrace: exec", ["program", "programs"], "not followed: its file cannot be read" {
        unreadable_programs: "1", ["program", "programs"],
            "programs that were not followed, because their file cannot be read: they may gain privileges";
    }
    /// It ran without the privileges of its file, because the source traced it.
    Unprivileged: "ptrace: exec", ["program", "programs"], "ran without the privileges of setuid, setgid or file capabilities" {
        lost_privileges: "1", ["program", "programs"],
            "programs that ran without the privileges of setuid, setgid or file capabilities";
    }
    /// Requests in an io_uring queue can connect to unix sockets. The source cannot see them. With `--unix` it counts queues.
    Hidden: "eBPF: tracepoint io_uring_create", ["io_uring queue", "io_uring queues"], "not observed" {
        io_uring_queues: "1", ["io_uring queue", "io_uring queues"];
    }
    /// The source could not read a text from the memory of a process or of the kernel.
    Unreadable: "eBPF: bpf_probe_read_user", ["piece of text", "pieces of text"], "unreadable" {
        unreadable_arguments: "1", ["piece of arguments", "pieces of arguments"];
        unreadable_environments: "1", ["piece of an environment", "pieces of environments"];
        unreadable_paths: "1", ["path", "paths"];
    }
    /// It is longer than what the source captures.
    Cut: "mm_struct.arg_end, .env_end", ["text", "texts"], "cut" {
        cut_arguments: "1", ["command line", "command lines"];
        cut_environments: "1", ["environment", "environments"];
    }
    /// The kernel did not report it to the source, because the source was busy with another event on that processor.
    Missed: "eBPF: bpf_prog_info.recursion_misses", ["event", "events"], "missed by the kernel" {
        missed: "1", ["event", "events"];
    }
    /// The source reported something that process-tracer could not decode.
    Undecodable: "eBPF: ring buffer", ["record", "records"], "not understood" {
        undecodable: "1", ["record", "records"];
    }
    /// An output lost it before the end of the trace.
    Undelivered: "sinks", ["span", "spans"], "lost by an output before the end of the trace" {
        undelivered: "200", ["span", "spans"];
    }
}

impl Losses {
    /// How many are missing for this cause.
    #[must_use]
    pub fn by(&self, cause: Cause) -> u64 {
        LOSSES.iter().filter(|loss| loss.cause == cause).map(|loss| (loss.count)(self)).sum()
    }

    /// How many are missing for this cause, in words: "2 forks lost to a full buffer". Many kinds are counted together: "9
    /// records lost to a full buffer". `None`: nothing is missing for this cause.
    #[must_use]
    pub fn in_words(&self, cause: Cause) -> Option<String> {
        let kinds = LOSSES.iter().filter(|loss| loss.cause == cause).map(|loss| (loss.words, (loss.count)(self)));
        let kinds: Vec<_> = kinds.filter(|(_, count)| *count > 0).map(|(words, count)| words.counted(count)).collect();
        match kinds.len() {
            0 => None,
            1..=3 => Some([&kinds.join(" and "), cause.words().fate].join(" ")),
            _ => Some(cause.words().with(self.by(cause))),
        }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_by_cause_and_named_in_words() {
        let losses = Losses { forks: 1, exits: 2, missed: 4, ..Losses::default() };
        assert_eq!(losses.by(Cause::Unread), 3);
        assert_eq!(losses.in_words(Cause::Unread).unwrap(), "1 fork and 2 exits lost to a full buffer");
        let many = Losses { execs: 1, texts: 5, ..losses.clone() };
        assert_eq!(many.in_words(Cause::Unread).unwrap(), "9 records lost to a full buffer");
        assert_eq!(losses.in_words(Cause::TooMany), None);
        assert_eq!(losses.by(Cause::TooMany), 0);
        assert_eq!(in_words("process_tracer.lost.forks", 1), "1 fork lost to a full buffer");
        assert_eq!(in_words("process_tracer.lost.something_new", 1), "lost something new: 1");
    }
}
