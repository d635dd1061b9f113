//! A sender is told that its message is accepted when the store has committed it or its recipient has received it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use websocket_relay::hub::{Appended, Bell, Claim, ClaimOutcome, ClaimRequest, Hub, Outbox, SessionInfo};
use websocket_relay::ids::{Offset, Seq, SessionId};
use websocket_relay::{ClientId, CloseReason, Limits};

const ALL: Offset = Offset(u64::MAX - 1);

struct Connection {
    claim: Claim,
    bell: Arc<Bell>,
}

impl Connection {
    fn open(hub: &Hub, client: ClientId) -> Self {
        let id = SessionId::parse("00000000000000aa").expect("16 digits");
        let session = SessionInfo { id, connection: 0, knows_epoch: false, receipts: false, presence: false };
        let bell = Arc::new(Bell::default());
        let (outbox, writer) = (&mut Outbox::default(), &mut None);
        let request = ClaimRequest { bell: &bell, outbox, writer, session: Some(session) };
        let ClaimOutcome::Claimed(claim) = hub.claim(client, request, |_, _| {}) else { panic!("it exists") };
        Self { claim, bell }
    }

    fn append(&mut self, hub: &Hub, target: ClientId, seq: u64) -> Appended {
        hub.append(&mut hub.batch(), &mut self.claim, target, Some(Seq(seq)), "\"text\"").expect("room")
    }

    /// Writes what waits for the client.
    fn write(&self, hub: &Hub) {
        let written = hub.deliver(&self.claim, |outbox| {
            outbox.advance(outbox.unwritten().len());
            Poll::Ready(Ok(()))
        });
        assert!(written.is_ready());
    }

    fn has_rung(&self) -> bool {
        self.bell.poll_rung(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

fn late() -> (Hub, [ClientId; 3]) {
    let hub = Hub::late(Limits::default(), true).expect("randomness");
    let ids = [(); 3].map(|()| hub.register(None).expect("randomness").id);
    (hub, ids)
}

fn offset_of(appended: Appended) -> Offset {
    match appended {
        Appended::Uncommitted { upto, .. } => upto,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_accepted_once_its_recipients_mailbox_is_committed_up_to_it() {
    let (hub, [ada, bob, grace]) = late();
    let mut sender = Connection::open(&hub, ada);
    let offsets = [1, 2, 3].map(|seq| offset_of(sender.append(&hub, bob, seq)));
    let other = offset_of(sender.append(&hub, grace, 1));
    let committed = |sender: &Connection| {
        [offsets[0], offsets[1], offsets[2]].map(|offset| hub.is_committed(&sender.claim, bob, offset))
    };
    assert_eq!(committed(&sender), [false; 3]);
    sender.has_rung();
    hub.commit(bob, offsets[1]);
    assert_eq!(committed(&sender), [true, true, false]);
    assert!(sender.has_rung() && !hub.is_committed(&sender.claim, grace, other));
    hub.commit(bob, offsets[1]);
    assert!(!sender.has_rung(), "nothing is new");
    hub.commit(bob, ALL);
    assert!(committed(&sender)[2] && sender.has_rung());
}

#[test]
fn a_message_is_accepted_once_its_recipient_has_received_it() {
    let (hub, [ada, bob, _]) = late();
    let (mut sender, reader) = (Connection::open(&hub, ada), Connection::open(&hub, bob));
    let offsets = [1, 2].map(|seq| offset_of(sender.append(&hub, bob, seq)));
    reader.write(&hub);
    sender.has_rung();
    hub.received(&reader.claim, ada, offsets[0]).expect("it was written");
    assert!(sender.has_rung() && hub.is_committed(&sender.claim, bob, offsets[0]));
    assert!(!hub.is_committed(&sender.claim, bob, offsets[1]));
}

#[test]
fn a_repeated_message_is_accepted_when_the_first_one_is() {
    let (hub, [ada, bob, _]) = late();
    let mut sender = Connection::open(&hub, ada);
    let last = [1, 2].map(|seq| offset_of(sender.append(&hub, bob, seq)))[1];
    let expected = Appended::Uncommitted { upto: last, duplicate: Some(Seq(2)) };
    assert_eq!(sender.append(&hub, bob, 1), expected);
    assert_eq!(hub.duplicate(&mut sender.claim, bob, Seq(1)), Some(expected));
    hub.commit(bob, ALL);
    assert_eq!(sender.append(&hub, bob, 1), Appended::Duplicate(Seq(2)));
}

#[test]
fn nothing_waits_for_a_commit_to_a_client_that_is_gone() {
    let (hub, [ada, bob, _]) = late();
    let mut sender = Connection::open(&hub, ada);
    let offset = offset_of(sender.append(&hub, bob, 1));
    hub.unregister(bob, CloseReason::Unregistered).expect("a client");
    assert!(hub.is_committed(&sender.claim, bob, offset));
}

#[test]
fn a_store_in_memory_commits_at_once() {
    let hub = Hub::new(Limits::default(), true).expect("randomness");
    let [ada, bob] = [(); 2].map(|()| hub.register(None).expect("randomness").id);
    let mut sender = Connection::open(&hub, ada);
    assert_eq!(sender.append(&hub, bob, 1), Appended::New);
    assert_eq!(sender.append(&hub, bob, 1), Appended::Duplicate(Seq(1)));
}
