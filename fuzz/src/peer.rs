//! A reliable client that follows the protocol, and records what it sends and receives.

use std::collections::{BTreeMap, VecDeque};

use super::connection::ClientEnd;
use super::json::{Value, parse};

/// The messages that a client may have outstanding.
const MAX_OUTSTANDING: usize = 30;

/// Returns a masked frame; the mask is 0.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Removes the first frame of a server from the bytes read, if it is complete.
pub fn next_frame(read: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (start, length) = match *read.as_slice() {
        [_, length @ 0..=125, ..] => (2, usize::from(length)),
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, 126, ..] | [] | [_] => return None,
        [_, other, ..] => panic!("a server frame with length byte {other}"),
    };
    let payload = read.get(start..start + length)?.to_vec();
    let first = read[0];
    read.drain(..start + length);
    Some((first, payload))
}

/// One of two peers that send to each other. Their ids are 0 and 1. It also receives messages of other clients.
pub struct Peer {
    id: u64,
    token: String,
    end: Option<ClientEnd>,
    /// The bytes read of an incomplete frame.
    partial: Vec<u8>,
    connections: u64,
    epoch: Option<String>,
    /// The number of messages sent.
    sent: u64,
    /// Messages not known to be accepted: sequence number and size.
    outstanding: VecDeque<(u64, usize)>,
    /// Whether a `hold` told it to send again later.
    is_held: bool,
    /// The sequence numbers of the messages received from the other peer.
    received: Vec<u64>,
    /// The last offset of each lane, and whether it is still to be acknowledged.
    offsets: BTreeMap<u64, (u64, bool)>,
    /// The last of its messages reported as delivered.
    delivered: u64,
}

impl Peer {
    /// Creates a peer that is not connected.
    pub fn new(id: usize, token: &str) -> Self {
        Self {
            id: id as u64,
            token: token.to_owned(),
            end: None,
            partial: Vec::new(),
            connections: 0,
            epoch: None,
            sent: 0,
            outstanding: VecDeque::new(),
            is_held: false,
            received: Vec::new(),
            offsets: BTreeMap::new(),
            delivered: 0,
        }
    }

    /// Returns the number of messages sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the sequence numbers received from the other peer.
    pub fn received(&self) -> &[u64] {
        &self.received
    }

    /// Returns whether it has a connection.
    pub fn is_connected(&self) -> bool {
        self.end.is_some()
    }

    /// Returns whether all its messages are accepted and reported as delivered.
    pub fn is_settled(&self) -> bool {
        self.outstanding.is_empty() && self.delivered == self.sent
    }

    /// Sends a message padded by `size` bytes, unless too many are outstanding.
    pub fn send_message(&mut self, size: usize) {
        if self.outstanding.len() < MAX_OUTSTANDING {
            self.sent += 1;
            self.outstanding.push_back((self.sent, size));
            if !self.is_held {
                self.send(self.sent, size, false);
            }
        }
    }

    /// Authenticates on a new connection. The server ends the older one, if any.
    pub fn connect(&mut self, end: ClientEnd) {
        self.connections += 1;
        let (id, token, connection) = (self.id, &self.token, self.connections);
        let epoch = self.epoch.as_ref().map_or(String::new(), |epoch| format!(",\"epoch\":\"{epoch}\""));
        let authentication = format!(
            "{{\"authentication\":{{\"clientId\":{id},\"token\":\"{token}\",\"version\":2,\
             \"session\":\"00000000000000a{id}\",\"connection\":{connection}{epoch},\
             \"receipts\":true,\"presence\":true}}}}"
        );
        end.write(&frame(0x81, authentication.as_bytes()));
        self.end = Some(end);
        self.partial.clear();
        self.is_held = false;
        self.send_outstanding(false);
    }

    /// Drops its connection.
    pub fn disconnect(&mut self) {
        self.end = None;
    }

    /// Sends held messages again.
    pub fn resend(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.send_outstanding(true);
        }
    }

    fn send_outstanding(&mut self, first: bool) {
        for (place, (seq, size)) in self.outstanding.iter().enumerate() {
            self.send(*seq, *size, first && place == 0);
        }
    }

    fn send(&self, seq: u64, size: usize, first: bool) {
        let (target, first) = (1 - self.id, if first { ",\"first\":true" } else { "" });
        let text = format!(
            "{{\"relay\":{{\"targetId\":{target},\"message\":\"{seq}{}\",\"seq\":{seq}{first}}}}}",
            " ".repeat(size)
        );
        self.write(&text);
    }

    fn write(&self, text: &str) {
        if let Some(end) = &self.end {
            end.write(&frame(0x81, text.as_bytes()));
        }
    }

    /// Acknowledges the messages received since the last call.
    pub fn acknowledge(&mut self) {
        let mut offsets = std::mem::take(&mut self.offsets);
        for (sender, (offset, is_due)) in &mut offsets {
            if std::mem::take(is_due) {
                self.write(&format!("{{\"received\":{{\"senderId\":{sender},\"offset\":{offset}}}}}"));
            }
        }
        self.offsets = offsets;
    }

    /// Reads at most `size` bytes and handles the frames in them.
    pub fn receive(&mut self, size: usize, other: &Self) {
        let Some(end) = &self.end else { return };
        self.partial.extend(end.read(size));
        let has_ended = end.has_ended();
        while let Some((first, payload)) = next_frame(&mut self.partial) {
            match first {
                0x81 => self.receive_text(&String::from_utf8(payload).expect("UTF-8"), other),
                0x88 => {}
                other => panic!("a frame with first byte {other:#x}"),
            }
        }
        if has_ended {
            self.end = None;
        }
    }

    fn receive_text(&mut self, text: &str, other: &Self) {
        let value = parse(text).unwrap_or_else(|| panic!("invalid JSON: {text}"));
        let number = |frame: &Value<'_>, name| frame.number(name).unwrap_or_else(|| panic!("{name}: {text}"));
        if let Some(frame) = value.member("relay") {
            let (sender, offset) = (number(frame, "senderId"), number(frame, "offset"));
            let message = frame.member("message").and_then(Value::string).expect("a string");
            self.receive_message(sender, offset, message);
        } else if let Some(frame) = value.member("accepted") {
            let seq = number(frame, "seq");
            assert!(seq <= self.sent, "{text} of {}", self.sent);
            self.outstanding.retain(|(own, _)| *own > seq);
        } else if let Some(frame) = value.member("hold") {
            let oldest = self.outstanding.front().map(|(seq, _)| *seq);
            assert_eq!(oldest, Some(number(frame, "seq")), "a hold names the oldest outstanding message");
            self.is_held = true;
        } else if let Some(frame) = value.member("delivered") {
            let seq = number(frame, "seq");
            assert!(other.received.last().is_some_and(|last| *last >= seq), "{text} of {:?}", other.received);
            self.delivered = self.delivered.max(seq);
        } else if let Some(frame) = value.member("authenticated") {
            let epoch = frame.member("epoch").and_then(Value::string).expect("a string").to_owned();
            assert_eq!(frame.is_true("resumed"), self.epoch.as_ref() == Some(&epoch), "{text}");
            self.epoch = Some(epoch);
        } else if value.member("ping").is_some() {
            self.write("{\"pong\":{}}");
        } else {
            assert!(value.member("presence").is_some(), "{text}");
        }
    }

    fn receive_message(&mut self, sender: u64, offset: u64, message: &str) {
        let last = self.offsets.get(&sender).map_or(0, |(last, _)| *last);
        if offset > last && sender == 1 - self.id {
            self.received.push(message.trim_end().parse().expect("a number"));
        }
        self.offsets.insert(sender, (offset.max(last), true));
    }
}
