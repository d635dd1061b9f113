//! A connection, used as a session uses it, and the page at its other end.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use serde_json::Value;
use shuttle::future::block_on;
use websocket_relay::ClientId;
use websocket_relay::hub::{
    AppendError, Appended, Batch, Bell, Claim, ClaimOutcome, ClaimRequest, Hub, Outbox, SessionInfo,
};
use websocket_relay::ids::{Offset, Seq, SessionId};
use websocket_relay::shared_writer::{SharedWriter, Simulated};

use super::World;

/// The kind of client that uses a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A plain client.
    Plain,
    /// A reliable client with this session number.
    Reliable(u64),
}

/// A socket that takes one write as a whole, and no more until the page has read it.
#[derive(Clone, Debug, Default)]
struct Socket {
    /// The written bytes, and whether the socket is full.
    written: Arc<Mutex<(Vec<u8>, bool)>>,
    /// Rung when the page can read.
    bell: Arc<Bell>,
}

impl Socket {
    fn read(&self) -> Vec<u8> {
        let (bytes, is_full) = &mut *self.written.lock().expect("no panic before");
        *is_full = false;
        std::mem::take(bytes)
    }
}

impl Simulated for Socket {
    fn try_write(&self, new: &[u8]) -> io::Result<usize> {
        let mut written = self.written.lock().expect("no panic before");
        if std::mem::replace(&mut written.1, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        written.0.extend_from_slice(new);
        drop(written);
        self.bell.ring();
        Ok(new.len())
    }
}

/// A message that a page received.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedMessage {
    pub sender: u64,
    pub text: String,
}

pub struct Connection {
    pub world: Arc<World>,
    name: &'static str,
    claim: Claim,
    bell: Arc<Bell>,
    socket: Socket,
    /// The messages that the page received.
    pub received: Vec<ReceivedMessage>,
    /// The presence that the page was told last, by client.
    pub online: BTreeMap<u64, bool>,
    /// The last offset that was not acknowledged, by sender.
    unacknowledged: BTreeMap<u64, u64>,
    /// Whether the page has read the greeting.
    is_greeted: bool,
    /// The target and offset of the last message, if the store has yet to commit it.
    uncommitted: Option<u64>,
    /// The last message that the page was told is accepted.
    accepted: Option<u64>,
}

/// Appends a text frame that only the connection `name` may read.
fn write_own_frame(name: &str, member: &str, frames: &mut Vec<u8>) {
    let text = format!("{{\"{member}\":\"{name}\"}}");
    frames.extend([0x81, text.len() as u8]);
    frames.extend(text.bytes());
}

impl Connection {
    /// Opens a connection that claims the client's mailbox. `has_writer` tells whether other sessions can write to its socket.
    pub fn open(
        world: &Arc<World>,
        client: ClientId,
        name: &'static str,
        kind: Kind,
        has_writer: bool,
    ) -> Self {
        let (bell, socket, world) = (Arc::new(Bell::default()), Socket::default(), Arc::clone(world));
        let session = match kind {
            Kind::Plain => None,
            Kind::Reliable(session) => Some(SessionInfo {
                id: SessionId::parse(&format!("{session:016x}")).expect("16 digits"),
                connection: 0,
                knows_epoch: false,
                receipts: true,
                presence: true,
            }),
        };
        let mut writer = has_writer.then(|| SharedWriter::Simulated(Box::new(socket.clone())));
        let request =
            ClaimRequest { bell: &bell, outbox: &mut Outbox::default(), writer: &mut writer, session };
        let outcome = world.hub.claim(client, request, |outbox, greeting| {
            outbox.write(|frames| write_own_frame(name, "hello", frames));
            world.connected(client, greeting.has_replaced);
        });
        let claim = match outcome {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("{name}: {other:?}"),
        };
        Self {
            world,
            name,
            claim,
            bell,
            socket,
            received: Vec::new(),
            online: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            is_greeted: false,
            uncommitted: None,
            accepted: None,
        }
    }

    fn hub(&self) -> &Hub {
        &self.world.hub
    }

    /// Tries to send a message in a batch of its own.
    pub fn try_send(&mut self, target: ClientId, text: &str) -> Result<Appended, AppendError> {
        let hub = &self.world.hub;
        hub.append(&mut hub.batch(), &mut self.claim, target, None, &format!("\"{text}\""))
    }

    /// Sends a message in a batch. A sender whose message is held ends its batch and waits until its bell rings.
    pub fn send<'w>(
        &mut self,
        world: &'w World,
        batch: &mut Batch<'w>,
        target: ClientId,
        text: &str,
        seq: Option<u64>,
    ) -> Result<(), AppendError> {
        let message = format!("\"{text}\"");
        loop {
            match world.hub.append(batch, &mut self.claim, target, seq.map(Seq), &message) {
                Ok(Appended::New) => return Ok(()),
                Ok(Appended::Uncommitted) => {
                    self.uncommitted = seq;
                    return Ok(());
                }
                Ok(duplicate) => panic!("{text} was not sent before: {duplicate:?}"),
                Err(AppendError::Held) => {
                    *batch = world.hub.batch();
                    self.wait();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the page is told that the last message is accepted.
    pub fn wait_until_accepted(&mut self) {
        while self.accepted < self.uncommitted {
            self.hub().with_outbox(&self.claim, Outbox::write_accepted);
            self.deliver();
            if self.accepted < self.uncommitted {
                self.wait();
            }
        }
    }

    /// Waits for the bell, or for bytes that the page can read. Shuttle reports a deadlock if a ring is lost.
    fn wait(&self) {
        block_on(poll_fn(|cx| match self.bell.poll_rung(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.socket.bell.poll_rung(cx),
        }));
    }

    /// Writes a frame to the client, like a session's reply.
    pub fn reply(&self) {
        self.hub().with_outbox(&self.claim, |outbox| {
            outbox.write(|frames| write_own_frame(self.name, "reply", frames));
        });
    }

    /// Delivers waiting messages to the page until none wait.
    pub fn deliver(&mut self) {
        self.hub().tell_presence();
        loop {
            let socket = self.socket.clone();
            let delivered = self.hub().deliver(&self.claim, |outbox| {
                while !outbox.is_written() {
                    match socket.try_write(outbox.unwritten()) {
                        Ok(bytes) => outbox.advance(bytes),
                        Err(_) => return Poll::Pending,
                    }
                }
                Poll::Ready(Ok(()))
            });
            self.read();
            if delivered.is_ready() {
                return;
            }
        }
    }

    /// Delivers and acknowledges messages until none wait.
    pub fn receive(&mut self) {
        self.deliver();
        while !self.unacknowledged.is_empty() {
            self.acknowledge();
            self.deliver();
        }
    }

    /// Receives messages until there are `count`.
    pub fn receive_until(&mut self, count: usize) {
        self.receive();
        while self.received.len() < count {
            self.wait();
            self.receive();
        }
    }

    /// The page reads the frames that have arrived.
    fn read(&mut self) {
        let bytes = self.socket.read();
        let mut rest = &*bytes;
        while let [0x81, length, after @ ..] = rest {
            let (text, next) = after.split_at(usize::from(*length));
            rest = next;
            self.on_frame(&serde_json::from_slice(text).expect("JSON"));
        }
        assert!(rest.is_empty(), "{} read half a frame", self.name);
    }

    fn on_frame(&mut self, frame: &Value) {
        let is_first = !std::mem::replace(&mut self.is_greeted, true);
        assert_eq!(is_first, frame["hello"] == self.name, "{} reads {frame}", self.name);
        if let Value::String(name) = &frame["reply"] {
            assert_eq!(name, self.name, "a reply to another connection");
        }
        self.accepted = self.accepted.max(frame["accepted"]["seq"].as_u64());
        let presence = &frame["presence"];
        self.online.extend(presence["clientId"].as_u64().zip(presence["online"].as_bool()));
        let relay = &frame["relay"];
        if let (Some(sender), Some(text)) = (relay["senderId"].as_u64(), relay["message"].as_str()) {
            self.received.push(ReceivedMessage { sender, text: text.to_owned() });
            self.unacknowledged.extend(relay["offset"].as_u64().map(|offset| (sender, offset)));
        }
    }

    /// Acknowledges the received messages.
    pub fn acknowledge(&mut self) {
        for (sender, offset) in std::mem::take(&mut self.unacknowledged) {
            let sender = ClientId::new(sender).expect("an id");
            let received = self.hub().received(&self.claim, sender, Offset(offset));
            received.unwrap_or_else(|error| panic!("{} may acknowledge {offset}: {error:?}", self.name));
        }
    }

    /// Ends the connection. The page reads the frames that were written.
    pub fn close(&mut self) {
        let (client, hub) = (self.claim.id(), self.hub());
        let world = &self.world;
        let outbox = hub.release(&self.claim, false, || world.disconnected(client));
        assert!(outbox.is_none_or(|outbox| outbox.is_empty()), "every write was taken as a whole");
        self.read();
    }
}
