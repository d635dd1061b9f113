//! A client that keeps to the protocol of reliable delivery, and what it knows.

use std::collections::{BTreeMap, VecDeque};

use super::json::{Value, parse};
use super::pipe::ClientEnd;

/// What one may have said and not know to be accepted.
const MAX_OUTSTANDING: usize = 30;

/// A masked frame; the mask is 0.
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

/// Takes the first frame of a server from what was read, if it is whole.
pub fn next_frame(read: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (start, length) = match *read.as_slice() {
        [_, length @ 0..=125, ..] => (2, usize::from(length)),
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, 126, ..] | [] | [_] => return None,
        [_, other, ..] => panic!("the length of a server's frame begins with {other}"),
    };
    let payload = read.get(start..start + length)?.to_vec();
    let first = read[0];
    read.drain(..start + length);
    Some((first, payload))
}

/// One of the two. It talks to the other, whose id is 1 − its own, and hears whoever sends to it.
pub struct Peer {
    id: u64,
    token: String,
    end: Option<ClientEnd>,
    /// What was read of a frame that is not whole.
    begun: Vec<u8>,
    connections: u64,
    epoch: Option<String>,
    said: u64,
    /// What is not known to be accepted: number and size.
    outstanding: VecDeque<(u64, usize)>,
    /// Whether it was told to send again later.
    is_held: bool,
    /// The numbers of what the other said.
    heard: Vec<u64>,
    /// The last offset of each lane, and whether it is still to be acknowledged.
    offsets: BTreeMap<u64, (u64, bool)>,
    /// What the other was told to have heard of this one.
    delivered: u64,
}

impl Peer {
    pub fn new(id: usize, token: &str) -> Self {
        Self {
            id: id as u64,
            token: token.to_owned(),
            end: None,
            begun: Vec::new(),
            connections: 0,
            epoch: None,
            said: 0,
            outstanding: VecDeque::new(),
            is_held: false,
            heard: Vec::new(),
            offsets: BTreeMap::new(),
            delivered: 0,
        }
    }

    pub fn said(&self) -> u64 {
        self.said
    }

    pub fn heard(&self) -> &[u64] {
        &self.heard
    }

    pub fn is_connected(&self) -> bool {
        self.end.is_some()
    }

    /// Whether all that it said was delivered, as far as it was told.
    pub fn is_content(&self) -> bool {
        self.outstanding.is_empty() && self.delivered == self.said
    }

    pub fn say(&mut self, size: usize) {
        if self.outstanding.len() < MAX_OUTSTANDING {
            self.said += 1;
            self.outstanding.push_back((self.said, size));
            if !self.is_held {
                self.send(self.said, size, false);
            }
        }
    }

    /// A new connection. One that there is already is left to the server to end.
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
        self.begun.clear();
        self.is_held = false;
        self.send_outstanding(false);
    }

    pub fn cut(&mut self) {
        self.end = None;
    }

    /// What was held is sent again.
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

    pub fn acknowledge(&mut self) {
        let mut offsets = std::mem::take(&mut self.offsets);
        for (sender, (offset, is_due)) in &mut offsets {
            if std::mem::take(is_due) {
                self.write(&format!("{{\"received\":{{\"senderId\":{sender},\"offset\":{offset}}}}}"));
            }
        }
        self.offsets = offsets;
    }

    /// Reads so many bytes at most.
    pub fn hear(&mut self, size: usize, other: &Self) {
        let Some(end) = &self.end else { return };
        self.begun.extend(end.read(size));
        let is_over = end.is_over();
        while let Some((first, payload)) = next_frame(&mut self.begun) {
            match first {
                0x81 => self.hear_text(&String::from_utf8(payload).expect("UTF-8"), other),
                0x88 => {}
                other => panic!("a frame that begins with {other:#x}"),
            }
        }
        if is_over {
            self.end = None;
        }
    }

    fn hear_text(&mut self, text: &str, other: &Self) {
        let value = parse(text).unwrap_or_else(|| panic!("no JSON: {text}"));
        let number = |frame: &Value<'_>, name| frame.number(name).unwrap_or_else(|| panic!("{name}: {text}"));
        if let Some(frame) = value.member("relay") {
            let (sender, offset) = (number(frame, "senderId"), number(frame, "offset"));
            let message = frame.member("message").and_then(Value::string).expect("a string");
            self.hear_message(sender, offset, message);
        } else if let Some(frame) = value.member("accepted") {
            let seq = number(frame, "seq");
            assert!(seq <= self.said, "{text} of {}", self.said);
            self.outstanding.retain(|(own, _)| *own > seq);
        } else if let Some(frame) = value.member("hold") {
            let oldest = self.outstanding.front().map(|(seq, _)| *seq);
            assert_eq!(oldest, Some(number(frame, "seq")), "it names the oldest");
            self.is_held = true;
        } else if let Some(frame) = value.member("delivered") {
            let seq = number(frame, "seq");
            assert!(other.heard.last().is_some_and(|last| *last >= seq), "{text} of {:?}", other.heard);
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

    fn hear_message(&mut self, sender: u64, offset: u64, message: &str) {
        let last = self.offsets.get(&sender).map_or(0, |(last, _)| *last);
        if offset > last && sender == 1 - self.id {
            self.heard.push(message.trim_end().parse().expect("a number"));
        }
        self.offsets.insert(sender, (offset.max(last), true));
    }
}
