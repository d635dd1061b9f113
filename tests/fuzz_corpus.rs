//! Bugs found by fuzzing stay fixed: every input of the corpora runs through its target again.

// The conformance build echoes messages and does not decode frames.
#![cfg(not(feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Prints the path of the input if its run panics.
struct Running<'a>(&'a Path);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input: {}", self.0.display());
        }
    }
}

/// Runs every input of a corpus.
fn replay(name: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{} files", files.len());
    for file in files {
        let input = fs::read(&file).unwrap();
        let _running = Running(&file);
        run(&input);
    }
}

#[test]
fn replays_frames() {
    replay("frame", targets::frame::run);
}

#[test]
fn replays_json() {
    replay("json", targets::json::run);
}

#[test]
fn replays_heads() {
    replay("head", targets::head::run);
}

#[test]
fn replays_sessions() {
    replay("session", targets::session::run);
}
