//! Runs the example.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/judge.rs"]
mod judge;

#[test]
fn the_example_names_the_compiler_by_its_source() {
    let ruling = judge::ruling().unwrap();
    let group = ruling.group.as_ref().map(|group| &*group.name);
    assert_eq!((ruling.name.as_deref(), group), (Some("cc1 t_hash"), Some("compilers")));
}
