//! A connection in memory: the server's end is an async byte stream, the client's end never waits.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use websocket_relay::shared_writer::SharedWriter;
use websocket_relay::stream::Transport;

#[derive(Debug, Default)]
struct State {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    client_has_closed: bool,
    server_has_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The bytes that the server may write ahead of the client's reads.
const CAPACITY: usize = 700;

/// The server's end.
#[derive(Debug)]
pub struct ServerEnd {
    state: Arc<Mutex<State>>,
    /// The size of every second read at most; the others read all bytes. So the input is split anywhere, but needs few reads.
    piece: usize,
    /// Whether the last read was limited to `piece`.
    was_short: bool,
}

/// The client's end. Dropping it closes the connection.
#[derive(Debug)]
pub struct ClientEnd(Arc<Mutex<State>>);

/// Creates a connection. Every second read of the server brings at most `piece` bytes.
pub fn connection(piece: usize) -> (ServerEnd, ClientEnd) {
    let state = Arc::new(Mutex::new(State::default()));
    (ServerEnd { state: Arc::clone(&state), piece, was_short: false }, ClientEnd(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic before")
}

impl ClientEnd {
    /// Sends bytes to the server.
    pub fn write(&self, bytes: &[u8]) {
        let mut state = lock(&self.0);
        state.to_server.extend(bytes);
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Reads at most `most` bytes.
    pub fn read(&self, most: usize) -> Vec<u8> {
        let mut state = lock(&self.0);
        let size = most.min(state.to_client.len());
        let bytes = state.to_client.drain(..size).collect();
        state.writer.take().into_iter().for_each(Waker::wake);
        bytes
    }

    /// Returns whether the server has closed the connection and all its bytes were read.
    pub fn has_ended(&self) -> bool {
        let state = lock(&self.0);
        state.server_has_closed && state.to_client.is_empty()
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.client_has_closed = true;
        let State { reader, writer, .. } = &mut *state;
        reader.take().into_iter().chain(writer.take()).for_each(Waker::wake);
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        lock(&self.state).server_has_closed = true;
    }
}

impl AsyncRead for ServerEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { state, piece, was_short } = self.get_mut();
        let mut state = lock(state);
        if state.to_server.is_empty() && !state.client_has_closed {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        *was_short = !*was_short;
        let piece = if *was_short { *piece } else { usize::MAX };
        let size = piece.min(state.to_server.len()).min(buffer.remaining());
        buffer.put_slice(&state.to_server.make_contiguous()[..size]);
        state.to_server.drain(..size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        if state.client_has_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let size = bytes.len().min(CAPACITY - state.to_client.len());
        if size == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.to_client.extend(&bytes[..size]);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.state).server_has_closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Transport for ServerEnd {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        (self, None)
    }
}
