//! A relay from opening its port to its last event.
//!
//! # Closing
//!
//! `stop` ends every session, `hurry` ends draining, and `cut` drops every connection that is still open. `cut` fires
//! `closeTimeout` after [`Relay::close`](super::Relay::close), or at the end of the shortest `timeout` given to [`Relay::drain`](super::Relay::drain).
//!
//! # Draining
//!
//! A draining session runs until no message waits for its client. Meanwhile it drops the relay frames of a reliable client,
//! which does not get `accepted` for them and sends them again elsewhere, and does not read from a plain client at all. So
//! the waiting messages only become fewer. See `session::drain`.

use std::io;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::maintenance;
use super::options::Address;
use super::task::restart_on_panic;
use crate::events::Event;
use crate::limits::Limits;
use crate::listener::{self, Acceptor};
use crate::session::Shared;

/// Drops every connection after `timeout`.
pub async fn cut_after(context: Arc<Shared>, timeout: Duration) {
    let cut = || async {
        crate::faults::point("cut");
        tokio::time::sleep(timeout).await;
        context.cut();
    };
    restart_on_panic(&context, cut).await;
}

/// Runs a thread's event loop until `main` or `aborted` completes.
#[expect(clippy::needless_pass_by_value, reason = "dropping the runtime here ends its tasks with the thread")]
pub fn run_until(runtime: Runtime, main: impl Future<Output = ()>, aborted: impl Future<Output = ()>) {
    runtime.block_on(async {
        tokio::select! {
            () = main => {}
            () = aborted => {}
        }
    });
}

/// Serves connections until the relay is closed, every connection has ended and every event was handed over.
pub async fn run(
    context: Arc<Shared>,
    acceptor: Arc<Acceptor>,
    started: oneshot::Receiver<Address>,
    dispatchers: TaskTracker,
) {
    let mut maintenance = pin!(maintenance::run_maintenance(&context));
    let listener = tokio::select! {
        biased;
        () = context.stop.cancelled() => None,
        listener = listen(&context, started) => listener,
        () = &mut maintenance => None,
    };
    if let Some(listener) = &listener {
        tokio::select! {
            // First, so that a connection accepted while the relay is closing gets a rejection.
            biased;
            () = context.stop.cancelled() => {}
            () = restart_on_panic(&context, || acceptor.serve(listener)) => {}
            () = &mut maintenance => {}
        }
    }
    wait_for_connections(&context, &acceptor, listener.as_ref()).await;
    drop(listener);
    // A store on disk keeps them, and is closed last: the application may still remove clients that were just disconnected.
    if context.hub.store_queue().is_none() {
        maintenance::drop_messages(&context);
    }
    context.events.emit_or_wait(Event::Closed).await;
    dispatchers.close();
    dispatchers.wait().await;
}

/// Opens the port when [`Relay::listen`](super::Relay::listen) is called. Returns `None` if that fails, and closes the relay.
async fn listen(context: &Shared, started: oneshot::Receiver<Address>) -> Option<TcpListener> {
    // An error means that the relay was dropped before it listened.
    let Ok(address) = started.await else { return std::future::pending().await };
    let bound = catch_unwind(|| bind(address)).unwrap_or_else(|_| {
        context.panicked();
        Err(io::Error::other("a bug in websocket-relay"))
    });
    match bound {
        Ok((listener, address)) => {
            context.events.emit_or_wait(Event::Listening(address)).await;
            Some(listener)
        }
        Err(error) => {
            context.events.emit_or_wait(Event::ListenFailed(error)).await;
            context.stop();
            None
        }
    }
}

fn bind(address: Address) -> io::Result<(TcpListener, std::net::SocketAddr)> {
    crate::faults::point("bind");
    let listener = listener::bind(address.ip, address.port)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Waits until every connection has ended. Meanwhile new ones are rejected, and health checks are answered.
async fn wait_for_connections(context: &Shared, acceptor: &Arc<Acceptor>, listener: Option<&TcpListener>) {
    let emptied = async {
        tokio::select! {
            biased;
            () = acceptor.wait_until_idle() => {}
            () = context.cut.cancelled() => {
                // Each connection ends when it is polled next; this bounds the wait for one that never is.
                timeout(Limits::CUT_GRACE, acceptor.wait_until_idle()).await.ok();
            }
        }
    };
    let Some(listener) = listener else { return emptied.await };
    let rejected = Mutex::default();
    tokio::select! {
        biased;
        () = emptied => {}
        () = restart_on_panic(context, || acceptor.reject_all(listener, &rejected)) => {}
    }
}
