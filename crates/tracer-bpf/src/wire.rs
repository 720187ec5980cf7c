//! The records as Rust structures and enums. `build.rs` generates them from `bpf/wire.h`, which documents them.
//!
//! The derives prove that no structure has implicit padding. So each has exactly the bytes that the programs write.
#![allow(missing_docs, dead_code, unreachable_pub)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

include!(concat!(env!("OUT_DIR"), "/records.rs"));

/// The compiled BPF programs: an ELF object with CO-RE relocations.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer.bpf.o"));
