//! What each fuzz target does with its input. `tests/corpus.rs` does the same with what the fuzzers have found.

pub mod frame;
pub mod head;
mod honest;
pub mod json;
mod pipe;
pub mod session;
mod stream;
