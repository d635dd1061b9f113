//! Who exists, who may talk, and what waits for whom: pure state, without locks, clocks or sockets.

pub mod lane;
pub mod mailbox;
pub mod registry;

pub use mailbox::{Full, Mailbox};
pub use registry::Registry;
