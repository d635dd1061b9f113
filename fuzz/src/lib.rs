//! The fuzz targets, each a function of its input. `tests/fuzz_corpus.rs` runs them over the corpora.

mod connection;
mod feed;
pub mod frame;
pub mod head;
pub mod json;
mod peer;
pub mod session;
