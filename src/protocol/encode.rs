//! Frame → its bytes on the wire, appended to an outgoing buffer.

use std::io::Write;

use super::frame;
use crate::ids::ClientId;

/// Appends `{"relay":{"senderId":…,"message":…}}` as a WebSocket text frame; `message` is a JSON string, quotes
/// included.
pub fn relay(sender: ClientId, message: &str, out: &mut Vec<u8>) {
    const HEAD: &str = "{\"relay\":{\"senderId\":";
    const MIDDLE: &str = ",\"message\":";
    const TAIL: &str = "}}";
    let digits = sender.get().checked_ilog10().map_or(1, |log| log as usize + 1);
    let length = HEAD.len() + digits + MIDDLE.len() + message.len() + TAIL.len();
    out.reserve(frame::MAX_HEADER + length);
    frame::text_header(length, out);
    out.extend_from_slice(HEAD.as_bytes());
    write!(out, "{sender}").expect("a Vec takes every write");
    out.extend_from_slice(MIDDLE.as_bytes());
    out.extend_from_slice(message.as_bytes());
    out.extend_from_slice(TAIL.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_announces_the_length_that_follows() {
        for number in [0, 9, 10, 99, 100, 12_345_678, ClientId::MAX] {
            for size in [0, 80, 81, 200, 65_535, 70_000] {
                let (sender, message) =
                    (ClientId::new(number).expect("an id"), format!("\"{}\"", "x".repeat(size)));
                let mut out = Vec::new();
                relay(sender, &message, &mut out);
                let expected = format!("{{\"relay\":{{\"senderId\":{number},\"message\":{message}}}}}");
                let (header, text) = out.split_at(out.len() - expected.len());
                assert_eq!(text, expected.as_bytes());
                let announced = match header {
                    [0x81, length] => usize::from(*length),
                    [0x81, 126, a, b] => usize::from(u16::from_be_bytes([*a, *b])),
                    [0x81, 127, length @ ..] => {
                        u64::from_be_bytes(length.try_into().expect("8 bytes")) as usize
                    }
                    other => panic!("no header: {other:?}"),
                };
                assert_eq!(announced, expected.len());
            }
        }
    }
}
