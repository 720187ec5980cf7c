//! The limits of an expression.

use crate::error::Fault;

/// Parts of an expression, as the reference counts them.
pub(crate) const MAX_NODES: usize = 10_000;

/// Parts of an expression. Parts that are evaluated twice count twice.
pub(crate) const MAX_SIZE: usize = 100_000;

/// How deep an expression nests.
pub(crate) const MAX_DEPTH: u32 = 10_000;

/// Bytes of a source.
pub(crate) const MAX_SOURCE: usize = 1 << 20;

/// How deep lists and maps nest.
pub(crate) const MAX_VALUE_DEPTH: u32 = 200;

/// The largest cost of the regular expressions of one expression, in steps.
pub(crate) const MAX_PATTERNS: usize = 30_000_000;

/// Elements of lists and maps in one evaluation. As in the reference, each byte of a `repeat` counts as an element.
const MAX_ELEMENTS: usize = 1_000_000;

/// Bytes of new texts and copied lists in one evaluation.
const MAX_BYTES: usize = 64 << 20;

/// Steps of one evaluation: instructions, and comparisons and copies within them.
const MAX_STEPS: usize = 30_000_000;

/// The usage of one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    elements: usize,
    bytes: usize,
    steps: usize,
}

impl Budget {
    /// Counts elements, as the reference does.
    pub(crate) fn elements(&mut self, count: usize) -> Result<(), Fault> {
        self.elements = self.elements.saturating_add(count);
        if self.elements >= MAX_ELEMENTS {
            return Err(Fault::budget(format!("the lists and maps reach the limit of {MAX_ELEMENTS} elements")));
        }
        Ok(())
    }

    /// Counts bytes that the reference does not count.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(count);
        if self.bytes > MAX_BYTES {
            return Err(Fault::budget(format!("the texts and lists need more than {} MiB", MAX_BYTES >> 20)));
        }
        self.steps(count / 16)
    }

    /// Counts work.
    #[inline]
    pub(crate) fn steps(&mut self, count: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > MAX_STEPS {
            return Err(Fault::budget(format!("the evaluation needs more than {MAX_STEPS} steps")));
        }
        Ok(())
    }
}
