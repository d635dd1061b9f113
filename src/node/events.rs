//! Events as JavaScript sees them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::access::HostAddress;
use crate::events::{Event, Interest, Topic};

/// The names of the events that are delivered only if they have a listener.
pub const TOPICS: &[(&str, Topic)] = &[
    ("connection", Topic::Connected),
    ("disconnect", Topic::Disconnected),
    ("error", Topic::Offences),
    ("expired", Topic::Expired),
    ("messagesExpired", Topic::MessagesExpired),
];

/// An event, as `index.js` reads it.
#[napi(object)]
#[derive(Default)]
pub struct NativeEvent {
    /// A name of [`TOPICS`], or `listening`, `listenFailed`, `storeFailed`, `adoptedConnectionsEnded` or `close`.
    pub name: String,
    /// The client that the event is about; the sender of expired messages.
    pub client_id: Option<f64>,
    /// The recipient of expired messages.
    pub target_id: Option<f64>,
    /// The code of an error.
    pub code: Option<String>,
    /// A close code, a system error number, a port, or a number of messages or dropped events.
    pub number: Option<f64>,
    /// The text of an error or of a close code, or an address.
    pub text: Option<String>,
}

/// An event on its way to the JavaScript thread.
pub struct QueuedEvent {
    topic: Option<Topic>,
    event: NativeEvent,
}

/// The JavaScript function that takes batches of events. Weak: it does not keep Node alive.
pub type EventCallback = ThreadsafeFunction<Vec<QueuedEvent>, (), Vec<NativeEvent>, Status, true, true>;

/// The number of batches that JavaScript was given and whose listeners were not all called. Used on its thread only.
pub type PendingBatches = Arc<AtomicUsize>;

/// Wraps `on_events`, which takes batches of events.
///
/// On the JavaScript thread, leading events without a listener are removed from a batch. Everything after an event with a
/// listener is kept, since that listener may add others; so is every event after a batch that is pending.
pub fn event_callback(
    on_events: &Function<'_, Vec<NativeEvent>, ()>,
    interest: Interest,
    pending_batches: PendingBatches,
) -> napi::Result<EventCallback> {
    let builder =
        on_events.build_threadsafe_function::<Vec<QueuedEvent>>().callee_handled::<true>().weak::<true>();
    builder.build_callback(move |context| {
        let is_behind_others = pending_batches.load(Ordering::Relaxed) > 0;
        let batch = context.value.into_iter();
        let wanted = batch.skip_while(|queued| !is_behind_others && !interest.includes(queued.topic));
        let events: Vec<_> = wanted.map(|queued| queued.event).collect();
        pending_batches.fetch_add(usize::from(!events.is_empty()), Ordering::Relaxed);
        Ok(events)
    })
}

/// Hands a batch over and waits until it was taken. Returns false if Node is shutting down.
pub async fn hand_over(on_events: Arc<EventCallback>, batch: Vec<QueuedEvent>) -> bool {
    // An error other than `Closing` is an exception of `index.js`, which Node has reported.
    !on_events.call_async(Ok(batch)).await.is_err_and(|error| error.status == Status::Closing)
}

/// Converts an event for the queue.
pub fn queue(event: Event) -> QueuedEvent {
    QueuedEvent { topic: Topic::of(&event), event: native(event) }
}

fn native(event: Event) -> NativeEvent {
    let named = |name: &str| NativeEvent { name: name.to_owned(), ..NativeEvent::default() };
    match event {
        Event::Listening(address) => NativeEvent {
            number: Some(f64::from(address.port())),
            text: Some(HostAddress::from(address).to_string()),
            ..named("listening")
        },
        Event::ListenFailed(error) => listen_failed(&error, named("listenFailed")),
        Event::Connected(client) => {
            NativeEvent { client_id: Some(client.get() as f64), ..named("connection") }
        }
        Event::Disconnected(client, reason) => NativeEvent {
            client_id: Some(client.get() as f64),
            number: Some(f64::from(reason.code())),
            text: Some(reason.printable_text().into_owned()),
            ..named("disconnect")
        },
        Event::Expired { client, undelivered } => NativeEvent {
            client_id: Some(client.get() as f64),
            number: Some(undelivered as f64),
            ..named("expired")
        },
        Event::MessagesExpired { sender, recipient, messages } => NativeEvent {
            client_id: Some(sender.get() as f64),
            target_id: Some(recipient.get() as f64),
            number: Some(messages as f64),
            ..named("messagesExpired")
        },
        Event::Offence { client, offence } => NativeEvent {
            client_id: client.map(|client| client.get() as f64),
            code: Some(offence.code().to_owned()),
            text: Some(offence.to_string()),
            ..named("error")
        },
        Event::StoreFailed(error) => NativeEvent {
            code: Some(error.code().to_owned()),
            text: Some(error.to_string()),
            ..named("storeFailed")
        },
        Event::Panicked => NativeEvent {
            code: Some("ERR_INTERNAL".to_owned()),
            text: Some("a bug in websocket-relay ended one connection or lost some events".to_owned()),
            ..named("error")
        },
        Event::Dropped(count) => NativeEvent {
            code: Some("ERR_EVENTS_DROPPED".to_owned()),
            number: Some(count as f64),
            text: Some(format!("{count} events were dropped: the JavaScript thread was busy for too long")),
            ..named("error")
        },
        Event::AdoptedConnectionsEnded => named("adoptedConnectionsEnded"),
        Event::Closed => named("close"),
    }
}

fn listen_failed(error: &io::Error, event: NativeEvent) -> NativeEvent {
    NativeEvent { number: error.raw_os_error().map(f64::from), text: Some(error.to_string()), ..event }
}
