//! Folded stacks, one a line, for flame graphs: the chain of names, and what it weighs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use opentelemetry_sdk::{Resource, trace::SpanData};

use super::{
    Report,
    analysis::Tree,
    row::{Kind, Rows},
};

/// What a stack weighs, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Time that none of the processes it started was alive.
    Wall,
    /// Its own CPU time.
    Cpu,
}

pub(super) struct Stacks {
    to: Box<dyn Write + Send>,
    weight: Weight,
    rows: Rows,
}

impl Stacks {
    pub(super) fn new(to: Box<dyn Write + Send>, weight: Weight) -> Self {
        Self { to, weight, rows: Rows::default() }
    }
}

impl Report for Stacks {
    fn add(&mut self, span: &SpanData) -> io::Result<()> {
        self.rows.add(span);
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Resource) -> io::Result<()> {
        let rows = &self.rows.rows;
        let Some(tree) = Tree::grow(rows) else { return Ok(()) };
        let (own, places) = (tree.own_time(rows), tree.places(rows));
        let mut stacks: BTreeMap<u32, u64> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind == Kind::Process) {
            let weight = if self.weight == Weight::Wall { own[index] } else { row.cpu };
            *stacks.entry(places.of_row[index]).or_default() += weight;
        }
        for (place, weight) in stacks {
            // These two are the format's own.
            let names =
                places.names(place).into_iter().map(|name| self.rows.text(name).exact().replace([';', '\n'], "_"));
            writeln!(self.to, "{} {}", names.collect::<Vec<_>>().join(";"), weight / 1000)?;
        }
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::story::{story, written};

    #[test]
    fn a_line_is_a_chain_of_names_and_its_own_time() {
        let story = story("make", 0, 100)
            .cpu(7)
            .starts("sh", 10, 50, |sh| sh.forks().starts("c;c", 20, 30, |cc| cc.cpu(25)))
            .starts("make", 70, 10, |make| make.forks().cpu(1));
        let wall = written(&story.spans(), |to| Box::new(Stacks::new(to, Weight::Wall)));
        assert_eq!(String::from_utf8(wall).unwrap(), "make 50000\nmake;sh 20000\nmake;sh;c_c 30000\n");
        let cpu = written(&story.spans(), |to| Box::new(Stacks::new(to, Weight::Cpu)));
        assert_eq!(String::from_utf8(cpu).unwrap(), "make 8000\nmake;sh 0\nmake;sh;c_c 25000\n");
    }
}
