//! Takes over attached programs, and reads their events. This needs no privilege.

mod capture;
mod decode;
mod dns_stream;
mod flows;
mod mapping;
mod ring;
mod shared;
mod stream;

pub use self::{
    capture::{Capture, CaptureError},
    decode::{DecodeError, Decoder},
    stream::Stream,
};
