//! A connection as a session holds one, and a page at its other end.

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

/// What a connection's client is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// One that acknowledges nothing.
    Plain,
    /// The page of this number, which acknowledges.
    Page(u64),
}

/// Takes one write as a whole, and no more until the page has read.
#[derive(Clone, Debug, Default)]
struct Socket {
    written: Arc<Mutex<(Vec<u8>, bool)>>,
    /// Rung for the page.
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

/// A message that was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub sender: u64,
    pub text: String,
}

pub struct Connection {
    pub world: Arc<World>,
    name: &'static str,
    claim: Claim,
    bell: Arc<Bell>,
    socket: Socket,
    /// What its page has heard. All that is no message is checked to be for it.
    pub heard: Vec<Heard>,
    /// Who is there, as far as its page was told.
    pub online: BTreeMap<u64, bool>,
    /// What it has not acknowledged: up to where, by sender.
    unacknowledged: BTreeMap<u64, u64>,
    has_begun: bool,
}

/// A text frame that is nobody's but `name`'s.
fn note(name: &str, what: &str, frames: &mut Vec<u8>) {
    let text = format!("{{\"{what}\":\"{name}\"}}");
    frames.extend([0x81, text.len() as u8]);
    frames.extend(text.bytes());
}

impl Connection {
    /// A connection that takes the client's mailbox; with a hand, for others to write to its socket.
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
            Kind::Page(page) => Some(SessionInfo {
                id: SessionId::parse(&format!("{page:016x}")).expect("16 digits"),
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
            outbox.write(|frames| note(name, "hello", frames));
            world.came(client, greeting.has_replaced);
        });
        let claim = match outcome {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("{name}: {other:?}"),
        };
        let (heard, online) = (Vec::new(), BTreeMap::new());
        let (unacknowledged, has_begun) = (BTreeMap::new(), false);
        Self { world, name, claim, bell, socket, heard, online, unacknowledged, has_begun }
    }

    fn hub(&self) -> &Hub {
        &self.world.hub
    }

    /// Tries to send a message, in a batch of its own.
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
                Ok(Appended::Duplicate(_)) => panic!("{text} was never sent before"),
                Err(AppendError::Held) => {
                    *batch = world.hub.batch();
                    self.listen();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the bell, or for something that the page can read. Were a ring missed nothing would go on, which is noticed.
    fn listen(&self) {
        block_on(poll_fn(|cx| match self.bell.poll_rung(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.socket.bell.poll_rung(cx),
        }));
    }

    /// Tells the client something, as a session answers.
    pub fn answer(&self) {
        self.hub().with_outbox(&self.claim, |outbox| {
            outbox.write(|frames| note(self.name, "answer", frames));
        });
    }

    /// Writes what waits and has the page read, until nothing waits.
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
            self.hear();
            if delivered.is_ready() {
                return;
            }
        }
    }

    /// Delivers and acknowledges until nothing waits.
    pub fn serve(&mut self) {
        self.deliver();
        while !self.unacknowledged.is_empty() {
            self.acknowledge();
            self.deliver();
        }
    }

    /// Serves until so many messages were heard.
    pub fn serve_until(&mut self, count: usize) {
        self.serve();
        while self.heard.len() < count {
            self.listen();
            self.serve();
        }
    }

    /// The page reads what has come.
    fn hear(&mut self) {
        let bytes = self.socket.read();
        let mut rest = &*bytes;
        while let [0x81, length, after @ ..] = rest {
            let (text, behind) = after.split_at(usize::from(*length));
            rest = behind;
            self.hear_text(&serde_json::from_slice(text).expect("JSON"));
        }
        assert!(rest.is_empty(), "{} got half a frame", self.name);
    }

    fn hear_text(&mut self, frame: &Value) {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        assert_eq!(is_first, frame["hello"] == self.name, "{} gets {frame}", self.name);
        if let Value::String(name) = &frame["answer"] {
            assert_eq!(name, self.name, "another's answer");
        }
        let presence = &frame["presence"];
        self.online.extend(presence["clientId"].as_u64().zip(presence["online"].as_bool()));
        let relay = &frame["relay"];
        if let (Some(sender), Some(text)) = (relay["senderId"].as_u64(), relay["message"].as_str()) {
            self.heard.push(Heard { sender, text: text.to_owned() });
            self.unacknowledged.extend(relay["offset"].as_u64().map(|offset| (sender, offset)));
        }
    }

    /// Acknowledges what was heard.
    pub fn acknowledge(&mut self) {
        for (sender, offset) in std::mem::take(&mut self.unacknowledged) {
            let sender = ClientId::new(sender).expect("an id");
            let received = self.hub().received(&self.claim, sender, Offset(offset));
            received.unwrap_or_else(|error| panic!("{} may acknowledge {offset}: {error:?}", self.name));
        }
    }

    /// The connection ends. A page that is still there when it was not replaced has read what was written.
    pub fn close(&mut self) {
        let (client, hub) = (self.claim.id(), self.hub());
        let world = &self.world;
        let outbox = hub.release(&self.claim, false, || world.left(client));
        assert!(outbox.is_none_or(|outbox| outbox.is_empty()), "writes are whole");
        self.hear();
    }
}
