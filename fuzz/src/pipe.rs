//! A connection in memory: a server's end that is a byte stream, and a client's end that never waits.

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
    client_is_gone: bool,
    server_is_done: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Bytes that a client has not read and the server may write.
const CAPACITY: usize = 700;

#[derive(Debug)]
pub struct ServerEnd {
    state: Arc<Mutex<State>>,
    /// What one read brings at most; the next brings all there is. So what is written is cut anywhere, and yet read by few
    /// reads.
    piece: usize,
    is_cut: bool,
}

#[derive(Debug)]
pub struct ClientEnd(Arc<Mutex<State>>);

pub fn pipe(piece: usize) -> (ServerEnd, ClientEnd) {
    let state = Arc::new(Mutex::new(State::default()));
    (ServerEnd { state: Arc::clone(&state), piece, is_cut: false }, ClientEnd(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic before")
}

impl ClientEnd {
    pub fn write(&self, bytes: &[u8]) {
        let mut state = lock(&self.0);
        state.to_server.extend(bytes);
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    pub fn read(&self, most: usize) -> Vec<u8> {
        let mut state = lock(&self.0);
        let size = most.min(state.to_client.len());
        let bytes = state.to_client.drain(..size).collect();
        state.writer.take().into_iter().for_each(Waker::wake);
        bytes
    }

    /// Whether the server has written all that it ever will, and it was read.
    pub fn is_over(&self) -> bool {
        let state = lock(&self.0);
        state.server_is_done && state.to_client.is_empty()
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.client_is_gone = true;
        let State { reader, writer, .. } = &mut *state;
        reader.take().into_iter().chain(writer.take()).for_each(Waker::wake);
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        lock(&self.state).server_is_done = true;
    }
}

impl AsyncRead for ServerEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { state, piece, is_cut } = self.get_mut();
        let mut state = lock(state);
        if state.to_server.is_empty() && !state.client_is_gone {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        *is_cut = !*is_cut;
        let piece = if *is_cut { *piece } else { usize::MAX };
        let size = piece.min(state.to_server.len()).min(buffer.remaining());
        buffer.put_slice(&state.to_server.make_contiguous()[..size]);
        state.to_server.drain(..size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        if state.client_is_gone {
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
        lock(&self.state).server_is_done = true;
        Poll::Ready(Ok(()))
    }
}

impl Transport for ServerEnd {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        (self, None)
    }
}
