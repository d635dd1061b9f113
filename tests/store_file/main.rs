//! The store's file gives back what was committed, to whatever comes next, or says why it does not.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod damage;
#[cfg(unix)]
mod disk;
#[cfg(target_os = "linux")]
mod full;
mod lives;
mod model;
#[cfg(unix)]
mod power;
mod refusals;
mod round_trip;
mod support;
