//! In-process byte streams to sockets that JavaScript holds.
//!
//! A bridge has two ends. The engine reads from and writes to [`Bridge`] like a socket. The owner of the real socket holds
//! the [`SocketEnd`]: it pushes what the socket receives, and fetches [`SocketCommand`]s when notified. Both directions are
//! bounded by [`Limits::BRIDGE_BYTES`].

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Transport;
use crate::copy;
use crate::limits::Limits;
use crate::shared_writer::SharedWriter;

/// The engine's end. Dropping it closes the connection.
#[derive(Debug)]
pub struct Bridge(Arc<Inner>);

/// The socket owner's end. Dropping it resets the connection.
#[derive(Debug)]
pub struct SocketEnd(Arc<Inner>);

/// What the socket's owner is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SocketCommand {
    /// Write these bytes to the socket.
    pub bytes: Vec<u8>,
    /// Resume reading, which [`SocketEnd::push`] paused.
    pub resume: bool,
    /// Close the socket's write side after the bytes: the engine writes nothing more.
    pub end: bool,
    /// Close the socket after the bytes: the engine's end was dropped.
    pub close: bool,
}

struct Inner {
    buffers: Mutex<BridgeBuffers>,
    /// Tells the socket's owner that there is a command. Called without the lock.
    notify: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct BridgeBuffers {
    /// Received bytes: those already read, and less than [`Limits::BRIDGE_BYTES`] plus the last push unread. Freed when all is
    /// read.
    input: Vec<u8>,
    /// How many bytes of the input the engine has read.
    read: usize,
    /// The input is complete.
    input_ended: bool,
    /// The socket was reset.
    is_reset: bool,
    /// The socket's owner has stopped reading until a command resumes it.
    is_paused: bool,
    /// Bytes to write to the socket, at most [`Limits::BRIDGE_BYTES`].
    output: Vec<u8>,
    /// The output is complete.
    output_ended: bool,
    /// The engine's end was dropped.
    is_closed: bool,
    /// The owner was notified and has not fetched since.
    is_notified: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Returns both ends of a new bridge. `notify` is called when there is a [`SocketCommand`] to fetch, and not again before it
/// is fetched.
pub fn pair(notify: impl Fn() + Send + Sync + 'static) -> (Bridge, SocketEnd) {
    let shared = Arc::new(Inner { buffers: Mutex::default(), notify: Box::new(notify) });
    (Bridge(Arc::clone(&shared)), SocketEnd(shared))
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BridgeBuffers> {
        // A panic leaves consistent buffers: no change takes several steps that may fail.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, mut buffers: MutexGuard<'_, BridgeBuffers>) {
        let was_notified = std::mem::replace(&mut buffers.is_notified, true);
        drop(buffers);
        if !was_notified {
            (self.notify)();
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("buffers", &self.buffers).finish_non_exhaustive()
    }
}

impl SocketEnd {
    /// Passes on bytes that the socket received. Returns false if the owner must stop reading until a command says to resume.
    pub fn push(&self, bytes: &[u8]) -> bool {
        let mut buffers = self.0.lock();
        if buffers.read > buffers.input.len() / 2 {
            // An engine that never reads quite all of it would let it grow without bound.
            let read = std::mem::take(&mut buffers.read);
            buffers.input.drain(..read);
        }
        copy::append(bytes, &mut buffers.input);
        buffers.is_paused |= buffers.input.len() - buffers.read >= Limits::BRIDGE_BYTES;
        let (may_continue, reader) = (!buffers.is_paused, buffers.reader.take());
        drop(buffers);
        wake(reader);
        may_continue
    }

    /// The socket has received everything.
    pub fn end(&self) {
        let mut buffers = self.0.lock();
        buffers.input_ended = true;
        let reader = buffers.reader.take();
        drop(buffers);
        wake(reader);
    }

    /// The socket was reset or closed.
    pub fn reset(&self) {
        let mut buffers = self.0.lock();
        buffers.is_reset = true;
        buffers.output = Vec::new();
        let wakers = [buffers.reader.take(), buffers.writer.take()];
        drop(buffers);
        wakers.into_iter().for_each(wake);
    }

    /// Returns what to do. Call it when notified, and when the socket has written all its bytes.
    ///
    /// While the socket is not `is_writable` the command has no bytes, unless they are the last ones: the engine writes at
    /// most [`Limits::BRIDGE_BYTES`] ahead.
    pub fn fetch(&self, is_writable: bool) -> SocketCommand {
        let mut buffers = self.0.lock();
        buffers.is_notified = false;
        let unread = buffers.input.len() - buffers.read;
        let resume = buffers.is_paused && unread == 0;
        buffers.is_paused &= !resume;
        let (bytes, writer) = match is_writable || buffers.is_closed {
            true => (std::mem::take(&mut buffers.output), buffers.writer.take()),
            false => (Vec::new(), None),
        };
        let end = buffers.output_ended && buffers.output.is_empty();
        let command = SocketCommand { bytes, resume, end, close: buffers.is_closed };
        drop(buffers);
        wake(writer);
        command
    }
}

impl Drop for SocketEnd {
    fn drop(&mut self) {
        self.reset();
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Transport for Bridge {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        (self, None)
    }
}

impl AsyncRead for Bridge {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffers = self.0.lock();
        let unread = &buffers.input[buffers.read..];
        if unread.is_empty() {
            if buffers.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if buffers.input_ended {
                return Poll::Ready(Ok(()));
            }
            buffers.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..size]);
        buffers.read += size;
        if buffers.read == buffers.input.len() {
            // An idle connection holds no buffer.
            (buffers.input, buffers.read) = (Vec::new(), 0);
            if buffers.is_paused {
                self.0.notify(buffers);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bridge {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut buffers = self.0.lock();
        if buffers.is_reset || buffers.output_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let size = bytes.len().min(Limits::BRIDGE_BYTES - buffers.output.len());
        if size == 0 && !bytes.is_empty() {
            buffers.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        copy::append(&bytes[..size], &mut buffers.output);
        self.0.notify(buffers);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.0.lock();
        buffers.output_ended = true;
        self.0.notify(buffers);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let mut buffers = self.0.lock();
        buffers.is_closed = true;
        self.0.notify(buffers);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Returns both ends, and a count of the notifications.
    fn counted_pair() -> (Bridge, SocketEnd, Arc<AtomicUsize>) {
        let notified = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&notified);
        let notify = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let (bridge, socket) = pair(notify);
        (bridge, socket, notified)
    }

    #[tokio::test]
    async fn an_unread_input_pauses_the_socket_until_all_is_read() {
        let (mut bridge, socket, notified) = counted_pair();
        let half = vec![b'x'; Limits::BRIDGE_BYTES / 2];
        assert!(socket.push(&half));
        assert!(!socket.push(&half));
        let mut read = vec![0; Limits::BRIDGE_BYTES - 1];
        bridge.read_exact(&mut read).await.expect("bytes");
        assert_eq!(notified.load(Ordering::Relaxed), 0);
        assert!(!socket.fetch(true).resume);
        bridge.read_exact(&mut read[..1]).await.expect("the last byte");
        assert_eq!(notified.load(Ordering::Relaxed), 1);
        assert_eq!(socket.fetch(true), SocketCommand { resume: true, ..SocketCommand::default() });
        assert_eq!(socket.fetch(true), SocketCommand::default());
        socket.end();
        assert_eq!(bridge.read(&mut read).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn frees_read_input_even_if_some_is_always_unread() {
        let (mut bridge, socket, _) = counted_pair();
        let (bytes, mut read) = (vec![b'x'; 1000], vec![0; 1000]);
        assert!(socket.push(&bytes));
        for _ in 0..10_000 {
            assert!(socket.push(&bytes));
            bridge.read_exact(&mut read).await.expect("bytes");
        }
        let kept = bridge.0.lock().input.capacity();
        assert!(kept <= 2 * Limits::BRIDGE_BYTES, "{kept} bytes");
    }

    #[tokio::test]
    async fn a_writer_waits_at_the_bound() {
        let (mut bridge, socket, notified) = counted_pair();
        let bytes = vec![b'x'; Limits::BRIDGE_BYTES + 1];
        assert_eq!(bridge.write(&bytes).await.expect("room"), Limits::BRIDGE_BYTES);
        let mut more = Box::pin(bridge.write(b"y"));
        assert!(futures_util::poll!(&mut more).is_pending());
        assert_eq!(socket.fetch(false), SocketCommand::default());
        assert_eq!(socket.fetch(true).bytes.len(), Limits::BRIDGE_BYTES);
        assert_eq!(more.await.expect("room again"), 1);
        assert_eq!(notified.load(Ordering::Relaxed), 2);
        bridge.shutdown().await.expect("no error");
        assert_eq!(
            socket.fetch(true),
            SocketCommand { bytes: b"y".into(), end: true, ..SocketCommand::default() }
        );
        drop(bridge);
        assert_eq!(socket.fetch(true), SocketCommand { end: true, close: true, ..SocketCommand::default() });
    }

    #[tokio::test]
    async fn a_reset_is_an_error_after_the_received_bytes() {
        let (mut bridge, socket, _) = counted_pair();
        assert!(socket.push(b"last"));
        drop(socket);
        let mut read = [0; 4];
        bridge.read_exact(&mut read).await.expect("the received bytes");
        assert_eq!(&read, b"last");
        bridge.read(&mut read).await.expect_err("a reset, not an end");
        bridge.write(b"x").await.expect_err("it is reset");
    }
}
