//! Periodic work: expiry and presence.

use std::time::{Duration, Instant};

use super::task::restart_on_panic;
use crate::error::{CloseReason, MessageExpired};
use crate::events::Event;
use crate::hub::{ExpiredMessages, PresenceProgress, Removal};
use crate::session::Shared;

/// The number of registrations that end before other tasks run.
const BATCH: usize = 64;

/// The pause after presence notices have woken sessions to write them.
const PRESENCE_PAUSE: Duration = Duration::from_millis(1);

/// Runs periodic maintenance until it is dropped.
pub async fn run_maintenance(context: &Shared) {
    // Restarted separately: a panic of one task must not lose what another was about to do.
    tokio::join!(
        restart_on_panic(context, || run_expiry(context)),
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

/// Drops all messages of a closed relay.
pub fn drop_messages(context: &Shared) {
    let before = context.hub.totals();
    if before.queued_messages > 0 || before.queued_bytes > 0 {
        context.hub.drop_messages();
    }
}
