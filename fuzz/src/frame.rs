//! Bytes of a connection → messages and control frames: all at once, in pieces of any size while the receiver is not
//! always ready, and as tungstenite reads them.

use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use websocket_relay::protocol::frame::{Decoder, Incoming};
use websocket_relay::wire::{Receiver, Wire};
use websocket_relay::{CloseReason, Limits, Offence, Token};

use super::stream::Feed;

/// The longest header of a client's frame.
const MAX_HEADER: usize = 14;
/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;

/// The first byte says how large a message may be, the second of how many bytes each piece is, the third after how many
/// frames the receiver is not ready and, by its highest bit, whether pieces are 256 times as long; the rest is what came.
pub fn run(input: &[u8]) {
    let [bound, size, patience, bytes @ ..] = input else { return };
    let max = [0, 1, 126, 1000, 100_000][usize::from(*bound) % 5];
    let whole = decode_whole(bytes, max);
    let size = (usize::from(*size) + 1) * if patience & 0x80 == 0 { 1 } else { 256 };
    decode_pieces(bytes, max, size, patience & 0x7F, &whole);
    compare(&whole, &decode_with_tungstenite(bytes));
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Text(String),
    Ping(Vec<u8>),
    Close(u16, String),
    Offence(Offence),
}

/// What the frames mean, and where each ends. What means nothing by itself is `None`.
fn decode_whole(bytes: &[u8], max: usize) -> Vec<(usize, Option<Heard>)> {
    let (mut decoder, mut bytes, mut frames) = (Decoder::new(max), bytes.to_vec(), Vec::new());
    let mut end = 0;
    loop {
        let heard = match decoder.decode(&mut &mut bytes[end..]) {
            Ok(None) => return frames,
            Ok(Some((incoming, size))) => {
                end += size;
                match incoming {
                    None | Some(Incoming::Pong) => None,
                    Some(Incoming::Text(text)) => Some(Heard::Text(text.to_owned())),
                    Some(Incoming::Ping(payload)) => Some(Heard::Ping(payload.to_vec())),
                    Some(Incoming::Close(code, reason)) => Some(Heard::Close(code, reason.to_owned())),
                }
            }
            Err(offence) => Some(Heard::Offence(offence)),
        };
        let is_over = matches!(heard, Some(Heard::Offence(_) | Heard::Close(..)));
        frames.push((end, heard));
        if is_over {
            return frames;
        }
    }
}

struct Recorder {
    heard: Vec<Heard>,
    max: usize,
    patience: u8,
    /// Frames until it is not ready.
    left: u8,
}

impl Receiver for Recorder {
    fn is_ready(&self) -> bool {
        self.patience == 0 || self.left > 0
    }

    fn receive(&mut self, text: &str) -> Result<usize, CloseReason> {
        self.heard.push(Heard::Text(text.to_owned()));
        self.left = self.left.saturating_sub(1);
        Ok(self.max)
    }

    fn ping(&mut self, payload: &[u8]) {
        self.heard.push(Heard::Ping(payload.to_vec()));
        self.left = self.left.saturating_sub(1);
    }

    fn protocol_error(&mut self, offence: Offence) -> CloseReason {
        self.heard.push(Heard::Offence(offence));
        CloseReason::Internal
    }
}

fn decode_pieces(bytes: &[u8], max: usize, size: usize, patience: u8, whole: &[(usize, Option<Heard>)]) {
    let feed = Feed::new(bytes, size);
    let progress = feed.progress();
    let read = || progress.load(Ordering::Relaxed);
    let mut wire = Wire::new(feed, &[], max);
    let mut recorder = Recorder { heard: Vec::new(), max, patience, left: 0 };
    let mut cx = Context::from_waker(Waker::noop());
    let expected: Vec<_> = whole.iter().filter_map(|(_, heard)| heard.as_ref().map(told)).collect();
    loop {
        match wire.poll_receive(&mut cx, &mut recorder) {
            Poll::Pending => recorder.left = patience,
            // More frames than are decoded in one turn may be kept for the next.
            Poll::Ready(Ok(())) if recorder.is_ready() && whole.len() < Limits::SHORT_TURN_FRAMES => {
                // Nothing that has come is kept back, and no more is kept than a frame that has not come in full.
                let come = whole.iter().filter(|(end, _)| *end <= read());
                let begun = come.clone().map(|(end, _)| *end).max().unwrap_or(0);
                assert!(read() - begun <= MAX_HEADER + max.max(MAX_CONTROL), "{} bytes kept", read() - begun);
                let due = come.filter(|(_, heard)| !matches!(heard, None | Some(Heard::Offence(_)))).count();
                assert!(recorder.heard.len() >= due, "{:?} of {due}", recorder.heard);
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(CloseReason::ByPeer(code, reason))) => {
                recorder.heard.push(Heard::Close(code, reason));
                break;
            }
            Poll::Ready(Err(_)) => break,
        }
    }
    assert_eq!(recorder.heard, expected, "in pieces of {size} bytes, {patience} frames at a time");
}

/// What is told of it: of a closing client's reason, no token.
fn told(heard: &Heard) -> Heard {
    let Heard::Close(code, reason) = heard else { return heard.clone() };
    let rows = reason.as_bytes().chunk_by(|one, two| one.is_ascii_hexdigit() == two.is_ascii_hexdigit());
    let shown = rows.map(|row| match row[0].is_ascii_hexdigit() && row.len() >= Token::DIGITS {
        true => "[redacted]",
        false => std::str::from_utf8(row).expect("cut beside ASCII"),
    });
    Heard::Close(*code, shown.collect())
}

/// A stream that ends, and takes what is written.
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

/// What tungstenite makes of them, up to its first error.
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

/// Where both take something it is the same, and what is forbidden is so by both.
fn compare(whole: &[(usize, Option<Heard>)], (messages, error): &(Vec<Message>, Error)) {
    let mut messages = messages.iter();
    for heard in whole.iter().filter_map(|(_, heard)| heard.as_ref()) {
        let message = messages.next();
        match (heard, message) {
            (Heard::Text(text), Some(Message::Text(theirs))) => assert_eq!(text, theirs.as_str()),
            (Heard::Ping(payload), Some(Message::Ping(theirs))) => assert_eq!(payload, theirs),
            (Heard::Close(1005, reason), Some(Message::Close(None))) => assert_eq!(reason, ""),
            // A code that was registered later than tungstenite knows.
            (Heard::Close(1014, _), Some(Message::Close(_))) => {}
            (Heard::Close(code, reason), Some(Message::Close(Some(theirs)))) => {
                assert_eq!((*code, reason.as_str()), (theirs.code.into(), theirs.reason.as_str()));
            }
            // These are rules of ours, or bounds.
            (Heard::Offence(Offence::Binary | Offence::MessageTooBig), _) => return,
            (Heard::Offence(_), None) => return,
            // Tungstenite passes on close codes that may not be sent.
            (Heard::Offence(Offence::Protocol(_)), Some(Message::Close(_))) => return,
            // It looks at each fragment, and not only at the whole message.
            (_, None) if matches!(error, Error::Utf8(_)) => return,
            _ => panic!("{heard:?} is {message:?} to tungstenite, then {error}"),
        }
    }
    assert!(
        messages.as_slice().iter().all(|message| message.is_binary()),
        "more for tungstenite: {messages:?}"
    );
}
