//! Judges a compiler by a rules file: `cargo run -p tracer-rules --example judge`.
#![allow(clippy::print_stdout)]

use std::time::UNIX_EPOCH;

use tracer_model::{
    event::Image,
    judge::{Lineage, Ruling, Subject},
};
use tracer_rules::{Book, Error};

const RULES: &str = r"
rules:
  - comm: [cc1]
    cmdline: ['(?P<file>\w+)\.c\b']
    name: 'cc1 ${file}'
    group: compilers
";

fn main() -> Result<(), Error> {
    println!("{:?}", ruling()?);
    Ok(())
}

/// Returns what the rules say of `cc1 -quiet t_hash.c`.
pub(crate) fn ruling() -> Result<Ruling, Error> {
    let image = Image {
        file: "/usr/libexec/cc1".to_owned(),
        arguments: ["cc1", "-quiet", "t_hash.c"].into_iter().collect(),
        ..Image::default()
    };
    let subject = Subject {
        pid: 7,
        parent_pid: 6,
        start: UNIX_EPOCH,
        at: UNIX_EPOCH,
        image: &image,
        environment: None,
        attributes: &[],
        tags: None,
        lineage: &Lineage::default(),
    };
    let mut book = Book::read(RULES, &|_| None)?;
    Ok(book.judge(&subject, |_| ()))
}
