//! The compilation database of a build: <https://clang.llvm.org/docs/JSONCompilationDatabase.html>.
//!
//! It comes from the exec events themselves, before the model hides secrets. A compiler needs its exact arguments. So this
//! is the only report with unmasked arguments, and it reads no span.
//!
//! - `compiler` recognises compilers by their names, and wrappers such as ccache.
//! - `observer` picks the calls of compilers out of all events.
//! - `call` finds the sources and the output in the arguments of a call; `response` reads response files.
//! - `database` keeps one entry for each source, and writes the file.
//!
//! The caller reads the response files, and says which sources exist at the end.

mod call;
mod compiler;
mod database;
mod observer;
mod response;

pub use database::{Database, Summary};
pub use observer::{Observation, Observer};
pub use response::RESPONSE_BYTES;
