//! Runs the hub on threads that shuttle schedules, at random or with few changes of priority. The feature `shuttle` replaces
//! the locks, atomics and thread-locals that `sync.rs` names; nothing else runs with that feature.
//!
//! Several threads use connections of one client and send in batches (`hub::Batch`). A replaced connection changes nothing
//! after the newer one has its claim, every message arrives once and in order, and nothing is left at the end. Without the
//! comparison of a claim's number in `append`, `received`, `deliver`, `release` or `with_outbox` a scenario fails within 25
//! schedules.
//!
//! With a store that commits late (`Hub::late`), a sender that waits for its bell always learns that its message was committed
//! or received.
//!
//! Shuttle knows only sequentially consistent memory; loom checks the other orders, for the bell.
//!
//! `npm run torture:interleavings` runs more schedules. `INTERLEAVINGS_SEED` seeds them.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod channels;
mod connection;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::{JoinHandle, spawn};
use shuttle::{Config, Runner};
use websocket_relay::hub::{AppendError, Bell, Hub, Totals};
use websocket_relay::{ClientId, CloseReason, Limits};

use connection::{Connection, Kind, ReceivedMessage};

/// Schedules of each scenario: half of them with few changes of priority, half of them random.
const SCHEDULES: usize = 1000;
/// Changes of priority in a schedule.
const PRIORITY_CHANGES: usize = 4;

/// Returns the number in an environment variable.
fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Counts schedules. Prints the number of a schedule that fails.
struct ScheduleCounter(Arc<AtomicUsize>);

impl Drop for ScheduleCounter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in schedule {}", self.0.load(Ordering::Relaxed));
        }
    }
}

/// Runs a scenario in many schedules.
fn explore(scenario: fn()) {
    let (schedules, seed) = (variable("INTERLEAVINGS", SCHEDULES), variable("INTERLEAVINGS_SEED", 1) as u64);
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    let pct = PctScheduler::new_from_seed(seed, PRIORITY_CHANGES, schedules / 2);
    let random = RandomScheduler::new_from_seed(seed, schedules / 2);
    let counter = ScheduleCounter(Arc::default());
    let count = Arc::clone(&counter.0);
    let run = move || {
        count.fetch_add(1, Ordering::Relaxed);
        scenario();
    };
    Runner::new(pct, config.clone()).run(run.clone());
    Runner::new(random, config).run(run);
    println!("{} schedules", counter.0.load(Ordering::Relaxed));
}

/// The hub and its clients, shared by all threads of a scenario.
pub struct World {
    hub: Hub,
    clients: [ClientId; 3],
    /// Whether each client is connected, according to the calls of `greet` and `emit`.
    is_connected: Mutex<BTreeMap<ClientId, bool>>,
}

impl World {
    /// Creates three clients. [`ADA`] and [`BOB`] have a channel to [`GRACE`], or need none.
    fn new(limits: Limits) -> Arc<Self> {
        Self::with(limits, one_in_two())
    }

    /// Like [`World::new`]. With `authorize_all` no client needs a channel.
    fn with(limits: Limits, authorize_all: bool) -> Arc<Self> {
        Self::over(Hub::new(limits, authorize_all).unwrap(), authorize_all)
    }

    /// Like [`World::new`], with a store that commits messages only when [`Hub::commit`] is called.
    fn late(limits: Limits) -> Arc<Self> {
        let authorize_all = one_in_two();
        Self::over(Hub::late(limits, authorize_all).unwrap(), authorize_all)
    }

    fn over(hub: Hub, authorize_all: bool) -> Arc<Self> {
        let clients = [(); 3].map(|()| hub.register(None).unwrap().id);
        if !authorize_all {
            hub.open_channel(clients[ADA], clients[GRACE]).unwrap();
            hub.open_channel(clients[BOB], clients[GRACE]).unwrap();
        }
        Arc::new(Self { hub, clients, is_connected: Mutex::default() })
    }

    /// Opens a connection of a client. Half the time other sessions can write to its socket.
    fn open(self: &Arc<Self>, client: usize, name: &'static str, kind: Kind) -> Connection {
        Connection::open(self, self.clients[client], name, kind, one_in_two())
    }

    fn connected(&self, client: ClientId, has_replaced: bool) {
        let was_connected = self.is_connected.lock().unwrap().insert(client, true).unwrap_or_default();
        assert_eq!(was_connected, has_replaced, "client {client} connected");
    }

    fn disconnected(&self, client: ClientId) {
        let was_connected = self.is_connected.lock().unwrap().insert(client, false).unwrap_or_default();
        assert!(was_connected, "client {client} disconnected");
    }

    /// Drops the messages that have expired by `now`. Returns how many.
    fn expire(&self, now: Instant) -> u64 {
        self.hub.expire_messages(now).iter().map(|expired| expired.messages).sum()
    }

    /// Unregisters all clients, and checks that nothing is left of them.
    fn end(&self) {
        for client in self.clients {
            self.hub.unregister(client, CloseReason::Unregistered).ok();
        }
        let Totals { registered, channels, queued_messages, queued_bytes, .. } = self.hub.totals();
        assert_eq!((registered, channels, queued_messages, queued_bytes), (0, 0, 0, 0), "something is left");
    }
}

const ADA: usize = 0;
const GRACE: usize = 1;
const BOB: usize = 2;

fn one_in_two() -> bool {
    thread_rng().gen_bool(0.5)
}

/// Returns a plain client, or a reliable one with this session number.
fn any(session: u64) -> Kind {
    if one_in_two() { Kind::Plain } else { Kind::Reliable(session) }
}

/// Sends `count` messages with this name to [`GRACE`] on a thread of its own. Returns how many were appended.
fn start_sending(mut sender: Connection, name: &'static str, count: u64) -> JoinHandle<u64> {
    let is_numbered = one_in_two();
    spawn(move || {
        let (world, mut appended) = (Arc::clone(&sender.world), 0);
        let mut batch = world.hub.batch();
        while appended < count {
            let (text, seq) = (format!("{name} {}", appended + 1), is_numbered.then_some(appended + 1));
            match sender.send(&world, &mut batch, world.clients[GRACE], &text, seq) {
                Ok(()) => appended += 1,
                Err(AppendError::Replaced | AppendError::ChannelNotRegistered) => break,
                Err(other) => panic!("{text}: {other:?}"),
            }
            if one_in_two() {
                batch = world.hub.batch();
            }
        }
        drop(batch);
        appended
    })
}

/// Returns the texts of the messages from a client.
fn texts_from(received: &[ReceivedMessage], client: usize) -> Vec<&str> {
    received.iter().filter(|message| message.sender == client as u64).map(|message| &*message.text).collect()
}

/// Returns the texts of the messages from a client. Checks that they were received once and in order.
fn texts_once_in_order(received: &[ReceivedMessage], client: usize) -> Vec<String> {
    let sorted: BTreeSet<_> = texts_from(received, client).into_iter().map(str::to_owned).collect();
    let texts: Vec<_> = texts_from(received, client).into_iter().map(str::to_owned).collect();
    assert_eq!(texts, sorted.into_iter().collect::<Vec<_>>(), "once and in order");
    texts
}

/// Returns the texts that [`start_sending`] sends.
fn texts(name: &str, count: u64) -> Vec<String> {
    (1..=count).map(|number| format!("{name} {number}")).collect()
}

#[test]
fn messages_of_a_replaced_connection_come_before_those_of_the_newer_one() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut reader = world.open(GRACE, "reader", any(1));
        let old = start_sending(world.open(ADA, "old", any(2)), "old", 3);
        let bystander = start_sending(world.open(BOB, "bystander", any(3)), "by", 2);
        let newer = Arc::clone(&world);
        let new = spawn(move || start_sending(newer.open(ADA, "new", any(4)), "new", 2).join().unwrap());
        let reading = spawn(move || {
            reader.receive_until(4);
            reader
        });
        let appended = [old, bystander, new].map(|thread| thread.join().unwrap());
        assert_eq!(appended[1..], [2, 2]);
        let mut reader = reading.join().unwrap();
        reader.receive();
        assert_eq!(texts_from(&reader.received, ADA), [texts("old", appended[0]), texts("new", 2)].concat());
        assert_eq!(texts_from(&reader.received, BOB), texts("by", 2));
        world.end();
    });
}

#[test]
fn a_replaced_connection_neither_delivers_nor_replies_nor_releases() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut old = world.open(GRACE, "old", Kind::Plain);
        let sending = start_sending(world.open(ADA, "sender", any(2)), "text", 4);
        let reading = spawn(move || {
            for _ in 0..2 {
                old.deliver();
                old.reply();
            }
            old.close();
            old
        });
        let newer = Arc::clone(&world);
        let new = spawn(move || {
            let mut new = newer.open(GRACE, "new", Kind::Plain);
            new.reply();
            new.deliver();
            new
        });
        let disconnecter = Arc::clone(&world);
        let disconnecting = one_in_two().then(|| {
            spawn(move || {
                let (client, reason) =
                    (disconnecter.clients[GRACE], CloseReason::ByServer(4000, String::new()));
                let emit = || disconnecter.disconnected(client);
                disconnecter.hub.disconnect(client, reason, emit).unwrap();
            })
        });
        let (old, mut new, sent) = (reading.join().unwrap(), new.join().unwrap(), sending.join().unwrap());
        assert_eq!(sent, 4);
        match disconnecting {
            Some(disconnecting) => disconnecting.join().unwrap(),
            None => assert!(world.hub.status(world.clients[GRACE]).unwrap().is_connected),
        }
        new.close();
        let mut last = world.open(GRACE, "last", Kind::Plain);
        last.deliver();
        let received = [old.received, new.received, last.received].concat();
        assert_eq!(texts_from(&received, ADA), texts("text", 4));
        world.end();
    });
}

#[test]
fn counts_unwritten_messages_of_a_replaced_connection_before_they_are_delivered() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut old = world.open(GRACE, "old", Kind::Plain);
        old.deliver();
        let mut sender = world.open(ADA, "sender", any(2));
        let mut batch = world.hub.batch();
        sender.send(&world, &mut batch, world.clients[GRACE], "text 1", None).unwrap();
        let newer = Arc::clone(&world);
        let new = spawn(move || newer.open(GRACE, "new", Kind::Plain));
        for text in ["text 2", "text 3"] {
            batch = world.hub.batch();
            sender.send(&world, &mut batch, world.clients[GRACE], text, None).unwrap();
        }
        drop(batch);
        let mut new = new.join().unwrap();
        new.deliver();
        old.close();
        assert_eq!(texts_from(&[old.received, new.received].concat(), ADA), ["text 1", "text 2", "text 3"]);
        world.end();
    });
}

#[test]
fn a_replaced_connection_acknowledges_nothing() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut old = world.open(GRACE, "old", Kind::Reliable(1));
        let sending = start_sending(world.open(ADA, "sender", any(2)), "text", 3);
        let reading = spawn(move || {
            for _ in 0..2 {
                old.deliver();
                old.acknowledge();
            }
            old.close();
        });
        let newer = Arc::clone(&world);
        let new = spawn(move || {
            let mut new = newer.open(GRACE, "new", Kind::Reliable(3));
            new.deliver();
            // The page is reloaded before it has acknowledged anything.
            (new, newer.open(GRACE, "reloaded", Kind::Reliable(4)))
        });
        reading.join().unwrap();
        let ((new, mut reloaded), sent) = (new.join().unwrap(), sending.join().unwrap());
        assert_eq!(sent, 3);
        reloaded.receive();
        let (before, after, all) =
            (texts_from(&new.received, ADA), texts_from(&reloaded.received, ADA), texts("text", 3));
        assert_eq!(after, all[all.len() - after.len()..]);
        assert!(
            after.starts_with(&before),
            "{before:?} was not acknowledged, but only {after:?} was sent again"
        );
        world.end();
    });
}

#[test]
fn delivers_all_messages_of_two_senders_that_wait_for_room() {
    explore(|| {
        let limits = Limits { max_queued_messages: 1, max_in_flight_messages: 1, ..Limits::default() };
        let world = World::new(limits);
        let mut reader = world.open(GRACE, "reader", any(1));
        let [ada, bob] = [(ADA, "ada"), (BOB, "bob")].map(|(client, name)| {
            let mut sender = world.open(client, name, Kind::Plain);
            spawn(move || {
                let world = Arc::clone(&sender.world);
                let mut batch = world.hub.batch();
                for text in texts(name, 3) {
                    sender.send(&world, &mut batch, world.clients[GRACE], &text, None).unwrap();
                }
            })
        });
        reader.receive_until(6);
        ada.join().unwrap();
        bob.join().unwrap();
        assert_eq!(texts_from(&reader.received, ADA), texts("ada", 3));
        assert_eq!(texts_from(&reader.received, BOB), texts("bob", 3));
        world.end();
    });
}

#[test]
fn unregistering_leaves_nothing_behind() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut reader = world.open(GRACE, "reader", any(1));
        let ada = start_sending(world.open(ADA, "ada", any(2)), "ada", 3);
        let bob = start_sending(world.open(BOB, "bob", any(3)), "bob", 2);
        let reading = spawn(move || {
            reader.receive();
            reader.receive();
            reader
        });
        let unregistered = if one_in_two() { ADA } else { GRACE };
        world.hub.unregister(world.clients[unregistered], CloseReason::Unregistered).unwrap();
        let (ada, bob, mut reader) = (ada.join().unwrap(), bob.join().unwrap(), reading.join().unwrap());
        reader.receive();
        let (from_ada, from_bob) = (texts_from(&reader.received, ADA), texts_from(&reader.received, BOB));
        assert!(texts("ada", ada).starts_with(&from_ada.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert!(unregistered == GRACE || (bob, from_bob.len()) == (2, 2), "{from_bob:?}");
        world.end();
    });
}

#[test]
fn reopening_a_channel_leaves_nothing_behind() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut reader = world.open(GRACE, "reader", any(1));
        let ada = start_sending(world.open(ADA, "ada", any(2)), "ada", 3);
        let pair = [world.clients[ADA], world.clients[GRACE]];
        let channels = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            spawn(move || {
                world.hub.close_channel(pair[0], pair[1]).ok();
                world.hub.open_channel(pair[1], pair[0]).ok();
            })
        });
        reader.receive();
        channels.into_iter().for_each(|thread| thread.join().unwrap());
        let appended = ada.join().unwrap();
        reader.receive();
        let received = texts_once_in_order(&reader.received, ADA);
        assert!(
            received.iter().all(|text| texts("ada", appended).contains(text)),
            "{received:?} of {appended}"
        );
        world.end();
    });
}

#[test]
fn every_message_is_received_or_expires() {
    explore(|| {
        let world = World::new(Limits { message_ttl: Duration::from_secs(3600), ..Limits::default() });
        let later = Instant::now() + Duration::from_secs(3 * 3600);
        let mut reader = world.open(GRACE, "reader", any(1));
        let ada = start_sending(world.open(ADA, "ada", any(2)), "ada", 3);
        let background = Arc::clone(&world);
        let expiring = spawn(move || background.expire(later) + background.expire(later));
        reader.receive();
        let (appended, mut expired) = (ada.join().unwrap(), expiring.join().unwrap());
        reader.receive();
        expired += world.expire(later);
        assert_eq!((appended, reader.received.len() as u64 + expired), (3, 3));
        texts_once_in_order(&reader.received, ADA);
        world.end();
    });
}

#[test]
fn a_sender_always_learns_that_its_message_is_committed_or_received() {
    fn commit(world: &World) {
        let taken = world.hub.take_uncommitted(Instant::now(), true);
        shuttle::thread::yield_now();
        world.hub.committed(&taken);
    }
    explore(|| {
        let world = World::late(Limits::default());
        let kind = any(1);
        let mut reader = world.open(GRACE, "reader", kind);
        // A plain recipient sends no receipt, so its messages need a commit after the last append.
        let commits_all = kind == Kind::Plain || one_in_two();
        let appended = Arc::new(Bell::default());
        let mut sender = world.open(ADA, "ada", Kind::Reliable(2));
        let has_appended = Arc::clone(&appended);
        let sending = spawn(move || {
            let world = Arc::clone(&sender.world);
            let mut batch = world.hub.batch();
            for (text, seq) in texts("ada", 2).iter().zip(1..) {
                sender.send(&world, &mut batch, world.clients[GRACE], text, Some(seq)).unwrap();
            }
            has_appended.ring();
            drop(batch);
            sender.wait_until_accepted();
        });
        let store = Arc::clone(&world);
        let committing = spawn(move || {
            commit(&store);
            if commits_all {
                block_on(poll_fn(|cx| appended.poll_rung(cx)));
                commit(&store);
            }
        });
        reader.receive_until(2);
        sending.join().unwrap();
        committing.join().unwrap();
        assert_eq!(texts_from(&reader.received, ADA), texts("ada", 2));
        world.end();
    });
}
