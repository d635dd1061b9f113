//! The door: accepts connections within the bounds and hands each to a session.

mod tcp;
mod upgrade;

pub use tcp::bind;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::events::Event;
use crate::limits::Limits;
use crate::session::{self, Shared};

/// A connection's place among those that may be open.
struct Admission {
    /// Within `maxConnections`. Above it a connection is kept only to be told so.
    within_bounds: bool,
    _permit: OwnedSemaphorePermit,
}

/// Accepts connections until `shared.stop`; each runs as a task of `tasks`.
pub async fn serve(listener: TcpListener, shared: &Arc<Shared>, tasks: &TaskTracker) {
    let open = Arc::new(Semaphore::new(shared.limits.max_connections));
    let excess = Arc::new(Semaphore::new(Limits::MAX_TURNED_AWAY));
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let place = |of: &Arc<Semaphore>, within_bounds| {
                    let permit = Arc::clone(of).try_acquire_owned().ok();
                    permit.map(|_permit| Admission { within_bounds, _permit })
                };
                // Above even that the connection is dropped without a word.
                if let Some(admission) = place(&open, true).or_else(|| place(&excess, false)) {
                    tasks.spawn(guard(
                        admit(stream, admission, Arc::clone(shared), tasks.clone()),
                        Arc::clone(shared),
                    ));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            // No descriptor or no memory: they come back when connections end.
            Err(_) => tokio::time::sleep(Limits::ACCEPT_PAUSE).await,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn admit(stream: TcpStream, admission: Admission, shared: Arc<Shared>, tasks: TaskTracker) {
    // A message must not wait for the next one; where it cannot be set it only costs time.
    stream.set_nodelay(true).ok();
    let upgraded = tokio::select! {
        () = shared.stop.cancelled() => return,
        upgraded = upgrade::upgrade(stream, &shared.limits) => upgraded,
    };
    let Some((stream, early)) = upgraded else { return };
    // A task of its own, so that what the handshake needed is freed.
    if admission.within_bounds {
        let conversation = session::run(stream, &early, Arc::clone(&shared), admission);
        tasks.spawn(guard(conversation, shared));
    } else {
        tasks.spawn(guard(turn_away(stream, Arc::clone(&shared), admission), shared));
    }
}

async fn turn_away(stream: TcpStream, shared: Arc<Shared>, _admission: Admission) {
    session::turn_away(stream, &shared.limits).await;
}

/// A panic ends the task it happens in, and is told; nothing else notices. No `async fn`, which would have room for
/// the task twice.
fn guard(task: impl Future<Output = ()>, shared: Arc<Shared>) -> impl Future<Output = ()> {
    AssertUnwindSafe(task).catch_unwind().map(move |finished| {
        if finished.is_err() {
            shared.events.emit(Event::Panicked);
        }
    })
}
