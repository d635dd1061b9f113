//! Encoding of the server's frames, appended to an outgoing buffer as WebSocket text frames.

use std::time::Duration;

use super::frame;
use crate::copy;
use crate::error::MessageExpired;
use crate::ids::{ClientId, Epoch, Offset, Seq, SessionId};

/// A frame that the server sends to a reliable client, beside relayed messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// `authenticated`: the client's authentication succeeded.
    Authenticated {
        /// The client's id.
        client: ClientId,
        /// The epoch of its mailbox.
        epoch: Epoch,
        /// Whether the session continues with the messages that it has not received.
        resumed: bool,
        /// The time between two heartbeats.
        ping_interval: Duration,
        /// How long the answer to a heartbeat may take.
        ping_timeout: Duration,
        /// The largest message, in bytes.
        max_payload: usize,
    },
    /// `accepted`: the client's messages to `target` are stored up to `seq`.
    Accepted {
        /// The recipient.
        target: ClientId,
        /// The last accepted message.
        seq: Seq,
    },
    /// `hold`: there is no room for `seq` and later messages; the client is to send them again after a while.
    Hold {
        /// The recipient.
        target: ClientId,
        /// The first message that was not accepted.
        seq: Seq,
        /// How long to wait.
        retry_after: Duration,
    },
    /// `rejected`: `seq` and later messages were refused for good.
    Rejected {
        /// The recipient.
        target: ClientId,
        /// The first message that was refused.
        seq: Seq,
        /// The reason as a stable code.
        code: &'static str,
        /// The reason as text.
        message: &'a str,
    },
    /// `rejected` with `last`: the accepted messages from `first` to `last` have expired.
    Expired {
        /// The recipient.
        target: ClientId,
        /// The first expired message.
        first: Seq,
        /// The last expired message.
        last: Seq,
        /// The number of this notice, which may be sent again on another connection.
        number: u64,
    },
    /// `delivered`: the application of `target` has received the client's messages up to `seq`.
    Delivered {
        /// The recipient.
        target: ClientId,
        /// The last received message.
        seq: Seq,
    },
    /// `presence`: a client that shares a channel came or left.
    Presence {
        /// The other client.
        client: ClientId,
        /// Whether it is connected now.
        online: bool,
    },
    /// `error`: the client committed an offence.
    Error {
        /// The stable code.
        code: &'static str,
        /// The text.
        message: &'a str,
    },
    /// `ping`: a heartbeat.
    Ping,
    /// `pong`: the answer to a heartbeat of the client.
    Pong,
}

const HEAD: &str = "{\"relay\":{\"senderId\":";
const OFFSET: &str = ",\"offset\":";
const SESSION: &str = ",\"session\":\"";
const SESSION_DIGITS: usize = 16;
const MESSAGE: &str = ",\"message\":";
const TAIL: &str = "}}";

/// What a reliable client is told of a message beside its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageNumber {
    /// The offset by which it is acknowledged.
    pub offset: Offset,
    /// Its number in the sender's session.
    pub seq: Seq,
    /// The session, if the connection has yet to be told.
    pub session: Option<SessionId>,
}

/// Appends `{"relay":{"senderId":…,"offset":…,"seq":…,"session":"…","message":…}}`. `message` is a JSON string with its
/// quotes. A plain client gets no number.
pub fn relay(sender: ClientId, number: Option<MessageNumber>, message: &[u8], out: &mut Vec<u8>) {
    relay_head(sender, number, message.len(), out);
    copy::append(message, out);
    relay_tail(out);
}

/// Appends the part of a relay frame before its message, which has `length` bytes.
pub fn relay_head(sender: ClientId, number: Option<MessageNumber>, length: usize, out: &mut Vec<u8>) {
    let sender_length = digits(sender.get());
    let fixed = HEAD.len() + sender_length + MESSAGE.len() + length + TAIL.len();
    let Some(MessageNumber { offset: Offset(offset), seq: Seq(seq), session }) = number else {
        frame::text_header(fixed, out);
        out.extend_from_slice(HEAD.as_bytes());
        append_number(sender.get(), sender_length, out);
        out.extend_from_slice(MESSAGE.as_bytes());
        return;
    };
    let (offset_length, seq_length) = (digits(offset), digits(seq));
    let session_length = session.map_or(0, |_| SESSION.len() + SESSION_DIGITS + 1);
    frame::text_header(fixed + OFFSET.len() + offset_length + SEQ.len() + seq_length + session_length, out);
    out.extend_from_slice(HEAD.as_bytes());
    append_number(sender.get(), sender_length, out);
    out.extend_from_slice(OFFSET.as_bytes());
    append_number(offset, offset_length, out);
    out.extend_from_slice(SEQ.as_bytes());
    append_number(seq, seq_length, out);
    if let Some(session) = session {
        out.extend_from_slice(format!("{SESSION}{session}\"").as_bytes());
    }
    out.extend_from_slice(MESSAGE.as_bytes());
}

/// Appends the part of a relay frame after its message.
pub fn relay_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(TAIL.as_bytes());
}

/// The length of the part of a relay frame after its message, in bytes.
pub const TAIL_LENGTH: usize = TAIL.len();

const ACCEPTED: &str = "{\"accepted\":{\"targetId\":";
const DELIVERED: &str = "{\"delivered\":{\"targetId\":";
const SEQ: &str = ",\"seq\":";

/// Appends a frame of a target and a number, which `head` begins.
fn progress(head: &str, target: ClientId, Seq(seq): Seq, out: &mut Vec<u8>) {
    let (target_length, seq_length) = (digits(target.get()), digits(seq));
    frame::text_header(head.len() + target_length + SEQ.len() + seq_length + TAIL.len(), out);
    out.extend_from_slice(head.as_bytes());
    append_number(target.get(), target_length, out);
    out.extend_from_slice(SEQ.as_bytes());
    append_number(seq, seq_length, out);
    out.extend_from_slice(TAIL.as_bytes());
}

/// Appends a notice.
pub fn notice(notice: &Notice<'_>, out: &mut Vec<u8>) {
    let json = match notice {
        Notice::Authenticated { client, epoch, resumed, ping_interval, ping_timeout, max_payload } => {
            format!(
                "{{\"authenticated\":{{\"clientId\":{client},\"epoch\":\"{epoch}\",\"resumed\":{resumed},\
             \"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{max_payload}}}}}",
                ping_interval.as_millis(),
                ping_timeout.as_millis(),
            )
        }
        // These two are frequent: written without formatting.
        Notice::Accepted { target, seq } => return progress(ACCEPTED, *target, *seq, out),
        Notice::Delivered { target, seq } => return progress(DELIVERED, *target, *seq, out),
        Notice::Hold { target, seq: Seq(seq), retry_after } => format!(
            "{{\"hold\":{{\"targetId\":{target},\"seq\":{seq},\"retryAfter\":{}}}}}",
            retry_after.as_millis()
        ),
        Notice::Rejected { target, seq: Seq(seq), code, message } => format!(
            "{{\"rejected\":{{\"targetId\":{target},\"seq\":{seq},\"code\":\"{code}\",\"message\":{}}}}}",
            string(message)
        ),
        Notice::Expired { target, first: Seq(first), last: Seq(last), number } => format!(
            "{{\"rejected\":{{\"targetId\":{target},\"seq\":{first},\"last\":{last},\"notice\":{number},\
             \"code\":\"{}\",\"message\":\"{}\"}}}}",
            MessageExpired::CODE,
            MessageExpired::TEXT
        ),
        Notice::Presence { client, online } => {
            format!("{{\"presence\":{{\"clientId\":{client},\"online\":{online}}}}}")
        }
        Notice::Error { code, message } => {
            format!("{{\"error\":{{\"code\":\"{code}\",\"message\":{}}}}}", string(message))
        }
        Notice::Ping => "{\"ping\":{}}".to_owned(),
        Notice::Pong => "{\"pong\":{}}".to_owned(),
    };
    frame::text_header(json.len(), out);
    out.extend_from_slice(json.as_bytes());
}

/// Appends the `digits` decimal digits of `number`.
fn append_number(number: u64, digits: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits, b'0');
    let mut rest = number;
    for digit in out[start..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
}

/// Returns the number of decimal digits.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Returns `text` as a JSON string.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_length_of_the_payload() {
        for number in [0, 9, 10, 99, 100, 12_345_678, ClientId::MAX] {
            for (size, offset) in
                [(0, None), (80, Some(9)), (81, Some(10)), (200, None), (65_535, Some(99)), (70_000, None)]
            {
                let (sender, message) =
                    (ClientId::new(number).expect("an id"), format!("\"{}\"", "x".repeat(size)));
                let mut out = Vec::new();
                let session =
                    offset.and_then(|offset: u64| SessionId::parse(&format!("{:016x}", offset - 9)));
                let session = session.filter(|session| *session != SessionId::default());
                let numbered = offset.map(|offset| MessageNumber {
                    offset: Offset(offset),
                    seq: Seq(offset + 1),
                    session,
                });
                relay(sender, numbered, message.as_bytes(), &mut out);
                let offset = offset
                    .map_or(String::new(), |offset| format!(",\"offset\":{offset},\"seq\":{}", offset + 1));
                let session = session.map_or(String::new(), |session| format!(",\"session\":\"{session}\""));
                let expected =
                    format!("{{\"relay\":{{\"senderId\":{number}{offset}{session},\"message\":{message}}}}}");
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

    #[test]
    fn escapes_text_in_errors() {
        let mut out = Vec::new();
        notice(&Notice::Error { code: "ERR_X", message: "\"}}\u{2028}\0" }, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out[2..]).expect("JSON");
        assert_eq!(json["error"]["message"], "\"}}\u{2028}\0");
    }
}
