//! What wakes a connection: mail, room for a message that is held back, or its end.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// One connection's bell. A ring while nobody listens is heard by the next who does; several rings are one.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    /// Set when a newer connection has taken over: the rest of the frame that the socket has taken a part of.
    replaced: OnceLock<Box<[u8]>>,
    waker: AtomicWaker,
}

impl Bell {
    /// Wakes the connection.
    pub fn ring(&self) {
        // Who finds it rung need not wake: the connection has not come to listen since.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Tells the connection, when it is woken, that a newer one has taken over. `rest` is what it still has to write so
    /// that its last frame is whole.
    pub fn replace(&self, rest: Box<[u8]>) {
        // Set before: it is replaced once.
        self.replaced.set(rest).ok();
    }

    /// What is left to write, if a newer connection has taken over.
    pub fn replaced(&self) -> Option<&[u8]> {
        self.replaced.get().map(|rest| &**rest)
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
