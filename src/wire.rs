//! One connection's bytes: text frames in by batch, frames out by batch, over any byte stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::coop;

use crate::backend::Outbox;
use crate::copy;
use crate::error::{CloseReason, Offence};
use crate::ids::Token;
use crate::limits::Limits;
use crate::protocol::frame::{self, Decoder, Incoming};
use crate::read_buffer;

mod discard;
pub mod turn;

pub use discard::{discard, poll_read};
pub use turn::Turn;

/// The longest beginning of a frame that is put before what is read, to be decoded there when the frame is complete.
const BEGINNING: usize = 32 * 1024;

/// A write of so many bytes is as much of a turn as any operation of tokio, of which there are 128 in one.
const WRITE: usize = 16 * 1024;

const _: () = assert!(BEGINNING + Limits::TURN_BYTES <= read_buffer::SIZE);

/// What is asked for of a connection that brings more frames than are decoded in one turn. What is left of them is kept.
const SHORTEST_READ: usize = 4 * 1024;

/// Who gets what a connection brings.
pub trait Receiver {
    /// Whether it can take another frame. While it cannot, nothing is read.
    fn is_ready(&self) -> bool;
    /// A text frame came. The answer is the largest frame that may come next.
    ///
    /// # Errors
    /// The reason to close the connection.
    fn receive(&mut self, text: &str) -> Result<usize, CloseReason>;
    /// In the conformance build, in place of [`Receiver::receive`]: a message came, to be sent back.
    #[cfg(feature = "conformance")]
    fn echo(&mut self, message: &Incoming<'_>) -> usize;
    /// A ping came, to be answered with its payload.
    fn ping(&mut self, payload: &[u8]);
    /// The client broke the WebSocket protocol; the answer is the reason to close.
    fn protocol_error(&mut self, offence: Offence) -> CloseReason;
}

/// A WebSocket connection over a byte stream. It keeps only what has not arrived in full.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    decoder: Decoder,
    /// Bytes that came and were not decoded: part of a frame, or frames that the receiver was not ready for. At most the
    /// largest frame and a turn's bytes; given back when all is decoded.
    input: Vec<u8>,
    /// Bytes ever received; what it means is only whether it grew.
    pub bytes_received: u64,
    turn: Turn,
    /// What is asked for next, in bytes.
    read_size: u32,
    /// Messages ever received; what it means is only whether it grew.
    messages: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection that has just been upgraded; `early` came behind the request.
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

    /// The number of the message that has come in part, if there is one.
    pub fn partial_message(&self) -> Option<u32> {
        (!self.input.is_empty() || self.decoder.is_in_message()).then_some(self.messages)
    }

    /// Writes what the socket has not taken; ready when it has taken everything.
    ///
    /// # Errors
    /// [`CloseReason::Lost`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<Result<(), CloseReason>> {
        while !outbox.is_drained() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, outbox.untaken())) {
                Ok(0) | Err(_) => return Poll::Ready(Err(CloseReason::Lost)),
                Ok(bytes) => {
                    outbox.take(bytes);
                    spend(bytes / WRITE, cx);
                }
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| CloseReason::Lost)
    }

    /// Reads once, if the receiver is ready, and hands it what came. Pending also while it is not ready, and when it is the
    /// turn of others; then the task is woken when they have had it.
    ///
    /// # Errors
    /// Why the connection is over.
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
            let wanted = (self.read_size as usize).min(self.turn.max_bytes());
            let mut read = ReadBuf::new(&mut buffer[BEGINNING..BEGINNING + wanted]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).map_err(|_| CloseReason::Lost)?;
            let length = read.filled().len();
            if length == 0 {
                return Poll::Ready(Err(CloseReason::Lost));
            }
            self.bytes_received += length as u64;
            self.turn.record_read(length);
            let begun = self.input.len();
            let filled = std::mem::take(buffer);
            let start = if (1..=BEGINNING).contains(&begun) && frame::missing_bytes(&self.input) <= length {
                copy::fill(&std::mem::take(&mut self.input), &mut filled[BEGINNING - begun..BEGINNING]);
                BEGINNING - begun
            } else {
                BEGINNING + self.complete_frame(&filled[BEGINNING..BEGINNING + length], receiver)?
            };
            let mut rest = &mut filled[start..BEGINNING + length];
            self.decode(&mut rest, receiver)?;
            copy::append(rest, &mut self.input);
            if !self.turn.may_decode() {
                self.read_size = SHORTEST_READ as u32;
            } else if length == wanted {
                self.read_size = self.read_size.max((2 * wanted).min(Limits::TURN_BYTES) as u32);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Completes the frame whose beginning came before, from the first of these bytes, and decodes it; returns how
    /// many that took. What is behind them can then be decoded where it is.
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

    /// Decodes what has come and was not decoded. True when there was a frame.
    fn decode_input(&mut self, receiver: &mut impl Receiver) -> Result<bool, CloseReason> {
        let mut input = std::mem::take(&mut self.input);
        let length = input.len();
        let mut rest = &mut input[..];
        self.decode(&mut rest, receiver)?;
        let used = length - rest.len();
        if used < length {
            input.drain(..used);
            // A beginning may wait for long.
            if input.capacity() > SHORTEST_READ && input.len() < input.capacity() / 4 {
                input.shrink_to_fit();
            }
            self.input = input;
        }
        Ok(used > 0)
    }

    fn may_decode(&self, receiver: &impl Receiver) -> bool {
        receiver.is_ready() && self.turn.may_decode()
    }

    /// Decodes frames while the receiver is ready and the turn lasts, and cuts them off `input`: a message may be lent to
    /// its recipient, and lent bytes must not lie in a slice that is still in use.
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

    /// Ends the connection: writes what is in the outbox, then the close frame, and waits until the client has closed
    /// too, all of it for at most `wait`. Of what the client goes on sending [`Limits::MAX_DISCARDED_BYTES`] are read.
    pub async fn close(&mut self, mut outbox: Outbox, reason: &CloseReason, wait: Duration) {
        self.turn.leave_line();
        if matches!(reason, CloseReason::Lost) {
            return;
        }
        outbox.write(|frames| frame::close(reason.code(), reason.text(), frames));
        let farewell = async {
            std::future::poll_fn(|cx| self.poll_write(cx, &mut outbox)).await?;
            self.stream.shutdown().await.map_err(|_| CloseReason::Lost)?;
            // Closing with bytes unread would reset the connection, and the client might miss the close frame.
            let Self { stream, turn, .. } = self;
            discard(stream, turn, Limits::MAX_DISCARDED_BYTES).await.map_err(|_| CloseReason::Lost)
        };
        // Whether it worked or not: the connection is over.
        tokio::time::timeout(wait, farewell).await.ok();
    }
}

/// Spends some of what tokio lets a task do before the others have their turn.
fn spend(units: usize, cx: &mut Context<'_>) {
    for _ in 0..units {
        match coop::poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}
