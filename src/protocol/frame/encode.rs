//! Encoding of unmasked frames, appended to an outgoing buffer.

#[cfg(feature = "conformance")]
use super::{BINARY, Incoming};
use super::{CLOSE, PING, PONG, TEXT};

/// Appends the header of a text frame with a payload of `length` bytes.
pub fn text_header(length: usize, out: &mut Vec<u8>) {
    const FIN: u8 = 0x80;
    match length {
        0..=125 => out.extend_from_slice(&[FIN | TEXT, length as u8]),
        126..=0xFFFF => {
            out.extend_from_slice(&[FIN | TEXT, 126]);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[FIN | TEXT, 127]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a message as it was received.
#[cfg(feature = "conformance")]
pub fn echo(message: &Incoming<'_>, out: &mut Vec<u8>) {
    let (opcode, payload) = match *message {
        Incoming::Text(text) => (TEXT, text.as_bytes()),
        Incoming::Binary(bytes) => (BINARY, bytes),
        _ => return,
    };
    let start = out.len();
    text_header(payload.len(), out);
    out[start] ^= TEXT ^ opcode;
    out.extend_from_slice(payload);
}

/// Appends an empty ping.
pub fn ping(out: &mut Vec<u8>) {
    control(PING, &[], out);
}

/// Appends the answer to a ping.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    control(PONG, payload, out);
}

/// Appends a close frame. The code 1005 stands for none. `reason` must have at most 123 bytes.
pub fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if code != 1005 {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    control(CLOSE, &payload, out);
}

fn control(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= 125, "a control frame is short");
    out.extend_from_slice(&[0x80 | opcode, payload.len() as u8]);
    out.extend_from_slice(payload);
}

/// Returns the length of the unmasked frame that `frames` begins with, which this module must have encoded.
pub fn length(frames: &[u8]) -> usize {
    match *frames {
        [_, 126, a, b, ..] => 4 + usize::from(u16::from_be_bytes([a, b])),
        [_, 127, a, b, c, d, e, f, g, h, ..] => {
            10 + usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h])).unwrap_or(usize::MAX - 10)
        }
        [_, short, ..] => 2 + usize::from(short),
        _ => frames.len(),
    }
}
