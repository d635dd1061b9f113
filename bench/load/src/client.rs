//! One client: its connection, the messages it sends, and the checks of those it receives.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::Registry;

use crate::link::Link;
use crate::plan::{Dialect, Plan};
use crate::text::{self, Frame, Incoming, Outgoing};

/// The key of RFC 6455's example and its response. The server computes the response, but no CPU is spent on random
/// keys.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Generation 2: receipt is acknowledged with the client's next message, or after this many messages.
const MAX_UNACKNOWLEDGED: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Away,
    Upgrading,
    /// Until a server that confirms authentication has done so.
    Authenticating,
    Open,
}

pub struct Client {
    id: usize,
    token: String,
    dialect: Dialect,
    is_reliable: bool,
    state: State,
    is_secure: bool,
    stream: Option<Link>,
    /// The beginning of an incomplete frame.
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Messages sent to and received from all partners.
    pub sent: u64,
    pub received: u64,
    /// Generation 2: accepted messages, unacknowledged messages, and the partners that sent them.
    accepted: u64,
    unacknowledged: u64,
    owed: Vec<usize>,
    /// The first is `id ^ 1`, the next `id ^ 2`, and so on. Messages go to them in turn.
    partners: Vec<Partner>,
    /// The partner that gets the next message.
    next: usize,
    /// How often the server had no room for a message.
    pub holds: u64,
}

#[derive(Clone, Default)]
struct Partner {
    sent: u64,
    received: u64,
    accepted: u64,
    /// The offset of the last message received from it, and whether it is still to be acknowledged.
    offset: u64,
    is_owed: bool,
    /// The message that the server had no room for, and when it and those after it are sent again.
    held: Option<(u64, Instant)>,
}

impl Client {
    pub fn new(id: usize, plan: &Plan, size: usize, partners: usize) -> Self {
        let (dialect, is_reliable) = (plan.server.dialect, plan.generation == 2);
        Self {
            id,
            token: plan.server.tokens[id].clone(),
            dialect,
            is_reliable,
            state: State::Away,
            is_secure: plan.server.is_secure,
            stream: None,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            outgoing: Outgoing::new(id, dialect, is_reliable, size),
            incoming: Incoming::new(id, dialect, size),
            sent: 0,
            received: 0,
            accepted: 0,
            unacknowledged: 0,
            owed: Vec::new(),
            partners: vec![Partner::default(); partners],
            next: 0,
            holds: 0,
        }
    }

    fn partner_id(&self, at: usize) -> usize {
        self.id ^ (at + 1)
    }

    /// Returns the partner that sent the message in `payload`, if it is one.
    fn partner_of(&self, payload: &[u8]) -> Option<usize> {
        if self.partners.len() == 1 {
            return Some(0);
        }
        let at = (text::sender_of(payload)? ^ self.id).checked_sub(1)?;
        (at < self.partners.len()).then_some(at)
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether the socket has taken everything, and the server has accepted it if it confirms that.
    pub fn is_drained(&self) -> bool {
        self.output.is_empty() && (!self.is_reliable || self.accepted == self.sent)
    }

    pub fn connect(&mut self, registry: &Registry, address: SocketAddr) -> Result<()> {
        let path = match self.dialect {
            Dialect::Relay | Dialect::Verbatim => "/",
            Dialect::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        };
        self.output = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        )
        .into_bytes();
        self.stream = Some(Link::connect(registry, address, self.id, self.is_secure)?);
        self.state = State::Upgrading;
        Ok(())
    }

    /// Appends the next message to the output.
    pub fn send(&mut self) {
        self.acknowledge();
        let at = self.next;
        self.next = if at + 1 < self.partners.len() { at + 1 } else { 0 };
        let (to, partner) = (self.partner_id(at), &mut self.partners[at]);
        self.sent += 1;
        partner.sent += 1;
        // The server would pass over it.
        if partner.held.is_none() {
            self.outgoing.write(to, partner.sent, &mut self.output);
        }
    }

    /// Sends again what the server had no room for, once it is due. Returns when something else is due.
    pub fn resend(&mut self, now: Instant) -> Option<Instant> {
        for at in 0..self.partners.len() {
            let Some((first, due)) = self.partners[at].held else { continue };
            if due > now {
                continue;
            }
            self.partners[at].held = None;
            let (to, last) = (self.partner_id(at), self.partners[at].sent);
            self.say(&self.outgoing.first(to, first));
            (first + 1..=last).for_each(|number| self.outgoing.write(to, number, &mut self.output));
        }
        self.partners.iter().filter_map(|partner| partner.held.map(|(_, due)| due)).min()
    }

    /// Acknowledges received messages, with generation 2.
    pub fn acknowledge(&mut self) {
        while let Some(at) = self.owed.pop() {
            let (sender, offset) = (self.partner_id(at), self.partners[at].offset);
            self.say(&format!(r#"{{"received":{{"senderId":{sender},"offset":{offset}}}}}"#));
            self.partners[at].is_owed = false;
        }
        self.unacknowledged = 0;
    }

    fn say(&mut self, text: &str) {
        text::write(text, text::mask_of(self.id), &mut self.output);
    }

    /// Writes what the socket takes of the output.
    pub fn flush(&mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        loop {
            let written = match &self.output[self.written..] {
                // With TLS, earlier records may be left to write.
                [] => stream.flush().map(|()| 0),
                bytes => stream.write(bytes),
            };
            match written {
                Ok(0) => break,
                Ok(taken) => self.written += taken,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) => return Err(error).with_context(|| format!("client {} cannot write", self.id)),
            }
        }
        self.output.clear();
        self.written = 0;
        // One of ten thousand clients must not keep a large buffer.
        if self.output.capacity() > 1 << 20 {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Reads everything available and returns the number of messages. Anything but the next message is an error.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<u64> {
        let before = self.received;
        while let Some(stream) = &mut self.stream {
            let size = match stream.read(buffer) {
                Ok(0) => bail!("the server has ended the connection of client {}", self.id),
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).with_context(|| format!("client {} cannot read", self.id)),
            };
            // Edge-triggered: read until the socket is empty.
            let is_emptied = stream.is_emptied(size, buffer.len());
            self.take(&buffer[..size])?;
            if is_emptied {
                break;
            }
        }
        if self.unacknowledged >= MAX_UNACKNOWLEDGED {
            self.acknowledge();
        }
        Ok(self.received - before)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if self.input.is_empty() {
            let used = self.take_frames(bytes)?;
            self.input.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(bytes);
            let used = self.take_frames(&input)?;
            input.drain(..used);
            self.input = input;
        }
        Ok(())
    }

    fn take_frames(&mut self, input: &[u8]) -> Result<usize> {
        let mut used = if self.state == State::Upgrading { self.take_upgrade(input)? } else { 0 };
        if self.state == State::Upgrading {
            return Ok(0);
        }
        while let Some(Frame { opcode, start, end }) = text::parse(&input[used..]) {
            let payload = &input[used + start..used + end];
            match opcode {
                0x81 => self.take_text(payload)?,
                0x89 => text::write_pong(payload, text::mask_of(self.id), &mut self.output),
                _ => bail!("client {}: a frame {opcode:#x}: {:?}", self.id, shown(payload)),
            }
            used += end;
        }
        Ok(used)
    }

    fn take_upgrade(&mut self, input: &[u8]) -> Result<usize> {
        let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(0) };
        let head = String::from_utf8_lossy(&input[..end]);
        let is_accepted = head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT);
        ensure!(is_accepted, "client {} was not upgraded: {head}", self.id);
        let (id, token) = (self.id, &self.token);
        let identity = format!(r#""clientId":{id},"token":"{token}""#);
        let session = session_of(id);
        let (text, state) = match self.dialect {
            Dialect::SocketIo => (format!("40{{{identity}}}"), State::Authenticating),
            _ if self.is_reliable => (
                format!(r#"{{"authentication":{{{identity},"version":2,"session":"{session}"}}}}"#),
                State::Authenticating,
            ),
            _ => (format!(r#"{{"authentication":{{{identity}}}}}"#), State::Open),
        };
        self.say(&text);
        self.state = state;
        Ok(end + 4)
    }

    fn take_text(&mut self, payload: &[u8]) -> Result<()> {
        if let Some(at) = self.partner_of(payload) {
            if self.partners.len() > 1 {
                self.incoming.expect_from(self.partner_id(at));
            }
            if let Some(members) = self.incoming.check(payload, self.partners[at].received + 1) {
                self.partners[at].received += 1;
                self.received += 1;
                return if self.is_reliable { self.take_number(at, members) } else { Ok(()) };
            }
        }
        let text = shown(payload);
        let number = |name: &str| {
            let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
            rest.split_once(|next: char| !next.is_ascii_digit())?.0.parse::<u64>().ok()
        };
        match self.dialect {
            Dialect::SocketIo if payload == b"2" => self.say("3"),
            Dialect::SocketIo if payload.starts_with(b"0{") => {}
            Dialect::SocketIo if payload.starts_with(b"40{") => self.state = State::Open,
            _ if !self.is_reliable => {
                bail!("client {} expected message {} and got {text}", self.id, self.received + 1)
            }
            _ if payload.starts_with(br#"{"accepted":"#) => {
                let seq = number("seq").context("an `accepted` without `seq`")?;
                let target = number("targetId").context("an `accepted` without `targetId`")?;
                let at = (target as usize ^ self.id).wrapping_sub(1);
                let partner = self.partners.get_mut(at).with_context(|| format!("unknown sender: {text}"))?;
                let (accepted, sent) = (partner.accepted, partner.sent);
                let is_possible = (accepted..=sent).contains(&seq);
                ensure!(is_possible, "client {}: {text} after {accepted} of {sent}", self.id);
                self.accepted += seq - accepted;
                partner.accepted = seq;
            }
            _ if payload.starts_with(br#"{"hold":"#) => {
                let seq = number("seq").context("a `hold` without `seq`")?;
                let target = number("targetId").context("a `hold` without `targetId`")?;
                let pause = Duration::from_millis(number("retryAfter").context("a `hold` without a time")?);
                let at = (target as usize ^ self.id).wrapping_sub(1);
                let partner = self.partners.get_mut(at).with_context(|| format!("unknown target: {text}"))?;
                ensure!(seq > partner.accepted && seq <= partner.sent, "client {}: {text}", self.id);
                partner.held = Some((seq, Instant::now() + pause));
                self.holds += 1;
            }
            _ if payload.starts_with(br#"{"authenticated":"#) => self.state = State::Open,
            _ if payload == br#"{"ping":{}}"# => self.say(r#"{"pong":{}}"#),
            _ => bail!("client {} expected message {} and got {text}", self.id, self.received + 1),
        }
        Ok(())
    }

    /// Takes what names a message: `,"offset":9,"seq":7`, and in the first frame of a sender `,"session":"…"`.
    fn take_number(&mut self, at: usize, members: &[u8]) -> Result<()> {
        let (offset, rest) = number_of(members, br#","offset":"#).context("a message without an offset")?;
        if !rest.is_empty() {
            let (seq, rest) = number_of(rest, br#","seq":"#).context("a message without its number")?;
            ensure!(seq == self.partners[at].received, "client {}: message {seq} is another one", self.id);
            let session = format!(r#","session":"{}""#, session_of(self.partner_id(at)));
            ensure!(rest.is_empty() || rest == session.as_bytes(), "client {}: {}", self.id, shown(rest));
        }
        let partner = &mut self.partners[at];
        ensure!(offset > partner.offset, "client {}: offset {offset} after {}", self.id, partner.offset);
        partner.offset = offset;
        if !partner.is_owed {
            partner.is_owed = true;
            self.owed.push(at);
        }
        self.unacknowledged += 1;
        Ok(())
    }
}

/// Returns the session of a client.
fn session_of(id: usize) -> String {
    format!("{:016x}", id + 1)
}

/// Returns the number behind `name`, and the rest.
fn number_of<'a>(members: &'a [u8], name: &[u8]) -> Option<(u64, &'a [u8])> {
    let rest = members.strip_prefix(name)?;
    let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(length);
    Some((digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')), rest))
}

fn shown(payload: &[u8]) -> String {
    String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned()
}
