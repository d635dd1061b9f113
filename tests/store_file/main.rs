//! The store's file gives back what was committed, to whatever comes next, or says why it does not.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod damage;
mod lives;
mod refusals;
mod round_trip;
mod support;
