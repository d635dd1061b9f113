//! The door: accepts connections within the bounds and hands each to a session.

mod request;
mod tcp;
mod upgrade;

pub use tcp::bind;

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::events::Event;
use crate::limits::Limits;
use crate::session::{self, Shared};

use upgrade::{Upgraded, upgrade};

/// A connection's place among those that may be open.
struct Admission {
    /// Within `maxConnections`. Above it a connection is kept only to be told so.
    within_bounds: bool,
    _permit: OwnedSemaphorePermit,
}

/// Accepts connections for ever; each runs as a task of `tasks`, on that of the `threads` that has the fewest.
pub async fn serve(listener: TcpListener, shared: &Arc<Shared>, tasks: &TaskTracker, threads: &[Handle]) {
    let open = Arc::new(Semaphore::new(shared.limits.max_connections));
    let excess = Arc::new(Semaphore::new(Limits::MAX_TURNED_AWAY));
    loop {
        match poll_fn(|cx| poll_accept(&listener, threads, cx)).await {
            Ok((stream, thread)) => {
                let place = |of: &Arc<Semaphore>, within_bounds| {
                    let permit = Arc::clone(of).try_acquire_owned().ok();
                    permit.map(|_permit| Admission { within_bounds, _permit })
                };
                // Above even that the connection is dropped without a word.
                if let Some(admission) = place(&open, true).or_else(|| place(&excess, false)) {
                    let task = guard(run(stream, admission, Arc::clone(shared)), Arc::clone(shared));
                    tasks.spawn_on(task, thread);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            // No descriptor or no memory: they come back when connections end.
            Err(_) => tokio::time::sleep(Limits::ACCEPT_PAUSE).await,
        }
    }
}

/// A connection, and the thread that it is for.
fn poll_accept<'a>(
    listener: &TcpListener,
    threads: &'a [Handle],
    cx: &mut Context<'_>,
) -> Poll<io::Result<(TcpStream, &'a Handle)>> {
    let fewest = threads.iter().min_by_key(|thread| thread.metrics().num_alive_tasks());
    let thread = fewest.ok_or(io::ErrorKind::NotFound)?;
    // So that it is that thread which hears from the socket, from the beginning.
    let _entered = thread.enter();
    let (stream, _) = ready!(listener.poll_accept(cx))?;
    Poll::Ready(Ok((stream, thread)))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A connection from its request to its end. No `async fn`, which would have room for the session beside what the
/// handshake needs; this has room for the larger of the two.
fn run(stream: TcpStream, admission: Admission, shared: Arc<Shared>) -> impl Future<Output = ()> {
    upgrade(stream, Arc::clone(&shared)).then(move |upgraded| match upgraded {
        Some((stream, early)) if admission.within_bounds => {
            session::run(stream, &early, shared, admission).left_future()
        }
        upgraded => turn_away(upgraded, shared, admission).right_future(),
    })
}

async fn turn_away(upgraded: Option<Upgraded>, shared: Arc<Shared>, _admission: Admission) {
    if let Some((stream, _)) = upgraded {
        session::turn_away(stream, &shared.limits).await;
    }
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_connection_goes_to_the_thread_that_has_the_fewest() {
        let runtimes =
            [(); 3].map(|()| Builder::new_current_thread().enable_all().build().expect("a runtime"));
        let threads: Vec<_> = runtimes.iter().map(|runtime| runtime.handle().clone()).collect();
        let mut tasks = [const { Vec::new() }; 3];
        let accept = async |tasks: &mut [Vec<_>; 3]| {
            let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).expect("a port");
            let address = listener.local_addr().expect("its address");
            let accepted = poll_fn(|cx| poll_accept(&listener, &threads, cx));
            let (connected, accepted) = tokio::join!(TcpStream::connect(address), accepted);
            connected.expect("a connection");
            let (_, thread) = accepted.expect("a connection");
            let place = threads.iter().position(|other| other.id() == thread.id()).expect("one of them");
            tasks[place].push(thread.spawn(pending::<()>()));
        };
        runtimes[0].block_on(async {
            for _ in 0..9 {
                accept(&mut tasks).await;
            }
            assert_eq!(tasks.each_ref().map(Vec::len), [3; 3]);
        });
        runtimes[1].block_on(async {
            for task in tasks[1].drain(1..) {
                task.abort();
                task.await.expect_err("it was ended");
            }
        });
        runtimes[0].block_on(async {
            accept(&mut tasks).await;
            accept(&mut tasks).await;
        });
        assert_eq!(tasks.map(|tasks| tasks.len()), [3; 3]);
    }
}
