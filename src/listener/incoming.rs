//! Accepts TCP connections, each on the thread that it stays on.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::limits::Limits;

/// Accepts a connection. Returns it with its address, and the thread to serve it on.
pub async fn accept<'a>(
    listener: &TcpListener,
    threads: &'a [Handle],
) -> (TcpStream, SocketAddr, &'a Handle) {
    loop {
        match poll_fn(|cx| poll_accept(listener, threads, cx)).await {
            Ok(accepted) => return accepted,
            Err(error) if is_connection_error(&error) => {}
            // The system has no descriptors or memory; connections that end free some.
            Err(_) => tokio::time::sleep(Limits::ACCEPT_PAUSE).await,
        }
    }
}

fn poll_accept<'a>(
    listener: &TcpListener,
    threads: &'a [Handle],
    cx: &mut Context<'_>,
) -> Poll<io::Result<(TcpStream, SocketAddr, &'a Handle)>> {
    let thread = least_busy(threads).ok_or(io::ErrorKind::NotFound)?;
    // Registers the socket with that thread's reactor.
    let _entered = thread.enter();
    let (stream, peer) = ready!(listener.poll_accept(cx))?;
    Poll::Ready(Ok((stream, peer, thread)))
}

/// Returns the thread with the fewest connections.
pub fn least_busy(threads: &[Handle]) -> Option<&Handle> {
    threads.iter().min_by_key(|thread| thread.metrics().num_alive_tasks())
}

/// Returns whether an error is about the accepted connection alone.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt;
    use tokio::runtime::Builder;

    use super::*;
    use crate::listener::bind;

    #[test]
    fn chooses_the_thread_with_the_fewest_connections() {
        let runtimes =
            [(); 3].map(|()| Builder::new_current_thread().enable_all().build().expect("a runtime"));
        let threads: Vec<_> = runtimes.iter().map(|runtime| runtime.handle().clone()).collect();
        let mut tasks = [const { Vec::new() }; 3];
        let accept = async |tasks: &mut [Vec<_>; 3]| {
            let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).expect("a port");
            let address = listener.local_addr().expect("its address");
            let mut client = TcpStream::connect(address).await.expect("a connection");
            client.write_all(b"hello").await.expect("it is connected");
            let accepted = poll_fn(|cx| poll_accept(&listener, &threads, cx)).await;
            let (_, _, thread) = accepted.expect("a connection");
            let index = threads.iter().position(|other| other.id() == thread.id()).expect("one of them");
            tasks[index].push(thread.spawn(pending::<()>()));
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
                task.await.expect_err("it was aborted");
            }
        });
        runtimes[0].block_on(async {
            accept(&mut tasks).await;
            accept(&mut tasks).await;
        });
        assert_eq!(tasks.map(|tasks| tasks.len()), [3; 3]);
    }
}
