//! What goes over the wire, as pure functions: no socket, no clock, no state but a half-read frame.

pub mod decode;
pub mod encode;
pub mod frame;
mod json;
mod scan;

pub use decode::{Authentication, ClientFrame, Generation, ReceivedFrame, RelayFrame, Reliable, decode};
