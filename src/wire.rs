//! A WebSocket connection over any byte stream: reads and decodes frames, and writes an outbox.
//!
//! A connection reads into its thread's `read_buffer`, and frames are decoded there, in place. Only a frame that has not
//! arrived in full is kept by the connection, so an idle one has no buffer. How much is read at a time, and when, is decided
//! by its [`Turn`].

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::coop;

use crate::copy;
use crate::error::{CloseReason, Offence};
use crate::hub::Outbox;
use crate::ids::Token;
use crate::limits::Limits;
use crate::protocol::frame::{self, Decoder, Incoming};
use crate::read_buffer;

mod discard;
pub mod turn;

pub use discard::{discard, poll_read};
pub use turn::Turn;

/// Bytes of the read buffer before the position that a read begins at. The beginning of a frame is copied there when its
/// rest has been read, so that the frame is decoded in the buffer.
const PREFIX: usize = 32 * 1024;

/// Bytes that are written per unit of tokio's budget, of which a task has 128 before others have their turn.
const WRITE_PER_UNIT: usize = 16 * 1024;

const _: () = assert!(PREFIX + Limits::TURN_BYTES <= read_buffer::SIZE);

/// Size of a read, in bytes, for a connection that brings more frames than are decoded in one turn: the rest of them has to
/// be copied.
const MIN_READ_SIZE: usize = 4 * 1024;

/// The receiver of a connection's messages.
pub trait Receiver {
    /// Returns whether it can take another frame. While it cannot, nothing is read.
    fn is_ready(&self) -> bool;
    /// Handles a text message. Returns the size of the largest message that may come next, in bytes.
    ///
    /// # Errors
    /// The reason to close the connection.
    fn receive(&mut self, text: &str) -> Result<usize, CloseReason>;
    /// Sends a message back. In the conformance build, in place of [`Receiver::receive`].
    #[cfg(feature = "conformance")]
    fn echo(&mut self, message: &Incoming<'_>) -> usize;
    /// Answers a ping with its payload.
    fn ping(&mut self, payload: &[u8]);
    /// Handles a violation of the WebSocket protocol. Returns the reason to close the connection.
    fn protocol_error(&mut self, offence: Offence) -> CloseReason;
}

/// A WebSocket connection over a byte stream.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    decoder: Decoder,
    /// Bytes that were read and not decoded: part of a frame, or frames that the receiver was not ready for. At most the
    /// largest frame and a turn's bytes; freed when all is decoded.
    input: Vec<u8>,
    /// The number of bytes that were ever received. Only compared for change.
    pub bytes_received: u64,
    turn: Turn,
    /// Size of the next read, in bytes.
    read_size: u32,
    /// The number of messages that were ever received. Only compared for change.
    messages: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Returns a connection that has just been upgraded. `early` are the bytes that came after the request.
    pub fn new(stream: S, early: &[u8], max_frame: usize) -> Self {
        let (decoder, input, turn) = (Decoder::new(max_frame), early.to_vec(), Turn::default());
        Self {
            stream,
            decoder,
            input,
            bytes_received: 0,
            turn,
            read_size: Limits::SHORT_TURN_BYTES as u32,
            messages: 0,
        }
    }

    /// Returns the number of the message of which only a part has arrived, if there is one.
    pub fn partial_message(&self) -> Option<u32> {
        (!self.input.is_empty() || self.decoder.is_in_message()).then_some(self.messages)
    }

    /// Writes the outbox. Returns `Ready` when the socket has taken all of it.
    ///
    /// # Errors
    /// [`CloseReason::Lost`] if the stream failed.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<Result<(), CloseReason>> {
        let written = outbox.write_to(|bytes| {
            let bytes = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            spend_budget(bytes / WRITE_PER_UNIT, cx);
            Poll::Ready(Ok(bytes))
        });
        ready!(written).map_err(|_| CloseReason::Lost)?;
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| CloseReason::Lost)
    }

    /// Reads once and passes the messages to the receiver. Returns `Pending` also while the receiver is not ready, and while
    /// the connection waits for its turn.
    ///
    /// # Errors
    /// The reason why the connection ends.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        receiver: &mut impl Receiver,
    ) -> Poll<Result<(), CloseReason>> {
        if !receiver.is_ready() {
            self.turn.leave_line();
            return Poll::Pending;
        }
        ready!(self.turn.poll_ready(cx));
        if !self.input.is_empty() && self.decode_input(receiver)? {
            return Poll::Ready(Ok(()));
        }
        let received = self.poll_read(cx, receiver);
        if received.is_pending() {
            self.turn.end();
        }
        received
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        receiver: &mut impl Receiver,
    ) -> Poll<Result<(), CloseReason>> {
        read_buffer::fill(|buffer| {
            let size = (self.read_size as usize).min(self.turn.max_bytes());
            let mut read = ReadBuf::new(&mut buffer[PREFIX..PREFIX + size]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).map_err(|_| CloseReason::Lost)?;
            let length = read.filled().len();
            if length == 0 {
                return Poll::Ready(Err(CloseReason::Lost));
            }
            self.bytes_received += length as u64;
            self.turn.record_read(length);
            let begun = self.input.len();
            let filled = std::mem::take(buffer);
            let start = if (1..=PREFIX).contains(&begun) && frame::missing_bytes(&self.input) <= length {
                copy::fill(&std::mem::take(&mut self.input), &mut filled[PREFIX - begun..PREFIX]);
                PREFIX - begun
            } else {
                PREFIX + self.complete_frame(&filled[PREFIX..PREFIX + length], receiver)?
            };
            let mut rest = &mut filled[start..PREFIX + length];
            self.decode(&mut rest, receiver)?;
            copy::append(rest, &mut self.input);
            if !self.turn.may_decode() {
                self.read_size = MIN_READ_SIZE as u32;
            } else if length == size {
                self.read_size = self.read_size.max((2 * size).min(Limits::TURN_BYTES) as u32);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Completes the frame that `input` begins with the first of these bytes, and decodes it. Returns how many bytes that
    /// took; the others can then be decoded in place.
    fn complete_frame(&mut self, bytes: &[u8], receiver: &mut impl Receiver) -> Result<usize, CloseReason> {
        let mut taken = 0;
        while !self.input.is_empty() && taken < bytes.len() && self.may_decode(receiver) {
            let missing = frame::missing_bytes(&self.input).min(bytes.len() - taken);
            copy::append(&bytes[taken..taken + missing], &mut self.input);
            taken += missing;
            self.decode_input(receiver)?;
        }
        Ok(taken)
    }

    /// Decodes the frames in `input`. Returns whether there was one.
    fn decode_input(&mut self, receiver: &mut impl Receiver) -> Result<bool, CloseReason> {
        let mut input = std::mem::take(&mut self.input);
        let length = input.len();
        let mut rest = &mut input[..];
        self.decode(&mut rest, receiver)?;
        let used = length - rest.len();
        if used < length {
            input.drain(..used);
            // The rest of a frame may take long to arrive.
            if input.capacity() > MIN_READ_SIZE && input.len() < input.capacity() / 4 {
                input.shrink_to_fit();
            }
            self.input = input;
        }
        Ok(used > 0)
    }

    fn may_decode(&self, receiver: &impl Receiver) -> bool {
        receiver.is_ready() && self.turn.may_decode()
    }

    /// Decodes frames while the receiver is ready and the turn lasts, and splits them off `input`: a message may be shared
    /// with its recipient's outbox, and shared bytes must not lie in a slice that is still in use.
    fn decode(&mut self, input: &mut &mut [u8], receiver: &mut impl Receiver) -> Result<(), CloseReason> {
        while !input.is_empty() && self.may_decode(receiver) {
            let incoming = match self.decoder.decode(input) {
                Ok(Some((incoming, _))) => incoming,
                Ok(None) => break,
                Err(offence) => return Err(receiver.protocol_error(offence)),
            };
            self.turn.record_frame();
            let max_frame = match incoming {
                None | Some(Incoming::Pong) => continue,
                Some(Incoming::Close(code, reason)) => {
                    return Err(CloseReason::ByPeer(code, Token::redact(reason)));
                }
                Some(Incoming::Ping(payload)) => {
                    receiver.ping(payload);
                    continue;
                }
                #[cfg(not(feature = "conformance"))]
                Some(Incoming::Text(text)) => receiver.receive(text)?,
                #[cfg(feature = "conformance")]
                Some(message @ (Incoming::Text(_) | Incoming::Binary(_))) => receiver.echo(&message),
            };
            self.decoder.max_message = max_frame;
            self.messages = self.messages.wrapping_add(1);
        }
        Ok(())
    }

    /// Closes the connection: writes the outbox and a close frame, and waits until the client has closed its side. All of
    /// it takes `wait` at most. At most [`Limits::MAX_DISCARDED_BYTES`] that the client still sends are read.
    pub async fn close(&mut self, mut outbox: Outbox, reason: &CloseReason, wait: Duration) {
        self.turn.leave_line();
        if matches!(reason, CloseReason::Lost) {
            return;
        }
        // Nothing is decoded any more, and the client may take its time.
        self.input = Vec::new();
        self.decoder = Decoder::new(0);
        outbox.write(|frames| frame::close(reason.code(), reason.text(), frames));
        let closing = async {
            std::future::poll_fn(|cx| self.poll_write(cx, &mut outbox)).await?;
            self.stream.shutdown().await.map_err(|_| CloseReason::Lost)?;
            // Closing with bytes unread would reset the connection, and the client could miss the close frame.
            let Self { stream, turn, .. } = self;
            discard(stream, turn, Limits::MAX_DISCARDED_BYTES).await.map_err(|_| CloseReason::Lost)
        };
        // The connection is over even if this fails.
        tokio::time::timeout(wait, closing).await.ok();
    }
}

/// Spends units of tokio's budget, after which other tasks have their turn.
fn spend_budget(units: usize, cx: &mut Context<'_>) {
    for _ in 0..units {
        match coop::poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}
