//! Carries events out: one batch at a time, so that whoever takes them sets the pace.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::Relay;
use crate::events::{Event, EventReceiver, Topic};
use crate::limits::Limits;
use crate::session::Shared;

/// Events of one batch.
const BATCH: usize = 256;
/// The time from one batch that nobody wants to the next.
const UNWANTED_PAUSE: Duration = Duration::from_millis(1);
/// Such batches that may come earlier than that.
const UNWANTED_BURST: u32 = 64;

impl Relay {
    /// Has each event translated and each batch of them handed over, which comes to false when nobody takes them any more.
    /// A panic costs the event that is translated, or the batch that is handed over. The relay's threads end only when the
    /// last event is out.
    pub fn dispatch_events<T, F>(
        &self,
        events: EventReceiver,
        translate: impl Fn(Event) -> T + Send + 'static,
        hand_over: impl Fn(Vec<T>) -> F + Send + Sync + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let task = dispatch(Arc::clone(&self.shared), events, translate, hand_over);
        if let Some(thread) = self.door.thread() {
            self.dispatchers.spawn_on(task, thread);
        }
    }
}

/// How often batches are handed over that nobody wants. Whoever takes them has to be asked, for a listener may have been
/// added since; asking costs it some 20 µs.
struct UnwantedBatchLimiter {
    /// When the next one is due that is not early.
    next: Instant,
}

impl UnwantedBatchLimiter {
    async fn wait(&mut self) {
        let now = Instant::now();
        self.next = self.next.max(now) + UNWANTED_PAUSE;
        sleep_until(self.next - UNWANTED_PAUSE * UNWANTED_BURST).await;
    }
}

async fn dispatch<T, F: Future<Output = bool>>(
    shared: Arc<Shared>,
    mut events: EventReceiver,
    translate: impl Fn(Event) -> T,
    hand_over: impl Fn(Vec<T>) -> F,
) {
    let mut batch = Vec::new();
    let mut limiter = UnwantedBatchLimiter { next: Instant::now() };
    while events.recv_many(&mut batch, BATCH).await {
        let interest = shared.events.interest();
        if !batch.iter().any(|event| interest.includes(Topic::of(event))) {
            limiter.wait().await;
        }
        let (count, is_last) = (batch.len(), matches!(batch.last(), Some(Event::Closed)));
        let translated = batch.drain(..).map(|event| catch_unwind(AssertUnwindSafe(|| translate(event))));
        let translated: Vec<_> = translated.filter_map(Result::ok).collect();
        let is_whole = translated.len() == count;
        let taken = AssertUnwindSafe(async { hand_over(translated).await }).catch_unwind().await;
        if is_last || matches!(taken, Ok(false)) {
            return;
        }
        if !is_whole || taken.is_err() {
            shared.panicked();
            // Should it panic each time, others have their turn.
            tokio::time::sleep(Limits::RESTART_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::backend::Backend;
    use crate::events;
    use crate::ids::ClientId;

    /// So many events a millisecond for two seconds: in how many batches are they handed over, and how many in all?
    async fn handed_over(rate: u32, wanted: bool) -> (usize, usize) {
        let limits = Limits::default();
        let (sink, receiver) = events::channel(limits.max_queued_events);
        let backend = Backend::memory(limits.clone(), false).expect("randomness");
        let shared = Arc::new(Shared::new(limits, backend, sink.clone()));
        sink.interest().set(Topic::Connected, wanted);
        let batches = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&batches);
        let hand_over = move |batch: Vec<_>| {
            taken.lock().expect("no panic").push(batch.len());
            std::future::ready(true)
        };
        let dispatcher = tokio::spawn(dispatch(shared, receiver, |event| event, hand_over));
        let client = ClientId::new(1).expect("an id");
        for _ in 0..2000 {
            for _ in 0..rate {
                sink.emit(Event::Connected(client));
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sink.emit_surely(Event::Closed).await;
        dispatcher.await.expect("no panic");
        let batches = batches.lock().expect("no panic");
        (batches.len(), batches.iter().sum::<usize>() - 1)
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_is_handed_over_rarely_and_in_full() {
        let (batches, events) = handed_over(20, false).await;
        assert_eq!(events, 40_000);
        assert!(batches <= 2000 + 64 + 1, "{batches} batches");
        assert!(handed_over(20, true).await.0 > 20_000);
    }
}
