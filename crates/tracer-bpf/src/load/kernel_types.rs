//! The kernel's type information (BTF), reduced to the types that the relocations of our programs use.
//!
//! A kernel describes well over a hundred thousand types. A usual loader parses all of them and searches them for each
//! relocation. This takes most of its time. Relocations find types by name and follow their members, but no pointers.
//! So the types with our names and the types within them are enough: a few hundred.

use std::collections::HashMap;

use aya_obj::btf::{Btf, BtfError};
use object::Endianness;

/// Why type information could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// The content of /sys/kernel/btf/vmlinux ends early, or is invalid.
    #[error("the kernel's type information is malformed")]
    Malformed,
    /// The reduced types are invalid.
    #[error("the kernel's reduced type information is not usable: {0}")]
    Unusable(#[from] BtfError),
}

/// Returns the types with these names, and the types within them.
pub(crate) fn reduced(vmlinux: &[u8], names: &[&str]) -> Result<Btf, TypesError> {
    let wanted = Wanted::new(names);
    let source = Source::parse(vmlinux, &wanted).ok_or(TypesError::Malformed)?;
    let bytes = source.reduce().ok_or(TypesError::Malformed)?;
    Ok(Btf::parse(&bytes, Endianness::default())?)
}

/// include/uapi/linux/btf.h
const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
const KINDS: u32 = 19;

/// The size of `struct btf_type`: name_off, info, and size or type.
const TYPE: usize = 12;
/// The size of `struct btf_member`: name_off, type, offset.
const MEMBER: usize = 12;
/// The sizes of `struct btf_enum`: name_off, val; and of `struct btf_enum64`: name_off, val_lo32, val_hi32.
const ENUMERATOR: usize = 8;
const ENUMERATOR64: usize = 12;

/// The largest depth of types within types. The kernel's own limit for modules and programs is 32: kernel/bpf/btf.c,
/// MAX_RESOLVE_DEPTH. Malformed types can contain themselves.
const DEPTH: u32 = 256;

/// Types are records of different sizes. To find one by its id, a walk starts at the nearest mark.
const MARKED: u32 = 64;

/// All of a kernel's types.
struct Source<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// The offset of every [`MARKED`]th type, by its id divided by [`MARKED`].
    marks: Vec<usize>,
    /// Ids of the wanted types.
    wanted: Vec<u32>,
}

/// The wanted names. The first bytes exclude most other names.
struct Wanted<'a> {
    names: &'a [&'a str],
    /// A bit for each beginning of a wanted name. Other names can share the bit.
    beginnings: [u64; 64],
}

impl<'a> Wanted<'a> {
    fn new(names: &'a [&'a str]) -> Self {
        // Four bytes are compared. A name of one or two bytes, with its NUL, has fewer, and unknown bytes follow. If
        // there is such a name, all beginnings are accepted.
        let mut beginnings = if names.iter().all(|name| name.len() >= 3) { [0; 64] } else { [u64::MAX; 64] };
        for name in names {
            let bytes: Vec<u8> = name.bytes().chain([0; 4]).take(4).collect();
            let bit = Self::bit(u32_at(&bytes, 0).unwrap_or_default());
            beginnings[bit / 64] |= 1 << (bit % 64);
        }
        Self { names, beginnings }
    }

    /// The bit of the first four bytes of a name, with its NUL if it is short.
    fn bit(beginning: u32) -> usize {
        (beginning.wrapping_mul(0x9e37_79b1) >> 20) as usize
    }

    /// Whether the name at this offset is a wanted one.
    fn has(&self, strings: &[u8], offset: u32) -> bool {
        let Some(name) = strings.get(offset as usize..) else { return false };
        let bit = Self::bit(u32_at(name, 0).unwrap_or_default());
        let is = |wanted: &&str| name.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
        self.beginnings[bit / 64] & 1 << (bit % 64) != 0 && self.names.iter().any(is)
    }
}

impl<'a> Source<'a> {
    fn parse(bytes: &'a [u8], wanted: &Wanted<'_>) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        let header = u32_at(bytes, 4)? as usize;
        if magic != MAGIC || header < HEADER {
            return None;
        }
        let section = |at: usize| -> Option<&'a [u8]> {
            let start = header.checked_add(u32_at(bytes, at)? as usize)?;
            bytes.get(start..start.checked_add(u32_at(bytes, at + 4)? as usize)?)
        };
        let (types, strings) = (section(8)?, section(16)?);
        // Type 0 is void, and has no record.
        let (mut marks, mut found) = (vec![0], Vec::new());
        let (mut id, mut at) = (1, 0);
        while at < types.len() {
            if id % MARKED == 0 {
                marks.push(at);
            }
            let info = u32_at(types, at + 4)?;
            let may_be_wanted = matches!(kind_of(info), KIND_STRUCT | KIND_UNION | KIND_TYPEDEF | KIND_ENUM);
            if may_be_wanted && wanted.has(strings, u32_at(types, at)?) {
                found.push(id);
            }
            at += size_of_type(info)?;
            id += 1;
        }
        Some(Self { types, strings, marks, wanted: found })
    }

    /// The offset of a type.
    fn offset(&self, id: u32) -> Option<usize> {
        let mark = *self.marks.get((id / MARKED) as usize)?;
        // Type 1 is the first one with a record.
        let steps = if id < MARKED { id.checked_sub(1)? } else { id % MARKED };
        (0..steps).try_fold(mark, |at, _| Some(at + size_of_type(u32_at(self.types, at + 4)?)?))
    }

    fn reduce(&self) -> Option<Vec<u8>> {
        let mut target = Target { types: Vec::new(), strings: vec![0], ids: HashMap::new() };
        for id in &self.wanted {
            self.copy(*id, DEPTH, &mut target)?;
        }
        Some(target.into_bytes())
    }

    /// Copies the types that a type consists of, and then the type itself. Returns its new id. `depth` is the largest
    /// depth of further types within it.
    fn copy(&self, id: u32, depth: u32, target: &mut Target) -> Option<u32> {
        if id == 0 {
            return Some(0);
        }
        if let Some(known) = target.ids.get(&id) {
            return Some(*known);
        }
        let depth = depth.checked_sub(1)?;
        let at = self.offset(id)?;
        let info = u32_at(self.types, at + 4)?;
        let mut record = self.types.get(at..at + size_of_type(info)?)?.to_vec();
        let name = target.string(self.string(u32_at(&record, 0)?)?);
        set_u32(&mut record, 0, name);
        match kind_of(info) {
            KIND_STRUCT | KIND_UNION => {
                for member in 0..(info & 0xffff) as usize {
                    let at = TYPE + member * MEMBER;
                    let name = target.string(self.string(u32_at(&record, at)?)?);
                    let kind = self.copy(u32_at(&record, at + 4)?, depth, target)?;
                    set_u32(&mut record, at, name);
                    set_u32(&mut record, at + 4, kind);
                }
            }
            KIND_ARRAY => {
                for at in [TYPE, TYPE + 4] {
                    let kind = self.copy(u32_at(&record, at)?, depth, target)?;
                    set_u32(&mut record, at, kind);
                }
            }
            // Relocations follow no pointers.
            KIND_PTR => set_u32(&mut record, 8, 0),
            kind @ (KIND_ENUM | KIND_ENUM64) => {
                let size = if kind == KIND_ENUM { ENUMERATOR } else { ENUMERATOR64 };
                for at in (TYPE..record.len()).step_by(size) {
                    let name = target.string(self.string(u32_at(&record, at)?)?);
                    set_u32(&mut record, at, name);
                }
            }
            // These kinds of types cannot be within a struct. Of the kinds that refer to another type (see `has_type`),
            // only modifiers and typedefs can be within a struct.
            KIND_FUNC_PROTO | KIND_VAR | KIND_DATASEC | KIND_DECL_TAG => return None,
            KIND_INT => {}
            _ if has_type(kind_of(info)) => {
                let kind = self.copy(u32_at(&record, 8)?, depth, target)?;
                set_u32(&mut record, 8, kind);
            }
            _ => {}
        }
        Some(target.push(id, &record))
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings.get(offset as usize..)?.split(|byte| *byte == 0).next()
    }
}

/// The reduced types under construction.
struct Target {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// New ids by old ones.
    ids: HashMap<u32, u32>,
}

impl Target {
    fn push(&mut self, old: u32, record: &[u8]) -> u32 {
        self.types.extend_from_slice(record);
        let id = self.ids.len() as u32 + 1;
        self.ids.insert(old, id);
        id
    }

    fn string(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        offset
    }

    fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.types.len() + self.strings.len());
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]); // version, flags
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for field in [HEADER as u32, 0, types, types, strings] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}

fn kind_of(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Whether the third field of `struct btf_type` is a type: for a typedef, a modifier, a tag or a function.
fn has_type(kind: u32) -> bool {
    matches!(kind, 8..=12 | 18)
}

/// The size of a type's record in bytes, by its kind and number of members.
fn size_of_type(info: u32) -> Option<usize> {
    let members = (info & 0xffff) as usize;
    Some(
        TYPE + match kind_of(info) {
            0 => return None,
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * members,
            KIND_ENUM | KIND_FUNC_PROTO => 8 * members,
            kind if kind <= KINDS => 0,
            _ => return None,
        },
    )
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::{Object, btf::BtfKind, generated::bpf_insn};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wire;

    /// int; typedef u32 of it; struct other { int a; }; struct wanted { u32 x; struct other o; struct far *p; }; struct far
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0u32\0a\0other\0x\0o\0p\0far\0wanted\0";
        let offset = |name: &str| {
            let text = format!("\0{name}\0");
            strings.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() as u32 + 1
        };
        let mut types: Vec<u32> = Vec::new();
        types.extend([offset("int"), KIND_INT << 24, 4, 32]); // 1
        types.extend([offset("u32"), KIND_TYPEDEF << 24, 1]); // 2
        types.extend([offset("other"), KIND_STRUCT << 24 | 1, 4, offset("a"), 1, 0]); // 3
        types.extend([offset("far"), KIND_STRUCT << 24 | 1, 4, offset("a"), 1, 0]); // 4
        types.extend([0, KIND_PTR << 24, 4]); // 5
        types.extend([offset("wanted"), KIND_STRUCT << 24 | 3, 16]); // 6
        types.extend([offset("x"), 2, 0, offset("o"), 3, 32, offset("p"), 5, 64]);
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut bytes = [MAGIC.to_ne_bytes().as_slice(), &[1, 0]].concat();
        for field in [HEADER as u32, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(field.to_ne_bytes());
        }
        [bytes, types, strings.to_vec()].concat()
    }

    #[test]
    fn types_within_a_type_are_copied_and_types_behind_pointers_are_not() {
        let btf = reduced(&sample(), &["wanted"]).unwrap();
        for (name, kind) in [("wanted", BtfKind::Struct), ("other", BtfKind::Struct), ("u32", BtfKind::Typedef)] {
            assert!(btf.id_by_type_name_kind(name, kind).is_ok(), "{name}");
        }
        assert!(btf.id_by_type_name_kind("far", BtfKind::Struct).is_err());
    }

    #[test]
    fn the_running_kernels_types_are_reduced_to_few() {
        let vmlinux = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let wanted = Wanted::new(&["task_struct", "sock"]);
        let source = Source::parse(&vmlinux, &wanted).unwrap();
        let reduced = source.reduce().unwrap();
        let few = Source::parse(&reduced, &wanted).unwrap();
        assert!(few.marks.len() * 20 < source.marks.len(), "{} of {}", few.marks.len(), source.marks.len());
        assert!(
            super::reduced(&vmlinux, &["task_struct"])
                .unwrap()
                .id_by_type_name_kind("task_struct", BtfKind::Struct)
                .is_ok()
        );
    }

    /// The types that our programs use, of Debian's kernel 6.1 for 64-bit ARM.
    const ARM64: &[u8] = include_bytes!("../../tests/arm64.btf");

    #[test]
    #[ignore = "writes tests/arm64.btf from the types of a kernel, in the file that VMLINUX names"]
    fn write_the_types_of_arm64() {
        let vmlinux = std::fs::read(std::env::var_os("VMLINUX").unwrap()).unwrap();
        let source = Source::parse(&vmlinux, &Wanted::new(wire::KERNEL_TYPE_NAMES)).unwrap();
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/arm64.btf"), source.reduce().unwrap()).unwrap();
    }

    /// The object is the same for all processors. Accesses for other processors are only in functions that read registers. All
    /// other missing accesses are for other versions of the kernel.
    #[test]
    fn on_arm64_the_programs_miss_only_what_other_processors_and_kernels_have() {
        let mut object = Object::parse(wire::OBJECT).unwrap();
        let types = reduced(ARM64, wire::KERNEL_TYPE_NAMES).unwrap();
        object.relocate_btf(&types).unwrap();
        // aya_obj replaces an access to a missing field by a call of this number. The verifier must not reach it.
        let is_missing = |instruction: &&bpf_insn| instruction.code == 0x85 && instruction.imm == 0x0bad_2310;
        let missing = object.functions.values().filter_map(|function| {
            let number = function.instructions.iter().filter(is_missing).count();
            (number > 0).then_some((function.name.as_str(), number))
        });
        let of_processors = [("begin_transfer", 2), ("current_transfer_kind", 2), ("handle_syscall_exit", 8)];
        let of_kernels = [("climb_cgroup", 1), ("find_pieces", 3), ("handle_exec", 1), ("handle_fork", 1)];
        // The file arm64.btf is older than the programs for MPTCP. So it looks like the types of a kernel without
        // MPTCP.
        let of_mptcp = [("use_mptcp_socket", 1), ("handle_mptcp_write", 2)];
        let expected: HashMap<_, _> = of_processors.into_iter().chain(of_kernels).chain(of_mptcp).collect();
        assert_eq!(missing.collect::<HashMap<_, _>>(), expected);
    }

    #[test]
    fn malformed_types_are_an_error() {
        let sample = sample();
        for length in 0..sample.len() {
            // If the cut is in the strings, only the last name may be shorter.
            let _ = reduced(&sample[..length], &["wanted"]);
        }
        assert!(reduced(&sample[..100], &["wanted"]).is_err());
        assert!(reduced(b"", &["wanted"]).is_err());
    }

    #[test]
    fn a_struct_that_contains_itself_is_an_error() {
        let mut bytes = sample();
        // Gives the member `o` of `wanted` the type 6. That is `wanted` itself.
        let member = HEADER + 16 + 12 + 24 + 24 + 12 + TYPE + MEMBER;
        assert_eq!(u32_at(&bytes, member + 4), Some(3));
        set_u32(&mut bytes, member + 4, 6);
        assert!(matches!(reduced(&bytes, &["wanted"]), Err(TypesError::Malformed)));
    }

    proptest! {
        #[test]
        fn broken_types_do_not_panic(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
            let mut bytes = sample();
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            let _ = reduced(&bytes, &["wanted"]);
        }
    }
}
