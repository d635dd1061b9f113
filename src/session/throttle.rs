//! A plain client over its rate: it is not read from for a while, and not for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What is kept of a client from the moment on that it was over its rate, until it has calmed down.
pub(super) struct Throttle {
    /// Since when it is over its rate.
    since: Instant,
    /// Until when nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    /// It is over its rate, and has paused for nothing yet.
    pub fn new() -> Self {
        Self { since: Instant::now(), pause: None }
    }

    /// How long it has been going on.
    pub fn lasts(&self) -> Duration {
        self.since.elapsed()
    }

    /// Nothing is read for so long.
    pub fn pause(&mut self, wait: Duration) {
        self.pause = Some(Box::pin(sleep_until(Instant::now() + wait)));
    }

    /// Whether nothing is read.
    pub fn is_pausing(&self) -> bool {
        self.pause.is_some()
    }

    /// Ends a pause that has been long enough; true when there was one.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.pause.take_if(|pause| matches!(pause.as_mut().poll(cx), Poll::Ready(()))).is_some()
    }
}
