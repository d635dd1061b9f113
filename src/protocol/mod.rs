//! The wire protocol as pure functions: no sockets, no clock, and no state but that of a half-read frame.

pub mod client_frame;
pub mod decode;
pub mod encode;
pub mod frame;
mod json;
mod scan;

pub use client_frame::{Authentication, ClientFrame, Generation, ReceivedFrame, RelayFrame, Reliable};
pub use decode::decode;
