//! Reading of connections that have no session yet or no longer have one. Each read waits for the connection's turn.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::Turn;
use crate::read_buffer;

/// Reads once, when it is the connection's turn, and calls `take` with the bytes; with none at the end of the stream.
///
/// # Errors
/// Any error of the stream.
pub fn poll_read<S: AsyncRead + Unpin, T>(
    stream: &mut S,
    turn: &mut Turn,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    ready!(turn.poll_ready(cx));
    let read = read_buffer::fill(|buffer| {
        let mut read = ReadBuf::new(&mut buffer[..turn.max_bytes()]);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        turn.record_read(read.filled().len());
        Poll::Ready(Ok(take(read.filled())))
    });
    if read.is_pending() {
        turn.end();
    }
    read
}

/// Reads and discards bytes until the client has closed its side, or has sent `max` bytes.
///
/// # Errors
/// Any error of the stream.
pub async fn discard<S: AsyncRead + Unpin>(stream: &mut S, turn: &mut Turn, max: usize) -> io::Result<()> {
    let mut left = max;
    poll_fn(|cx| {
        loop {
            let length = ready!(poll_read(stream, turn, cx, <[u8]>::len))?;
            left = left.saturating_sub(length);
            if length == 0 || left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    })
    .await
}
