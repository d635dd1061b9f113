//! Periodic work: expiry, presence, and returning free memory to the system.

use std::time::{Duration, Instant};

use super::task::restart_on_panic;
use crate::error::{CloseReason, MessageExpired};
use crate::events::Event;
use crate::hub::{ExpiredMessages, PresenceProgress, Removal, Totals};
use crate::model::release_spare_chunks;
use crate::session::Shared;
use crate::trim::{freed, trim};

/// The time between two checks whether memory can be returned.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Trimming is not worth its cost after fewer messages.
const MANY_MESSAGES: u64 = 1000;
/// Trimming is not worth its cost for fewer bytes.
const MANY_BYTES: usize = 16 * 1024 * 1024;

/// The number of registrations that end before other tasks run.
const BATCH: usize = 64;

/// The pause after presence notices have woken sessions to write them.
const PRESENCE_PAUSE: Duration = Duration::from_millis(1);

/// Runs periodic maintenance until it is dropped.
pub async fn run_maintenance(context: &Shared) {
    // Restarted separately: a panic of one task must not lose what another was about to do.
    tokio::join!(
        restart_on_panic(context, || run_expiry(context)),
        restart_on_panic(context, || trim_memory(context)),
        restart_on_panic(context, || send_presence(context))
    );
}

/// Sends presence notices as they become due.
async fn send_presence(context: &Shared) {
    loop {
        let PresenceProgress { has_more, has_rung } = context.hub.tell_presence();
        match (has_more, has_rung) {
            (false, _) => context.hub.presence_pending().await,
            (true, false) => tokio::task::yield_now().await,
            // The woken sessions may be on other threads, which `yield_now` would not wait for.
            (true, true) => tokio::time::sleep(PRESENCE_PAUSE).await,
        }
    }
}

/// Removes registrations and drops messages as they expire.
async fn run_expiry(context: &Shared) {
    loop {
        context.hub.deadline().await;
        crate::faults::point("expire");
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(mut removal) = context.hub.expire(now) else { break };
            let Removal { client, removed, .. } = removal;
            if removed.was_connected {
                context.events.emit(Event::Disconnected(client, CloseReason::Expired));
            }
            while context.hub.remove_from_peers(&mut removal) {
                tokio::task::yield_now().await;
            }
            let undelivered = removed.undelivered;
            // Never dropped: the application frees its own data about the client on this event.
            context.events.emit_or_wait(Event::Expired { client, undelivered }).await;
        }
        for ExpiredMessages { sender, recipient, messages } in context.hub.expire_messages(now) {
            context.metrics.dropped(MessageExpired::CODE, messages);
            context.events.emit(Event::MessagesExpired { sender, recipient, messages });
        }
        tokio::task::yield_now().await;
    }
}

/// Drops all messages of a closed relay and returns their memory.
pub fn drop_messages(context: &Shared) {
    let before = context.hub.totals();
    if before.queued_messages > 0 || before.queued_bytes > 0 {
        context.hub.drop_messages();
    }
    // Twice: the first call keeps chunks that were used recently.
    release_spare_chunks();
    release_spare_chunks();
    if before.queued_bytes >= MANY_BYTES || before.relayed_messages >= MANY_MESSAGES {
        trim();
    }
}

/// Counters at one memory check.
#[derive(Clone, Copy)]
struct MemorySample {
    /// Messages relayed since the start.
    messages: u64,
    /// Bytes of large buffers freed since the start.
    freed: usize,
    /// Bytes queued now.
    queued: usize,
}

impl MemorySample {
    fn take(context: &Shared) -> Self {
        let Totals { relayed_messages: messages, queued_bytes: queued, .. } = context.hub.totals();
        Self { messages, freed: freed(), queued }
    }

    /// Returns the messages and the freed bytes since `earlier`.
    fn since(self, earlier: Self) -> (u64, usize) {
        (self.messages - earlier.messages, self.freed - earlier.freed)
    }
}

/// Returns free memory to the system when traffic has fallen or stopped.
async fn trim_memory(context: &Shared) {
    let mut last = MemorySample::take(context);
    let (mut peak_queued, mut last_trim) = (last.queued, last);
    loop {
        crate::faults::point("trim_memory");
        tokio::time::sleep(MEMORY_CHECK_INTERVAL).await;
        release_spare_chunks();
        let now = MemorySample::take(context);
        let (recent_messages, recent_freed) = now.since(last);
        let (messages, freed) = now.since(last_trim);
        last = now;
        peak_queued = peak_queued.max(now.queued);
        // Traffic as heavy as before would need the memory again.
        let is_quieter = messages >= MANY_MESSAGES && recent_messages < messages / 10;
        let frees_less = freed >= MANY_BYTES && recent_freed < freed / 10;
        if is_quieter || frees_less || peak_queued - now.queued >= MANY_BYTES {
            trim();
            (last_trim, peak_queued) = (now, now.queued);
        }
    }
}
