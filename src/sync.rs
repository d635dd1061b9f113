//! What the bell is made of. A file of its own, for a test puts what explores all interleavings in its place.

pub use std::sync::atomic::{AtomicBool, Ordering};

pub use futures_util::task::AtomicWaker;
