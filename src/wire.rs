//! One connection's bytes: text frames in by batch, frames out by batch, over any byte stream.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::error::{CloseReason, Offence};
use crate::protocol::frame::{self, Decoder, Incoming};

/// What one read may bring. One buffer per thread serves all its connections: each keeps only the part of a
/// frame that has not arrived in full.
const READ_BUFFER: usize = 64 * 1024;

/// Output buffers that a thread keeps for the next connection that writes, and the largest that it keeps.
const SPARE_BUFFERS: usize = 16;
const SPARE_BYTES: usize = 128 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into());
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Who gets what a connection brings.
pub trait Receiver {
    /// Whether it can take another frame. While it cannot, nothing is read.
    fn is_ready(&self) -> bool;
    /// A text frame came. The answer is the largest frame that may come next.
    ///
    /// # Errors
    /// The reason to close the connection.
    fn receive(&mut self, text: &str) -> Result<usize, CloseReason>;
    /// The client broke the WebSocket protocol; the answer is the reason to close.
    fn offend(&mut self, offence: Offence) -> CloseReason;
}

/// What the connection has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All that was written has been taken by the socket.
    Flushed,
    /// Frames were received.
    Received,
}

/// A WebSocket connection over a byte stream.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    decoder: Decoder,
    /// Bytes that came and were not decoded: part of a frame, or frames that the receiver was not ready for.
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    written: usize,
    max_write_ahead: usize,
    /// Bytes ever received; what it means is only whether it grew.
    pub heard: u64,
    /// Bytes ever taken by the socket; what it means is only whether it grew.
    pub sent: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection that has just been upgraded; `early` came behind the request.
    pub fn new(stream: S, early: &[u8], max_frame: usize, max_write_ahead: usize) -> Self {
        let (decoder, input) = (Decoder::new(max_frame), early.to_vec());
        Self { stream, decoder, input, output: Vec::new(), written: 0, max_write_ahead, heard: 0, sent: 0 }
    }

    /// Whether the socket has taken all that was written.
    pub fn is_drained(&self) -> bool {
        self.output.is_empty()
    }

    /// Bytes of output, those included that the socket has taken of what is not out as a whole.
    pub fn output_length(&self) -> usize {
        self.output.len()
    }

    /// Lets `write` append frames to the output.
    pub fn write<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if self.output.capacity() == 0 {
            self.output = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        let written = write(&mut self.output);
        if self.output.is_empty() {
            self.recycle_output();
        }
        written
    }

    /// An idle connection keeps no buffer.
    fn recycle_output(&mut self) {
        let mut buffer = std::mem::take(&mut self.output);
        self.written = 0;
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BYTES {
                buffer.clear();
                spare.push(buffer);
            }
        });
    }

    /// Writes what is waiting, and reads while the receiver is ready; ready after the first of either.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        receiver: &mut impl Receiver,
    ) -> Poll<Result<Progress, CloseReason>> {
        if !self.is_drained() && self.poll_write(cx)?.is_ready() {
            return Poll::Ready(Ok(Progress::Flushed));
        }
        if !receiver.is_ready() {
            return Poll::Pending;
        }
        if self.decode_input(receiver)? {
            return Poll::Ready(Ok(Progress::Received));
        }
        self.poll_read(cx, receiver).map_ok(|()| Progress::Received)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        while self.written < self.output.len() {
            let write = Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]);
            match ready!(write) {
                Ok(0) | Err(_) => return Poll::Ready(Err(CloseReason::Lost)),
                Ok(taken) => {
                    self.written += taken;
                    self.sent += taken as u64;
                }
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(|_| CloseReason::Lost)?;
        self.recycle_output();
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        receiver: &mut impl Receiver,
    ) -> Poll<Result<(), CloseReason>> {
        READ.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            ready!(read).map_err(|_| CloseReason::Lost)?;
            let bytes = buffer.filled_mut();
            if bytes.is_empty() {
                return Poll::Ready(Err(CloseReason::Lost));
            }
            self.heard += bytes.len() as u64;
            let taken = self.complete_frame(bytes, receiver)?;
            let rest = &mut bytes[taken..];
            let used = self.decode(rest, receiver)?;
            self.input.extend_from_slice(&rest[used..]);
            Poll::Ready(Ok(()))
        })
    }

    /// Completes the frame whose beginning came before, from the first of these bytes, and decodes it; returns how
    /// many that took. What is behind them can then be decoded where it is.
    fn complete_frame(&mut self, bytes: &[u8], receiver: &mut impl Receiver) -> Result<usize, CloseReason> {
        let mut taken = 0;
        while !self.input.is_empty() && taken < bytes.len() && receiver.is_ready() {
            let missing = frame::missing(&self.input).min(bytes.len() - taken);
            self.input.extend_from_slice(&bytes[taken..taken + missing]);
            taken += missing;
            self.decode_input(receiver)?;
        }
        Ok(taken)
    }

    /// Decodes what has come and was not decoded. True when there was a frame.
    fn decode_input(&mut self, receiver: &mut impl Receiver) -> Result<bool, CloseReason> {
        if self.input.is_empty() {
            return Ok(false);
        }
        let mut input = std::mem::take(&mut self.input);
        let used = self.decode(&mut input, receiver)?;
        if used < input.len() {
            input.drain(..used);
            self.input = input;
        }
        Ok(used > 0)
    }

    /// Decodes frames while the receiver is ready; returns how many bytes they took.
    fn decode(&mut self, input: &mut [u8], receiver: &mut impl Receiver) -> Result<usize, CloseReason> {
        let mut used = 0;
        while receiver.is_ready() {
            let (incoming, size) = match self.decoder.decode(&mut input[used..]) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(offence) => return Err(receiver.offend(offence)),
            };
            used += size;
            let max_frame = match incoming {
                None | Some(Incoming::Pong) => continue,
                Some(Incoming::Close(code, reason)) => {
                    return Err(CloseReason::ByPeer(code, reason.to_owned()));
                }
                Some(Incoming::Ping(payload)) => {
                    // Who pings without reading the answers gets none.
                    if self.output.len() < self.max_write_ahead {
                        // Not by `write`: the payload is borrowed from the decoder.
                        frame::pong(payload, &mut self.output);
                    }
                    continue;
                }
                Some(Incoming::Text(text)) => receiver.receive(text)?,
            };
            self.decoder.max_message = max_frame;
        }
        Ok(used)
    }

    /// Ends the connection: writes out what waits, unless a newer connection is to have it, then the close frame,
    /// and waits until the client has closed too, all of it for at most `wait`.
    pub async fn close(&mut self, reason: &CloseReason, wait: Duration) {
        match reason {
            CloseReason::Lost => return,
            CloseReason::Replaced => self.drop_unsent_frames(),
            _ => {}
        }
        self.write(|output| frame::close(reason.code(), reason.text(), output));
        let farewell = async {
            std::future::poll_fn(|cx| self.poll_write(cx)).await?;
            self.stream.shutdown().await.map_err(|_| CloseReason::Lost)?;
            // Closing with bytes unread would reset the connection, and the client might miss the close frame.
            std::future::poll_fn(|cx| self.poll_discard(cx)).await
        };
        // Whether it worked or not: the connection is over.
        tokio::time::timeout(wait, farewell).await.ok();
    }

    /// Forgets the frames of which the socket has not taken a byte.
    fn drop_unsent_frames(&mut self) {
        let mut end = 0;
        while end < self.written {
            end += frame::length(&self.output[end..]);
        }
        self.output.truncate(end);
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        READ.with_borrow_mut(|buffer| {
            loop {
                let mut buffer = ReadBuf::new(buffer);
                let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
                ready!(read).map_err(|_| CloseReason::Lost)?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }
}
