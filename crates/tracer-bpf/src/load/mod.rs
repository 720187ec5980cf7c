//! Loads and attaches the programs. This needs privileges.

mod kernel_types;
mod loader;
mod options;
pub mod probe;

pub use self::{
    kernel_types::TypesError,
    loader::LoadError,
    options::{Asked, Limits, Options, Viewer},
};
