//! RFC 6455 framing, the server's side: decodes masked frames in place, and encodes unmasked ones.
//!
//! Framing is ours, not tokio-tungstenite's, because decoding in place lets all connections of a thread share one read
//! buffer: an idle connection keeps none. tokio-tungstenite is the client that the tests compare this with.
//!
//! With the feature `conformance`, binary messages are decoded too, and a session sends back every message.

mod encode;

use multiversion::multiversion;

use crate::error::Offence;

#[cfg(feature = "conformance")]
pub use encode::echo;
pub use encode::{close, length, ping, pong, text_header};

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A message or control frame of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A complete text message.
    Text(&'a str),
    /// A complete binary message. Only the conformance build accepts it.
    #[cfg(feature = "conformance")]
    Binary(&'a [u8]),
    /// A ping, to be answered with its payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// A close frame: its code (1005 for none) and reason.
    Close(u16, &'a str),
}

/// Decodes frames and joins fragmented messages.
#[derive(Debug)]
pub struct Decoder {
    /// The largest message, in bytes.
    pub max_message: usize,
    /// The fragments of the current message so far.
    message: Vec<u8>,
    /// The number of these fragments.
    fragments: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No message has begun.
    Between,
    /// A message has begun and is not complete; its first frame had this opcode.
    InMessage(u8),
    /// `message` was returned to the caller and is to be freed.
    Returned,
}

/// The header of a frame.
struct Header {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the header.
    size: usize,
    /// Bytes of the payload.
    payload: usize,
}

impl Decoder {
    /// Returns a decoder for a connection that has just been upgraded.
    pub fn new(max_message: usize) -> Self {
        Self { max_message, message: Vec::new(), fragments: 0, state: State::Between }
    }

    /// Returns whether part of a fragmented message has arrived.
    pub fn is_in_message(&self) -> bool {
        matches!(self.state, State::InMessage(_))
    }

    /// Splits the next frame off `input`, unmasks it in place, and returns its message and the length of the frame. The
    /// message is `None` if the frame is a fragment that does not complete one. The result is `None`, and `input` is
    /// unchanged, if the frame is incomplete.
    ///
    /// # Errors
    /// An [`Offence`] for a violation of RFC 6455, a binary frame, text that is not UTF-8, and a message above
    /// `max_message`, as soon as a header announces it, or with more fragments than it may have bytes.
    pub fn decode<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b mut [u8],
    ) -> Result<Option<(Option<Incoming<'a>>, usize)>, Offence> {
        if self.state == State::Returned {
            self.free_message();
            self.state = State::Between;
        }
        let Some(header) = Header::parse(input)? else { return Ok(None) };
        self.check(&header)?;
        let size = header.size + header.payload;
        let Some(frame) = input.split_off_mut(..size) else { return Ok(None) };
        let payload = &mut frame[header.size..];
        let is_ascii = unmask(payload, header.mask);
        let payload: &'a [u8] = payload;
        let incoming = match header.opcode {
            PING => Some(Incoming::Ping(payload)),
            PONG => Some(Incoming::Pong),
            CLOSE => Some(parse_close(payload)?),
            _ => self.data(&header, payload, is_ascii)?,
        };
        Ok(Some((incoming, size)))
    }

    fn free_message(&mut self) {
        self.message = Vec::new();
        self.fragments = 0;
    }

    /// Checks whether a frame with this header may come now.
    fn check(&self, header: &Header) -> Result<(), Offence> {
        match (header.opcode, self.state) {
            (BINARY, _) if !cfg!(feature = "conformance") => return Err(Offence::Binary),
            (CONTINUATION, State::InMessage(_)) | (TEXT | BINARY, State::Between) => {}
            (CONTINUATION, _) => return Err(Offence::Protocol("a continuation frame without a message")),
            (TEXT | BINARY, _) => {
                return Err(Offence::Protocol("a new message before the last one was complete"));
            }
            (CLOSE | PING | PONG, _) if header.fin && header.payload <= 125 => return Ok(()),
            (CLOSE | PING | PONG, _) => {
                return Err(Offence::Protocol("a control frame that is fragmented or too long"));
            }
            _ => return Err(Offence::Protocol("an unknown opcode")),
        }
        let room = self.max_message.saturating_sub(self.message.len());
        if header.payload > room { Err(Offence::MessageTooBig) } else { Ok(()) }
    }

    /// Handles a data frame. Returns the message that it completes.
    fn data<'a>(
        &'a mut self,
        header: &Header,
        payload: &'a [u8],
        mut is_ascii: bool,
    ) -> Result<Option<Incoming<'a>>, Offence> {
        let opcode = match self.state {
            State::InMessage(opcode) => opcode,
            _ => header.opcode,
        };
        let whole = if header.fin && self.state == State::Between {
            payload
        } else {
            let before = self.message.len();
            // The earlier fragments may not be.
            is_ascii = false;
            self.message.extend_from_slice(payload);
            if !header.fin {
                if opcode == TEXT {
                    check_beginning(&self.message, before)?;
                }
                self.state = State::InMessage(opcode);
                self.fragments += 1;
                // Without this, empty fragments could go on for ever.
                let too_many = self.fragments > self.max_message;
                return if too_many { Err(Offence::MessageTooBig) } else { Ok(None) };
            }
            self.state = State::Returned;
            &self.message
        };
        Ok(Some(match opcode {
            #[cfg(feature = "conformance")]
            BINARY => Incoming::Binary(whole),
            _ if is_ascii => Incoming::Text(ascii(whole)),
            _ => Incoming::Text(utf8(whole)?),
        }))
    }
}

impl Header {
    /// Parses the header that `input` begins with. Returns `None` if it is incomplete.
    fn parse(input: &[u8]) -> Result<Option<Self>, Offence> {
        let &[first, second, ref rest @ ..] = input else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Offence::Protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(Offence::Protocol("a frame is not masked"));
        }
        let (length, rest) = match (second & 0x7F, rest) {
            (126, &[a, b, ref rest @ ..]) => (u64::from(u16::from_be_bytes([a, b])), rest),
            (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => {
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest)
            }
            (126 | 127, _) => return Ok(None),
            (length, rest) => (u64::from(length), rest),
        };
        if length >> 63 != 0 {
            return Err(Offence::Protocol("a frame's length has its highest bit set"));
        }
        let payload = usize::try_from(length).map_err(|_| Offence::MessageTooBig)?;
        let &[a, b, c, d, ref rest @ ..] = rest else { return Ok(None) };
        let size = input.len() - rest.len();
        Ok(Some(Self { fin: first & 0x80 != 0, opcode: first & 0x0F, mask: [a, b, c, d], size, payload }))
    }
}

/// Returns how many bytes at least are missing from the masked frame that `input` begins. At least 1.
pub fn missing_bytes(input: &[u8]) -> usize {
    let whole = match Header::parse(input) {
        Ok(Some(header)) => header.size.saturating_add(header.payload),
        // The decoder reports the error.
        Err(_) => 0,
        Ok(None) => match input {
            [_, length, ..] => match length & 0x7F {
                126 => 8,
                127 => 14,
                _ => 6,
            },
            _ => 6,
        },
    };
    whole.saturating_sub(input.len()).max(1)
}

/// Unmasks `payload` in place. Returns whether all of it is ASCII, which is found out along the way.
#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
fn unmask(payload: &mut [u8], mask: [u8; 4]) -> bool {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    let mut bits = 0;
    for word in words {
        let plain = u64::from_ne_bytes(*word) ^ wide;
        bits |= plain;
        *word = plain.to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
        bits |= u64::from(*byte);
    }
    bits & 0x8080_8080_8080_8080 == 0
}

/// Returns ASCII bytes as text.
fn ascii(bytes: &[u8]) -> &str {
    debug_assert!(bytes.is_ascii());
    #[expect(unsafe_code, reason = "a safe conversion would read all bytes once more")]
    // SAFETY: ASCII is UTF-8.
    unsafe {
        std::str::from_utf8_unchecked(bytes)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Offence> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Offence::InvalidUtf8)
}

/// Checks the beginning of a text whose first `before` bytes were checked earlier. Either part may end within a character.
fn check_beginning(text: &[u8], before: usize) -> Result<(), Offence> {
    // A character has at most four bytes; all but the first begin with the bits 10.
    let is_first = |at: &usize| text[*at] & 0xC0 != 0x80;
    let start = (before.saturating_sub(3)..before).find(is_first).unwrap_or(before);
    match simdutf8::compat::from_utf8(&text[start..]) {
        Err(error) if error.error_len().is_some() => Err(Offence::InvalidUtf8),
        _ => Ok(()),
    }
}

/// Parses the payload of a close frame.
fn parse_close(payload: &[u8]) -> Result<Incoming<'_>, Offence> {
    match *payload {
        [] => Ok(Incoming::Close(1005, "")),
        [_] => Err(Offence::Protocol("an incomplete close code")),
        [a, b, ref reason @ ..] => {
            let code = u16::from_be_bytes([a, b]);
            match code {
                1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Incoming::Close(code, utf8(reason)?)),
                _ => Err(Offence::Protocol("an invalid close code")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        text_header(payload.len(), &mut frame);
        frame[0] = first;
        frame[1] |= 0x80;
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// Decodes everything in `input`, fed in pieces of `piece` bytes.
    fn decode_all(input: &[u8], piece: usize) -> Result<Vec<String>, Offence> {
        let mut decoder = Decoder::new(100_000);
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        for bytes in input.chunks(piece) {
            buffer.extend_from_slice(bytes);
            while let Some((incoming, used)) = decoder.decode(&mut &mut buffer[..])? {
                found.extend(incoming.map(|incoming| format!("{incoming:?}")));
                buffer.drain(..used);
            }
        }
        assert!(buffer.is_empty());
        Ok(found)
    }

    #[test]
    fn decodes_the_same_messages_from_pieces_of_any_size() {
        let long = "ü".repeat(40_000);
        let input = [
            masked(0x81, b"one"),
            masked(0x01, b"t"),
            masked(0x89, b"ping"),
            masked(0x00, b"w"),
            masked(0x80, b"o"),
            masked(0x81, &b"x".repeat(200)),
            masked(0x81, long.as_bytes()),
            masked(0x8A, b""),
            masked(0x88, &[0x03, 0xE8, b'b', b'y', b'e']),
            masked(0x88, b""),
        ]
        .concat();
        let whole = decode_all(&input, usize::MAX).expect("frames");
        assert_eq!(whole[..3], ["Text(\"one\")", "Ping([112, 105, 110, 103])", "Text(\"two\")"]);
        assert_eq!(whole[5..], ["Pong", "Close(1000, \"bye\")", "Close(1005, \"\")"]);
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(decode_all(&input, piece).expect("frames"), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn rejects_violations_of_the_rfc_at_the_header() {
        let protocol = |first, payload: &[u8]| match decode_all(&masked(first, payload), usize::MAX) {
            Err(Offence::Protocol(_)) => {}
            other => panic!("{first:#x} {payload:?}: {other:?}"),
        };
        for first in [0xC1, 0xA1, 0x91, 0x83, 0x87, 0x8B, 0x8F, 0x80, 0x00, 0x09, 0x08] {
            protocol(first, b"");
        }
        protocol(0x89, &[0; 126]);
        for close in [&[3][..], &[3, 0xEC], &[3, 0xED], &[3, 0xEE], &[0, 0], &[3, 0xE7], &[0x13, 0x88]] {
            protocol(0x88, close);
        }
        let (mut plain, mut decoder) = ([0x81, 1, b'x'], Decoder::new(10));
        assert!(matches!(decoder.decode(&mut &mut plain[..]), Err(Offence::Protocol(_))));
        assert_eq!(decode_all(&masked(0x82, b""), 9).expect_err("binary"), Offence::Binary);
        assert_eq!(decode_all(&masked(0x81, &[0xFF]), 9).expect_err("no text"), Offence::InvalidUtf8);
        let mut huge = [0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0x86, 0xA1, 0, 0, 0, 0];
        assert_eq!(Decoder::new(100_000).decode(&mut &mut huge[..]), Err(Offence::MessageTooBig));
        let parts = [masked(0x01, &[b'x'; 60_000]), masked(0x80, &[b'x'; 40_001])].concat();
        assert_eq!(decode_all(&parts, usize::MAX).expect_err("too big in all"), Offence::MessageTooBig);
    }

    #[test]
    fn rejects_invalid_utf8_at_the_fragment_that_shows_it() {
        let valid = "aü€😀b".repeat(2);
        let cut = b"\xE2\x82b\x82";
        let too_high = b"\xF4\x90\x80\x80";
        for text in [valid.as_bytes(), b"a\xC3\xBC\xFFb", cut, b"\xF4\x8F\xBF\xC0", too_high] {
            for piece in 1..=text.len() {
                let mut decoder = Decoder::new(100);
                let (mut end, mut first) = (0, TEXT);
                for part in text.chunks(piece) {
                    end += part.len();
                    let refused = decoder.decode(&mut &mut masked(first, part)[..]).is_err();
                    let found = std::str::from_utf8(&text[..end]);
                    let is_wrong = found.is_err_and(|error| error.error_len().is_some());
                    assert_eq!(refused, is_wrong, "{text:x?} in pieces of {piece}, up to {end}");
                    if refused {
                        break;
                    }
                    first = CONTINUATION;
                }
            }
        }
    }

    #[test]
    fn returns_the_length_of_encoded_frames() {
        for size in [0, 125, 126, 65_535, 65_536] {
            let mut out = Vec::new();
            text_header(size, &mut out);
            out.resize(out.len() + size, b'x');
            let whole = out.len();
            close(1001, "bye", &mut out);
            assert_eq!(length(&out), whole);
            assert_eq!(length(&out[whole..]), out.len() - whole);
        }
    }
}
