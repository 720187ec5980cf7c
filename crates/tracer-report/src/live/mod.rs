//! The page while the command runs.

mod server;

pub use self::server::{Convert, Live, Watch};
