//! Decodes the bytes of a connection at once, in pieces with a receiver that is not always ready, and with tungstenite, and
//! compares the messages and control frames.

use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use websocket_relay::protocol::frame::{Decoder, Incoming};
use websocket_relay::wire::{Receiver, Wire};
use websocket_relay::{CloseReason, Limits, Offence, Token};

use super::feed::Feed;

/// The longest header of a client frame.
const MAX_HEADER: usize = 14;
/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;

/// Runs the target. The input: a byte for the largest message, a byte for the size of the pieces, a byte for the frames after
/// which the receiver is not ready (its highest bit makes pieces 256 times as long), and the bytes of the connection.
pub fn run(input: &[u8]) {
    let [bound, size, patience, bytes @ ..] = input else { return };
    let max = [0, 1, 126, 1000, 100_000][usize::from(*bound) % 5];
    let whole = decode_whole(bytes, max);
    let size = (usize::from(*size) + 1) * if patience & 0x80 == 0 { 1 } else { 256 };
    decode_pieces(bytes, max, size, patience & 0x7F, &whole);
    compare(&whole, &decode_with_tungstenite(bytes));
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Received {
    Text(String),
    Ping(Vec<u8>),
    Close(u16, String),
    Offence(Offence),
}

/// Returns what each frame decodes to, and where it ends. A frame that completes no message is `None`.
fn decode_whole(bytes: &[u8], max: usize) -> Vec<(usize, Option<Received>)> {
    let (mut decoder, mut bytes, mut frames) = (Decoder::new(max), bytes.to_vec(), Vec::new());
    let mut end = 0;
    loop {
        let received = match decoder.decode(&mut &mut bytes[end..]) {
            Ok(None) => return frames,
            Ok(Some((incoming, size))) => {
                end += size;
                match incoming {
                    None | Some(Incoming::Pong) => None,
                    Some(Incoming::Text(text)) => Some(Received::Text(text.to_owned())),
                    Some(Incoming::Ping(payload)) => Some(Received::Ping(payload.to_vec())),
                    Some(Incoming::Close(code, reason)) => Some(Received::Close(code, reason.to_owned())),
                }
            }
            Err(offence) => Some(Received::Offence(offence)),
        };
        let is_over = matches!(received, Some(Received::Offence(_) | Received::Close(..)));
        frames.push((end, received));
        if is_over {
            return frames;
        }
    }
}

struct Recorder {
    received: Vec<Received>,
    max: usize,
    patience: u8,
    /// The frames until it is not ready.
    left: u8,
}

impl Receiver for Recorder {
    fn is_ready(&self) -> bool {
        self.patience == 0 || self.left > 0
    }

    fn receive(&mut self, text: &str) -> Result<usize, CloseReason> {
        self.received.push(Received::Text(text.to_owned()));
        self.left = self.left.saturating_sub(1);
        Ok(self.max)
    }

    fn ping(&mut self, payload: &[u8]) {
        self.received.push(Received::Ping(payload.to_vec()));
        self.left = self.left.saturating_sub(1);
    }

    fn protocol_error(&mut self, offence: Offence) -> CloseReason {
        self.received.push(Received::Offence(offence));
        CloseReason::Internal
    }
}

fn decode_pieces(bytes: &[u8], max: usize, size: usize, patience: u8, whole: &[(usize, Option<Received>)]) {
    let feed = Feed::new(bytes, size);
    let progress = feed.progress();
    let read = || progress.load(Ordering::Relaxed);
    let mut wire = Wire::new(feed, &[], max);
    let mut recorder = Recorder { received: Vec::new(), max, patience, left: 0 };
    let mut cx = Context::from_waker(Waker::noop());
    let expected: Vec<_> = whole.iter().filter_map(|(_, received)| received.as_ref().map(redact)).collect();
    loop {
        match wire.poll_receive(&mut cx, &mut recorder) {
            Poll::Pending => recorder.left = patience,
            // Frames above the limit of one turn may be kept for the next.
            Poll::Ready(Ok(())) if recorder.is_ready() && whole.len() < Limits::SHORT_TURN_FRAMES => {
                // All complete frames are decoded, and no more than one incomplete frame is kept.
                let complete = whole.iter().filter(|(end, _)| *end <= read());
                let end = complete.clone().map(|(end, _)| *end).max().unwrap_or(0);
                assert!(read() - end <= MAX_HEADER + max.max(MAX_CONTROL), "{} bytes kept", read() - end);
                let due = complete
                    .filter(|(_, received)| !matches!(received, None | Some(Received::Offence(_))))
                    .count();
                assert!(recorder.received.len() >= due, "{:?} of {due}", recorder.received);
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(CloseReason::ByPeer(code, reason))) => {
                recorder.received.push(Received::Close(code, reason));
                break;
            }
            Poll::Ready(Err(_)) => break,
        }
    }
    assert_eq!(recorder.received, expected, "in pieces of {size} bytes, {patience} frames at a time");
}

/// Redacts a token in the reason of a close frame.
fn redact(received: &Received) -> Received {
    let Received::Close(code, reason) = received else { return received.clone() };
    let rows = reason.as_bytes().chunk_by(|one, two| one.is_ascii_hexdigit() == two.is_ascii_hexdigit());
    let redacted = rows.map(|row| match row[0].is_ascii_hexdigit() && row.len() >= Token::DIGITS {
        true => "[redacted]",
        false => std::str::from_utf8(row).expect("split at ASCII characters"),
    });
    Received::Close(*code, redacted.collect())
}

/// A stream that delivers bytes, then ends, and ignores writes.
struct Bytes<'a>(&'a [u8]);

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes the bytes with tungstenite, up to its first error.
fn decode_with_tungstenite(bytes: &[u8]) -> (Vec<Message>, Error) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_frame_size(Some(1 << 20))
        .max_message_size(None);
    let mut socket = WebSocket::from_raw_socket(Bytes(bytes), Role::Server, Some(config));
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Pong(_)) => {}
            Ok(message) => messages.push(message),
            Err(error) => return (messages, error),
        }
    }
}

/// Compares both results: what both accept is equal, and what one rejects the other does too, except for known differences.
fn compare(whole: &[(usize, Option<Received>)], (messages, error): &(Vec<Message>, Error)) {
    let mut messages = messages.iter();
    for received in whole.iter().filter_map(|(_, received)| received.as_ref()) {
        let message = messages.next();
        match (received, message) {
            (Received::Text(text), Some(Message::Text(theirs))) => assert_eq!(text, theirs.as_str()),
            (Received::Ping(payload), Some(Message::Ping(theirs))) => assert_eq!(payload, theirs),
            (Received::Close(1005, reason), Some(Message::Close(None))) => assert_eq!(reason, ""),
            // Tungstenite does not know this code, which was registered later.
            (Received::Close(1014, _), Some(Message::Close(_))) => {}
            (Received::Close(code, reason), Some(Message::Close(Some(theirs)))) => {
                assert_eq!((*code, reason.as_str()), (theirs.code.into(), theirs.reason.as_str()));
            }
            // Rules and bounds of the relay only.
            (Received::Offence(Offence::Binary | Offence::MessageTooBig), _) => return,
            (Received::Offence(_), None) => return,
            // Tungstenite accepts close codes that may not be sent.
            (Received::Offence(Offence::Protocol(_)), Some(Message::Close(_))) => return,
            // Tungstenite checks the UTF-8 of each fragment, not only of the whole message.
            (_, None) if matches!(error, Error::Utf8(_)) => return,
            _ => panic!("{received:?} is {message:?} to tungstenite, then {error}"),
        }
    }
    assert!(
        messages.as_slice().iter().all(|message| message.is_binary()),
        "only tungstenite reads: {messages:?}"
    );
}
