//! The generator of the Rust side of `wire.h`: it translates a small part of C and refuses the rest.
#![allow(clippy::unwrap_used)]

#[path = "../build/wire.rs"]
mod wire;

#[test]
fn structs_enums_and_constants_become_rust() {
    let header = "\
/* A comment
 * of two lines. */
#ifndef WIRE_H
#define WIRE_H
#define KIND_ONE 1 /* behind */
struct one_thing {
	__u64 first;
	__u8 bytes[16];
};
struct other {
	struct one_thing thing;
	struct one_thing things[2];
	__u8 named[KIND_ONE];
};
enum some_kind {
	SOME_FIRST, /* behind */
	SOME_OTHER_ONE,
	SOME_KINDS
};
#endif
";
    let rust = wire::generate(header).unwrap();
    for line in [
        "pub(crate) const KIND_ONE: u32 = 1;",
        "pub(crate) struct OneThing {",
        "    pub(crate) first: u64,",
        "    pub(crate) bytes: [u8; 16],",
        "    pub(crate) named: [u8; KIND_ONE as usize],",
        "pub enum SomeKind { First, OtherOne }",
        "pub(crate) const ALL: [Self; 2] = [Self::First, Self::OtherOne];",
        "pub(crate) const SOME_KINDS: u32 = 2;",
        "    pub(crate) thing: OneThing,",
        "    pub(crate) things: [OneThing; 2],",
    ] {
        assert!(rust.lines().any(|found| found == line), "{line} is not in {rust}");
    }
}

#[test]
fn other_c_is_refused() {
    for header in [
        "typedef int x;",
        "struct a {\n\tint x;\n};",
        "struct a {\n\t__u32 x : 3;\n\tunion { __u32 y; };\n};",
        "struct a {\n\t__u32 *x;\n};",
        "struct a {\n\t__u32 x[2;\n};",
        "struct a {\n\t__u32 x;\n",
        "#define A (1 << 3)",
        "#define A 010",
        "struct a {\n\t__u32 x[010];\n};",
        "struct a {\n\t__u32 x[2][3];\n};",
        "/* without end",
        "enum kind { A };",
        "enum kind {\n\tKIND_A,\n};",
        "enum kind {\n\tKIND_A = 1,\n\tKINDS\n};",
        "enum kind {\n\tKIND_A,\n\tKIND_COUNT\n",
        "enum kind {\n\tOTHER_A,\n\tKIND_COUNT\n};",
        "struct a {\n\t__u32 x[n];\n};",
    ] {
        assert!(wire::generate(header).is_err(), "{header}");
    }
}

#[test]
fn declared_types_are_named() {
    let header = "struct one {\n\tint x;\n\tstruct two *y;\n};\n\ntypedef struct {\n\tint z;\n} three;\n\nstruct four___new {\n\tint z;\n};\n";
    assert_eq!(wire::type_names(header), ["one", "three", "four"]);
}
