//! Hands events over to the application, one batch at a time: the next batch follows when the last one was taken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::Relay;
use crate::events::{Event, EventReceiver, Topic};
use crate::limits::Limits;
use crate::session::Shared;

/// Events in one batch.
const BATCH: usize = 256;
/// The interval between batches without a listener.
const UNWANTED_INTERVAL: Duration = Duration::from_millis(1);
/// Batches without a listener that may come early.
const UNWANTED_BURST: u32 = 64;

impl Relay {
    /// Spawns a task that translates each event and hands them over in batches.
    ///
    /// `hand_over` returns false when the application takes no more events. A panic costs the event being translated, or
    /// the batch being handed over. The relay's threads end only after the last event was handed over.
    pub fn dispatch_events<T, F>(
        &self,
        events: EventReceiver,
        translate: impl Fn(Event) -> T + Send + 'static,
        hand_over: impl Fn(Vec<T>) -> F + Send + Sync + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let task = dispatch(Arc::clone(&self.context), events, translate, hand_over);
        if let Some(thread) = self.acceptor.least_busy_thread() {
            self.dispatchers.spawn_on(task, thread);
        }
    }
}

/// Limits the rate of batches without a listener. They are handed over all the same, since a listener may have been added
/// meanwhile, but that costs the application some 20 µs.
struct UnwantedBatchLimiter {
    /// When the next batch is due.
    next: Instant,
}

impl UnwantedBatchLimiter {
    async fn wait(&mut self) {
        let now = Instant::now();
        self.next = self.next.max(now) + UNWANTED_INTERVAL;
        sleep_until(self.next - UNWANTED_INTERVAL * UNWANTED_BURST).await;
    }
}

async fn dispatch<T, F: Future<Output = bool>>(
    context: Arc<Shared>,
    mut events: EventReceiver,
    translate: impl Fn(Event) -> T,
    hand_over: impl Fn(Vec<T>) -> F,
) {
    let mut batch = Vec::new();
    let mut limiter = UnwantedBatchLimiter { next: Instant::now() };
    while events.recv_many(&mut batch, BATCH).await {
        let interest = context.events.interest();
        if !batch.iter().any(|event| interest.includes(Topic::of(event))) {
            limiter.wait().await;
        }
        let (count, is_last) = (batch.len(), matches!(batch.last(), Some(Event::Closed)));
        let translated = batch.drain(..).map(|event| catch_unwind(AssertUnwindSafe(|| translate(event))));
        let translated: Vec<_> = translated.filter_map(Result::ok).collect();
        let is_complete = translated.len() == count;
        let taken = AssertUnwindSafe(async { hand_over(translated).await }).catch_unwind().await;
        if is_last || matches!(taken, Ok(false)) {
            return;
        }
        if !is_complete || taken.is_err() {
            context.panicked();
            // A task that panics every time must not starve the others.
            tokio::time::sleep(Limits::RESTART_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::events;
    use crate::hub::Hub;
    use crate::ids::ClientId;

    /// Emits `rate` events a millisecond for two seconds. Returns the numbers of batches and of events handed over.
    async fn hand_over_at(rate: u32, wanted: bool) -> (usize, usize) {
        let limits = Limits::default();
        let (sink, receiver) = events::channel(limits.max_queued_events);
        let hub = Hub::new(limits.clone(), false).expect("randomness");
        let context = Arc::new(Shared::new(limits, hub, sink.clone()));
        sink.interest().set(Topic::Connected, wanted);
        let batches = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&batches);
        let hand_over = move |batch: Vec<_>| {
            taken.lock().expect("no panic").push(batch.len());
            std::future::ready(true)
        };
        let dispatcher = tokio::spawn(dispatch(context, receiver, |event| event, hand_over));
        let client = ClientId::new(1).expect("an id");
        for _ in 0..2000 {
            for _ in 0..rate {
                sink.emit(Event::Connected(client));
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sink.emit_or_wait(Event::Closed).await;
        dispatcher.await.expect("no panic");
        let batches = batches.lock().expect("no panic");
        (batches.len(), batches.iter().sum::<usize>() - 1)
    }

    #[tokio::test(start_paused = true)]
    async fn hands_over_unwanted_events_in_few_batches_and_loses_none() {
        let (batches, events) = hand_over_at(20, false).await;
        assert_eq!(events, 40_000);
        assert!(batches <= 2000 + 64 + 1, "{batches} batches");
        assert!(hand_over_at(20, true).await.0 > 20_000);
    }
}
