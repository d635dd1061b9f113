//! What wakes a connection: mail, room for a message that is held back, or its end.

use std::sync::OnceLock;
use std::task::{Context, Poll};

use crate::error::CloseReason;
use crate::sync::{AtomicBool, AtomicWaker, Ordering};

/// One connection's bell. A ring while nobody listens is heard by the next who does; several rings are one.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    /// Set when the mailbox was taken from the connection.
    ending: OnceLock<Box<Ending>>,
    waker: AtomicWaker,
}

/// Why a connection has to end, and what it still has to write so that its last frame is whole.
#[derive(Debug)]
pub struct Ending {
    /// Why.
    pub reason: CloseReason,
    /// The rest of the frame that the socket has taken a part of.
    pub rest: Box<[u8]>,
}

impl Bell {
    /// Wakes the connection.
    pub fn ring(&self) {
        // Who finds it rung need not wake: the connection has not come to listen since.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Has the connection end when it hears the next ring.
    pub fn end(&self, reason: CloseReason, rest: Box<[u8]>) {
        // Set before: the mailbox is taken from it once.
        self.ending.set(Box::new(Ending { reason, rest })).ok();
    }

    /// How the connection has to end, if it has to.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get().map(|ending| &**ending)
    }

    /// Ready when it was rung since it was last ready.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.rung.load(Ordering::Acquire) {
            self.waker.register(cx.waker());
        }
        // After registering: a ring in between is seen here or wakes.
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}
