//! The page while the command runs: a server sends it what has ended, and once a second what is running.

mod desk;
mod door;
mod server;
mod usage;

pub use self::{
    desk::{Convert, Watch},
    server::Live,
};
