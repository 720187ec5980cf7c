//! Folded stacks for flame graphs. Each line is a chain of names and its weight.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use tracer_model::Resource;

use crate::{
    analysis::{Tree, sum},
    argument::Arguments,
    report::Report,
    row::{Kind, Rows},
    span::Span,
};

/// The most names of a stack. A deeper process counts as its ancestor at this depth. Otherwise the file would grow with the
/// square of the depth.
const DEPTH: u32 = 256;

/// A process with at least one NOTABLEth of the whole weight has its argument in its name. Others have only their name,
/// so that equal stacks stay together.
const NOTABLE: u64 = 200;

/// The weight of a stack, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Own time of its processes. A process has no own time while a process that it started is alive.
    Wall,
    /// CPU time of its processes.
    Cpu,
}

pub(crate) struct Stacks {
    to: Box<dyn Write + Send>,
    weight: Weight,
    rows: Rows,
}

impl Stacks {
    pub(crate) fn new(to: Box<dyn Write + Send>, weight: Weight) -> Self {
        Self { to, weight, rows: Rows::default() }
    }
}

impl Report for Stacks {
    fn add(&mut self, span: &Span<'_>) -> io::Result<()> {
        self.rows.add(span);
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Resource) -> io::Result<()> {
        self.rows.complete();
        let rows = &self.rows.rows;
        let Some(tree) = Tree::grow(rows) else { return Ok(()) };
        let own = tree.own_time(rows);
        let weight = |row: usize| if self.weight == Weight::Wall { own[row] } else { rows[row].cpu };
        let processes = || (0..rows.len()).filter(|row| rows[*row].kind == Kind::Process);
        let total = sum(processes().map(weight));
        let arguments = Arguments::new(&self.rows);
        let places = tree.places_by(rows, |row| {
            let is_notable = weight(row) > 0 && weight(row) >= total / NOTABLE;
            (rows[row].name, arguments.number(row).filter(|_| is_notable))
        });
        // For each place, the place that it counts as, and its depth.
        let mut shown: Vec<(u32, u32)> = Vec::with_capacity(places.steps.len());
        for (place, (above, _)) in (0..).zip(&places.steps) {
            shown.push(match above.map(|above| shown[above as usize]) {
                Some(deepest @ (_, DEPTH)) => deepest,
                above => (place, above.map_or(1, |(_, depth)| depth + 1)),
            });
        }
        let mut stacks: BTreeMap<u32, u64> = BTreeMap::new();
        for row in processes() {
            let stack = stacks.entry(shown[places.of_row[row] as usize].0).or_default();
            *stack = stack.saturating_add(weight(row));
        }
        for (place, weight) in stacks {
            // `;` and the newline have a meaning in the format.
            let names = places.names(place).into_iter().map(|(name, argument)| {
                let name = self.rows.text(name).exact();
                let argument = argument.and_then(|argument| arguments.text(argument));
                let whole = argument.map_or(name.to_owned(), |argument| format!("{name} {}", argument.exact()));
                whole.replace([';', '\n'], "_")
            });
            writeln!(self.to, "{} {}", names.collect::<Vec<_>>().join(";"), weight / 1000)?;
        }
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Story, story, written};

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

    #[test]
    fn the_slowest_processes_have_their_argument() {
        let cc = |name: &'static str| move |cc: Story| cc.arguments(&["cc", "-c", name]);
        let story = story("make", 0, 1000)
            .starts("cc", 0, 600, cc("a.c"))
            .starts("cc", 600, 396, cc("b.c"))
            .starts("cc", 996, 1, cc("c.c"))
            .starts("cc", 997, 1, cc("d.c"));
        let wall = written(&story.spans(), |to| Box::new(Stacks::new(to, Weight::Wall)));
        let lines = String::from_utf8(wall).unwrap();
        assert_eq!(lines, "make 2000\nmake;cc a.c 600000\nmake;cc b.c 396000\nmake;cc 2000\n");
    }

    #[test]
    fn the_depth_of_stacks_is_limited_and_no_time_is_lost() {
        let deep = (0..300).fold(story("last", 0, 1).cpu(1), |inner, _| story("sh", 0, 1).cpu(1).above(inner));
        let cpu = written(&deep.spans(), |to| Box::new(Stacks::new(to, Weight::Cpu)));
        let text = String::from_utf8(cpu).unwrap();
        let (stacks, weights): (Vec<_>, Vec<_>) = text.lines().filter_map(|line| line.rsplit_once(' ')).unzip();
        assert_eq!(stacks.iter().map(|stack| stack.split(';').count()).max(), Some(256));
        let weight: u64 = weights.iter().map(|weight| weight.parse::<u64>().unwrap()).sum();
        assert_eq!(weight, 301_000);
    }
}
