//! How much one connection may bring before the others have their turn.

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::task::yield_now;

use crate::limits::Limits;

/// Where so many connections wait for their next turn, turns are half as long; where it is twice as many, a third.
const CROWD: usize = 8;
/// The shortest turn, however many wait: bytes that are read, and frames.
const LEAST_BYTES: usize = 16 * 1024;
const LEAST_FRAMES: usize = 32;

thread_local! {
    /// Connections of this thread that have more to say and wait for their next turn.
    static WAITING: Cell<usize> = const { Cell::new(0) };
}

/// What a connection has brought since others had their turn, or since there was nothing.
#[derive(Debug, Default)]
pub struct Turn {
    frames: u32,
    bytes: u32,
    /// 0 before it has begun.
    max_frames: u32,
    max_bytes: u32,
    /// Whether this is one of those that wait.
    is_waiting: bool,
}

impl Turn {
    /// A turn as long as the others let it be.
    fn begin() -> Self {
        let share = 1 + WAITING.get() / CROWD;
        let max_frames = (Limits::TURN_FRAMES / share).max(LEAST_FRAMES) as u32;
        let max_bytes = (Limits::TURN_BYTES / share).max(LEAST_BYTES) as u32;
        Self { frames: 0, bytes: 0, max_frames, max_bytes, is_waiting: false }
    }

    /// The most that may be read at one time.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes as usize
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: usize) {
        self.bytes += bytes as u32;
    }

    /// A frame was decoded.
    pub fn decoded(&mut self) {
        self.frames += 1;
    }

    /// Whether another frame may be decoded.
    pub fn may_decode(&self) -> bool {
        self.frames < self.max_frames
    }

    /// Begins it. Pending when it is over; then it has the task come again when the others have had theirs.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_waiting || self.max_frames == 0 {
            self.wait_no_more();
            *self = Self::begin();
        }
        if self.may_decode() && self.bytes < self.max_bytes {
            return Poll::Ready(());
        }
        self.is_waiting = true;
        WAITING.set(WAITING.get() + 1);
        poll_others(cx)
    }

    fn wait_no_more(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            WAITING.set(WAITING.get().saturating_sub(1));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.wait_no_more();
    }
}

/// Pending. Has the task come again when the others have had their turn.
pub fn poll_others(cx: &mut Context<'_>) -> Poll<()> {
    pin!(yield_now()).poll(cx)
}
