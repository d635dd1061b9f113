//! A sender is told that its message is accepted when the store has committed it or its recipient has received it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde_json::Value;
use websocket_relay::hub::{Appended, Bell, Claim, ClaimOutcome, ClaimRequest, Hub, Outbox, SessionInfo};
use websocket_relay::ids::{Offset, Seq, SessionId};
use websocket_relay::store::MessageRecord;
use websocket_relay::{ClientId, CloseReason, Limits};

struct Connection {
    claim: Claim,
    bell: Arc<Bell>,
}

impl Connection {
    fn open(hub: &Hub, client: ClientId) -> Self {
        Self::with(hub, client, Some("00000000000000aa"))
    }

    /// Connects with this session, or as a plain client.
    fn with(hub: &Hub, client: ClientId, session: Option<&str>) -> Self {
        let session = session.map(|session| SessionInfo {
            id: SessionId::parse(session).expect("16 digits"),
            connection: 0,
            knows_epoch: false,
            receipts: false,
            presence: false,
        });
        let bell = Arc::new(Bell::default());
        let (outbox, writer) = (&mut Outbox::default(), &mut None);
        let request = ClaimRequest { bell: &bell, outbox, writer, session };
        let ClaimOutcome::Claimed(claim) = hub.claim(client, request, |_, _| {}) else { panic!("it exists") };
        Self { claim, bell }
    }

    fn append(&mut self, hub: &Hub, target: ClientId, seq: u64) -> Appended {
        hub.append(&mut hub.batch(), &mut self.claim, target, Some(Seq(seq)), "\"text\"").expect("room")
    }

    fn append_plain(&mut self, hub: &Hub, target: ClientId) {
        hub.append(&mut hub.batch(), &mut self.claim, target, None, "\"text\"").expect("room");
    }

    /// Has the socket take what waits for the client. Returns the frames.
    fn write(&self, hub: &Hub) -> Vec<Value> {
        let mut frames = Vec::new();
        let written = hub.deliver(&self.claim, |outbox| {
            outbox.write_accepted();
            frames.extend(parse(outbox.unwritten()));
            outbox.advance(outbox.unwritten().len());
            Poll::Ready(Ok(()))
        });
        assert!(written.is_ready());
        frames
    }

    /// Moves what waits to the outbox, of which the socket takes nothing.
    fn block(&self, hub: &Hub) {
        assert!(hub.deliver(&self.claim, |_| Poll::Pending).is_pending());
    }

    /// Returns the targets and numbers that the client is told are accepted.
    fn accepted(&self, hub: &Hub) -> Vec<(u64, u64)> {
        let number = |frame: &Value, member: &str| frame["accepted"][member].as_u64();
        let frames = self.write(hub);
        frames.iter().filter_map(|frame| Some((number(frame, "targetId")?, number(frame, "seq")?))).collect()
    }

    fn has_rung(&self) -> bool {
        self.bell.poll_rung(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

/// Parses frames with short payloads.
fn parse(mut frames: &[u8]) -> Vec<Value> {
    let mut parsed = Vec::new();
    while let [_, length, rest @ ..] = frames {
        let (frame, behind) = rest.split_at(usize::from(*length));
        parsed.push(serde_json::from_slice(frame).expect("JSON"));
        frames = behind;
    }
    parsed
}

fn late() -> (Hub, [ClientId; 3]) {
    let hub = Hub::late(Limits::default(), true).expect("randomness");
    let ids = [(); 3].map(|()| hub.register(None).expect("randomness").id);
    (hub, ids)
}

fn take(hub: &Hub) -> Vec<MessageRecord> {
    hub.take_uncommitted(Instant::now(), false)
}

fn commit(hub: &Hub) {
    hub.committed(&hub.take_uncommitted(Instant::now(), true));
}

#[test]
fn a_message_to_a_client_that_is_away_is_accepted_once_it_is_committed() {
    let (hub, [ada, bob, grace]) = late();
    let mut sender = Connection::open(&hub, ada);
    for (target, seq) in [(bob, 1), (bob, 2), (grace, 1)] {
        assert_eq!(sender.append(&hub, target, seq), Appended::Uncommitted);
    }
    let taken = take(&hub);
    assert_eq!(taken.len(), 3);
    sender.append(&hub, bob, 3);
    assert_eq!(sender.accepted(&hub), []);
    sender.has_rung();
    hub.committed(&taken);
    assert!(sender.has_rung());
    assert_eq!(sender.accepted(&hub), [(bob.get(), 2), (grace.get(), 1)]);
    commit(&hub);
    assert_eq!(sender.accepted(&hub), [(bob.get(), 3)]);
    assert_eq!(take(&hub), [], "each message is taken once");
}

#[test]
fn a_message_is_accepted_once_its_recipient_has_received_it_and_is_never_taken() {
    let (hub, [ada, bob, _]) = late();
    let (mut sender, reader) = (Connection::open(&hub, ada), Connection::open(&hub, bob));
    sender.append(&hub, bob, 1);
    sender.append(&hub, bob, 2);
    let offset = reader.write(&hub)[0]["relay"]["offset"].as_u64().expect("an offset");
    assert_eq!(take(&hub), [], "the recipient is there");
    sender.has_rung();
    hub.received(&reader.claim, ada, Offset(offset)).expect("it was written");
    assert!(sender.has_rung());
    assert_eq!(sender.accepted(&hub), [(bob.get(), 1)]);
    let later = hub.take_uncommitted(Instant::now() + 2 * Limits::COMMIT_DELAY, false);
    assert_eq!(
        later.iter().map(|message| message.seq).collect::<Vec<_>>(),
        [],
        "the first to wait was the other"
    );
    let later = hub.take_uncommitted(Instant::now() + 4 * Limits::COMMIT_DELAY, false);
    assert_eq!(later.iter().map(|message| message.seq).collect::<Vec<_>>(), [Seq(2)]);
}

#[test]
fn a_repeated_message_is_accepted_when_the_first_one_is() {
    let (hub, [ada, bob, _]) = late();
    let mut sender = Connection::open(&hub, ada);
    sender.append(&hub, bob, 1);
    sender.append(&hub, bob, 2);
    let taken = take(&hub);
    assert_eq!(sender.append(&hub, bob, 1), Appended::Uncommitted);
    assert_eq!(hub.duplicate(&mut sender.claim, bob, Seq(1)), Some(Appended::Uncommitted));
    hub.committed(&taken);
    assert_eq!(sender.append(&hub, bob, 1), Appended::Duplicate(Seq(2)));
}

#[test]
fn a_refusal_waits_for_the_acceptance_of_what_came_before() {
    let (hub, [ada, bob, _]) = late();
    let mut sender = Connection::open(&hub, ada);
    assert_eq!(hub.poll_accepted(&sender.claim, bob), Poll::Ready(None));
    sender.append(&hub, bob, 4);
    assert_eq!(hub.poll_accepted(&sender.claim, bob), Poll::Pending);
    commit(&hub);
    assert_eq!(hub.poll_accepted(&sender.claim, bob), Poll::Ready(Some(Seq(4))));
}

#[test]
fn what_is_dropped_before_it_is_committed_counts_as_accepted() {
    let (hub, [ada, bob, grace]) = late();
    let mut sender = Connection::open(&hub, ada);
    sender.append(&hub, bob, 1);
    sender.append(&hub, grace, 1);
    hub.unregister(bob, CloseReason::Unregistered).expect("a client");
    assert_eq!(sender.accepted(&hub), [(bob.get(), 1)]);
    hub.close_channel(ada, grace).expect("a channel");
    assert_eq!(sender.accepted(&hub), [(grace.get(), 1)]);
    assert_eq!(take(&hub), []);
}

#[test]
fn what_a_plain_recipients_socket_has_not_taken_is_stored_in_order() {
    let (hub, [ada, bob, _]) = late();
    let (mut sender, reader) = (Connection::open(&hub, ada), Connection::with(&hub, bob, None));
    sender.append(&hub, bob, 1);
    // The first is on its way to the socket, the second waits.
    reader.block(&hub);
    sender.append(&hub, bob, 2);
    let taken = hub.take_uncommitted(Instant::now(), true);
    assert_eq!(taken.iter().map(|message| message.seq).collect::<Vec<_>>(), [Seq(1), Seq(2)]);
    assert_eq!(sender.accepted(&hub), []);
    hub.committed(&taken);
    assert_eq!(sender.accepted(&hub), [(bob.get(), 2)]);
    assert_eq!(reader.write(&hub).len(), 2);
    assert_eq!(hub.take_uncommitted(Instant::now(), true), [], "nothing is taken twice");
}

#[test]
fn a_plain_recipients_socket_accepts_what_it_takes() {
    let (hub, [ada, bob, _]) = late();
    let (mut sender, reader) = (Connection::open(&hub, ada), Connection::with(&hub, bob, None));
    sender.append(&hub, bob, 1);
    assert_eq!(sender.accepted(&hub), []);
    reader.write(&hub);
    assert_eq!(sender.accepted(&hub), [(bob.get(), 1)]);
    assert_eq!(hub.take_uncommitted(Instant::now(), true), []);
}

#[test]
fn a_plain_senders_messages_are_stored_under_the_servers_session() {
    let (hub, [ada, bob, _]) = late();
    Connection::with(&hub, ada, None).append_plain(&hub, bob);
    let taken = take(&hub);
    let [message] = &taken[..] else { panic!("{taken:?}") };
    let frames = Connection::open(&hub, bob).write(&hub);
    let relay = &frames[0]["relay"];
    assert_eq!(
        (relay["session"].as_str(), relay["seq"].as_u64()),
        (Some(&*message.session.to_string()), Some(message.seq.0))
    );
}

#[test]
fn messages_expire_only_once_they_are_committed() {
    let ttl = Duration::from_millis(50);
    let hub = Hub::late(Limits { message_ttl: ttl, ..Limits::default() }, true).expect("randomness");
    let [ada, bob] = [(); 2].map(|()| hub.register(None).expect("randomness").id);
    let mut sender = Connection::open(&hub, ada);
    sender.append(&hub, bob, 1);
    let late = Instant::now() + 10 * ttl;
    assert_eq!(hub.expire_messages(late), []);
    commit(&hub);
    let expired = hub.expire_messages(late);
    assert_eq!(expired.iter().map(|expired| expired.messages).sum::<u64>(), 1);
}

#[test]
fn a_store_in_memory_commits_at_once() {
    let hub = Hub::new(Limits::default(), true).expect("randomness");
    let [ada, bob] = [(); 2].map(|()| hub.register(None).expect("randomness").id);
    let mut sender = Connection::open(&hub, ada);
    assert_eq!(sender.append(&hub, bob, 1), Appended::New);
    assert_eq!(sender.append(&hub, bob, 1), Appended::Duplicate(Seq(1)));
}
