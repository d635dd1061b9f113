//! Carries events out: one batch at a time, so that whoever takes them sets the pace.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;

use super::Relay;
use crate::events::{Event, EventReceiver};
use crate::limits::Limits;
use crate::session::Shared;

/// Events of one batch.
const BATCH: usize = 256;

impl Relay {
    /// Has each event translated and each batch of them handed over, which comes to false when nobody takes them any more.
    /// A panic costs the event that is translated, or the batch that is handed over. The relay's threads end only when the
    /// last event is out.
    pub fn spawn_courier<T, F>(
        &self,
        events: EventReceiver,
        translate: impl Fn(Event) -> T + Send + 'static,
        hand_over: impl Fn(Vec<T>) -> F + Send + Sync + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let task = carry(Arc::clone(&self.shared), events, translate, hand_over);
        if let Some(thread) = self.door.thread() {
            self.couriers.spawn_on(task, thread);
        }
    }
}

async fn carry<T, F: Future<Output = bool>>(
    shared: Arc<Shared>,
    mut events: EventReceiver,
    translate: impl Fn(Event) -> T,
    hand_over: impl Fn(Vec<T>) -> F,
) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, BATCH).await {
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
