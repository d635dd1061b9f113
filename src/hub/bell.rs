//! What wakes a connection's session: mail, room for a message that it holds, or its end.

use std::sync::OnceLock;
use std::task::{Context, Poll};

use crate::error::CloseReason;
use crate::sync::{AtomicBool, AtomicWaker, Ordering};

/// The bell of one connection. A ring while nobody polls is kept for the next poll; several rings are one.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    /// Set when the mailbox is taken from the connection.
    ending: OnceLock<Box<Ending>>,
    waker: AtomicWaker,
}

/// Why a connection has to end, and what it has to write first so that its last frame is complete.
#[derive(Debug)]
pub struct Ending {
    /// Why.
    pub reason: CloseReason,
    /// The rest of the frame that the socket has taken a part of.
    pub rest: Box<[u8]>,
}

impl Bell {
    /// Wakes the connection's session.
    pub fn ring(&self) {
        // A bell that is rung already has woken the session, which has not polled since.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Has the connection end at the next ring.
    pub fn end(&self, reason: CloseReason, rest: Box<[u8]>) {
        // Set once: the mailbox is taken from a connection once.
        self.ending.set(Box::new(Ending { reason, rest })).ok();
    }

    /// Returns how the connection has to end, if it has to.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get().map(|ending| &**ending)
    }

    /// Ready when the bell was rung since it was last ready.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.rung.load(Ordering::Acquire) {
            self.waker.register(cx.waker());
        }
        // After registering: a ring in between is seen here, or wakes the task.
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}
