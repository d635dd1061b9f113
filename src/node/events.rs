//! What events are to JavaScript.

use std::io;
use std::sync::Arc;

use napi::Status;
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::access::HostAddress;
use crate::events::Event;

/// An event, as `index.js` reads it.
#[napi(object)]
#[derive(Default)]
pub struct NativeEvent {
    /// `listening`, `listenFailed`, `connection`, `disconnect`, `expired`, `messagesExpired`, `error`, `close`.
    pub name: String,
    /// Whose event it is.
    pub client_id: Option<f64>,
    /// For whom expired messages were.
    pub target_id: Option<f64>,
    /// An error's code.
    pub code: Option<String>,
    /// A close code, the system's number of an error, a port, or how many messages or events were dropped.
    pub number: Option<f64>,
    /// An error's or a close code's text, or an address.
    pub text: Option<String>,
}

/// The JavaScript function that takes batches. Weak: it does not keep Node alive.
pub type Outlet = ThreadsafeFunction<Vec<NativeEvent>, (), Vec<NativeEvent>, Status, true, true>;

/// Hands a batch over, and waits until it was taken. False when JavaScript is gone.
pub async fn hand_over(outlet: Arc<Outlet>, batch: Vec<NativeEvent>) -> bool {
    // An error other than `Closing` is an exception of `index.js`, which Node has reported.
    !outlet.call_async(Ok(batch)).await.is_err_and(|error| error.status == Status::Closing)
}

/// An event as `index.js` reads it.
pub fn native(event: Event) -> NativeEvent {
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
            text: Some(reason.text().to_owned()),
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
        Event::Panicked => NativeEvent {
            code: Some("ERR_INTERNAL".to_owned()),
            text: Some("a bug of websocket-relay cost one connection, or events, at most".to_owned()),
            ..named("error")
        },
        Event::Dropped(count) => NativeEvent {
            code: Some("ERR_EVENTS_DROPPED".to_owned()),
            number: Some(count as f64),
            text: Some(format!("{count} events were dropped: the JavaScript thread was busy for too long")),
            ..named("error")
        },
        Event::Closed => named("close"),
    }
}

fn listen_failed(error: &io::Error, event: NativeEvent) -> NativeEvent {
    NativeEvent { number: error.raw_os_error().map(f64::from), text: Some(error.to_string()), ..event }
}
