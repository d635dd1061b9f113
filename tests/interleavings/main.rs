//! Connections of one client on several threads, in whatever order these go on: the hub itself, with shuttle's locks,
//! atomics and thread-locals in the place of the system's. Of what a connection does that was replaced nothing comes behind
//! what the newer one does, every message arrives once and in order, and in the end nothing is left.
//!
//! `npm run torture:interleavings` tries more of them. `INTERLEAVINGS_SEED` is what the schedules are drawn from.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod channels;
mod connection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::{JoinHandle, spawn};
use shuttle::{Config, Runner};
use websocket_relay::hub::{AppendError, Hub, Totals};
use websocket_relay::{ClientId, CloseReason, Limits};

use connection::{Connection, Heard, Kind};

/// Schedules that are tried of each scenario, half of them with few changes of priority, half of them all at random.
const QUICK: usize = 1000;
/// Changes of priority.
const DEPTH: usize = 4;

fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Says in which schedule it was.
struct Tried(Arc<AtomicUsize>);

impl Drop for Tried {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in schedule {}", self.0.load(Ordering::Relaxed));
        }
    }
}

fn explore(scenario: fn()) {
    let (schedules, seed) = (variable("INTERLEAVINGS", QUICK), variable("INTERLEAVINGS_SEED", 1) as u64);
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    let pct = PctScheduler::new_from_seed(seed, DEPTH, schedules / 2);
    let random = RandomScheduler::new_from_seed(seed, schedules / 2);
    let tried = Tried(Arc::default());
    let count = Arc::clone(&tried.0);
    let run = move || {
        count.fetch_add(1, Ordering::Relaxed);
        scenario();
    };
    Runner::new(pct, config.clone()).run(run.clone());
    Runner::new(random, config).run(run);
    println!("{} schedules", tried.0.load(Ordering::Relaxed));
}

/// What all threads share.
pub struct World {
    hub: Hub,
    clients: [ClientId; 3],
    /// Who is connected, as far as it was told.
    connected: Mutex<BTreeMap<ClientId, bool>>,
}

impl World {
    /// Three clients: [`ADA`] and [`BOB`] have a channel to [`GRACE`], or need none.
    fn new(limits: Limits) -> Arc<Self> {
        Self::with(limits, one_in_two())
    }

    /// With `authorize_all` nobody needs a channel.
    fn with(limits: Limits, authorize_all: bool) -> Arc<Self> {
        let hub = Hub::new(limits, authorize_all).unwrap();
        let clients = [(); 3].map(|()| hub.register(None).unwrap().id);
        if !authorize_all {
            hub.open_channel(clients[ADA], clients[GRACE]).unwrap();
            hub.open_channel(clients[BOB], clients[GRACE]).unwrap();
        }
        Arc::new(Self { hub, clients, connected: Mutex::default() })
    }

    /// A connection of a client that is registered.
    fn open(self: &Arc<Self>, who: usize, name: &'static str, kind: Kind) -> Connection {
        Connection::open(self, self.clients[who], name, kind, one_in_two())
    }

    fn came(&self, client: ClientId, has_replaced: bool) {
        let was_there = self.connected.lock().unwrap().insert(client, true).unwrap_or_default();
        assert_eq!(was_there, has_replaced, "client {client} came");
    }

    fn left(&self, client: ClientId) {
        let was_there = self.connected.lock().unwrap().insert(client, false).unwrap_or_default();
        assert!(was_there, "client {client} left");
    }

    /// Drops the messages that have waited for too long at this time; how many they are.
    fn expire(&self, now: Instant) -> u64 {
        self.hub.expire_messages(now).iter().map(|undelivered| undelivered.messages).sum()
    }

    /// Everybody leaves, and nothing is left of them.
    fn end(&self) {
        for client in self.clients {
            self.hub.unregister(client, CloseReason::Unregistered).ok();
        }
        let Totals { registered, channels, queued_messages, queued_bytes, .. } = self.hub.totals();
        assert_eq!((registered, channels, queued_messages, queued_bytes), (0, 0, 0, 0), "what is left");
    }
}

const ADA: usize = 0;
const GRACE: usize = 1;
const BOB: usize = 2;

fn one_in_two() -> bool {
    thread_rng().gen_bool(0.5)
}

/// A plain client, or the page of this number.
fn any(page: u64) -> Kind {
    if one_in_two() { Kind::Plain } else { Kind::Page(page) }
}

/// Sends `count` messages of this name to [`GRACE`], and returns how many were taken.
fn talk(mut sender: Connection, name: &'static str, count: u64) -> JoinHandle<u64> {
    let is_numbered = one_in_two();
    spawn(move || {
        let (world, mut taken) = (Arc::clone(&sender.world), 0);
        let mut batch = world.hub.batch();
        while taken < count {
            let (text, seq) = (format!("{name} {}", taken + 1), is_numbered.then_some(taken + 1));
            match sender.send(&world, &mut batch, world.clients[GRACE], &text, seq) {
                Ok(()) => taken += 1,
                Err(AppendError::Replaced | AppendError::ChannelNotRegistered) => break,
                Err(other) => panic!("{text}: {other:?}"),
            }
            if one_in_two() {
                batch = world.hub.batch();
            }
        }
        drop(batch);
        taken
    })
}

/// What was heard of what a client has sent.
fn of(heard: &[Heard], who: usize) -> Vec<&str> {
    heard.iter().filter(|heard| heard.sender == who as u64).map(|heard| &*heard.text).collect()
}

/// What was heard of what a client has sent, nothing twice and nothing behind what was sent later.
fn once_and_in_order(heard: &[Heard], who: usize) -> Vec<String> {
    let sorted: BTreeSet<_> = of(heard, who).into_iter().map(str::to_owned).collect();
    let heard: Vec<_> = of(heard, who).into_iter().map(str::to_owned).collect();
    assert_eq!(heard, sorted.into_iter().collect::<Vec<_>>(), "once and in order");
    heard
}

/// The texts that [`talk`] sends.
fn texts(name: &str, count: u64) -> Vec<String> {
    (1..=count).map(|number| format!("{name} {number}")).collect()
}

#[test]
fn what_a_replaced_connection_sends_comes_before_what_the_newer_one_sends() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut reader = world.open(GRACE, "reader", any(1));
        let old = talk(world.open(ADA, "old", any(2)), "old", 3);
        let bystander = talk(world.open(BOB, "bystander", any(3)), "by", 2);
        let newer = Arc::clone(&world);
        let new = spawn(move || talk(newer.open(ADA, "new", any(4)), "new", 2).join().unwrap());
        let reading = spawn(move || {
            reader.serve_until(4);
            reader
        });
        let taken = [old, bystander, new].map(|thread| thread.join().unwrap());
        assert_eq!(taken[1..], [2, 2]);
        let mut reader = reading.join().unwrap();
        reader.serve();
        assert_eq!(of(&reader.heard, ADA), [texts("old", taken[0]), texts("new", 2)].concat());
        assert_eq!(of(&reader.heard, BOB), texts("by", 2));
        world.end();
    });
}

#[test]
fn a_replaced_connection_reads_answers_and_releases_nothing() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut old = world.open(GRACE, "old", Kind::Plain);
        let sending = talk(world.open(ADA, "sender", any(2)), "text", 4);
        let reading = spawn(move || {
            for _ in 0..2 {
                old.deliver();
                old.answer();
            }
            old.close();
            old
        });
        let newer = Arc::clone(&world);
        let new = spawn(move || {
            let mut new = newer.open(GRACE, "new", Kind::Plain);
            new.answer();
            new.deliver();
            new
        });
        let kicks = Arc::clone(&world);
        let kicking = one_in_two().then(|| {
            spawn(move || {
                let (client, reason) = (kicks.clients[GRACE], CloseReason::ByServer(4000, String::new()));
                kicks.hub.disconnect(client, reason, || kicks.left(client)).unwrap();
            })
        });
        let (old, mut new, sent) = (reading.join().unwrap(), new.join().unwrap(), sending.join().unwrap());
        assert_eq!(sent, 4);
        match kicking {
            Some(kicking) => kicking.join().unwrap(),
            None => assert!(world.hub.status(world.clients[GRACE]).unwrap().is_connected),
        }
        new.close();
        let mut last = world.open(GRACE, "last", Kind::Plain);
        last.deliver();
        let heard = [old.heard, new.heard, last.heard].concat();
        assert_eq!(of(&heard, ADA), texts("text", 4));
        world.end();
    });
}

#[test]
fn what_a_replaced_connection_has_not_written_is_counted_before_it_is_taken() {
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
        assert_eq!(of(&[old.heard, new.heard].concat(), ADA), ["text 1", "text 2", "text 3"]);
        world.end();
    });
}

#[test]
fn a_replaced_connection_acknowledges_nothing_for_the_newer_one() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut old = world.open(GRACE, "old", Kind::Page(1));
        let sending = talk(world.open(ADA, "sender", any(2)), "text", 3);
        let reading = spawn(move || {
            for _ in 0..2 {
                old.deliver();
                old.acknowledge();
            }
            old.close();
        });
        let newer = Arc::clone(&world);
        let new = spawn(move || {
            let mut new = newer.open(GRACE, "new", Kind::Page(3));
            new.deliver();
            // The page is loaded anew before it has acknowledged anything.
            (new, newer.open(GRACE, "reloaded", Kind::Page(4)))
        });
        reading.join().unwrap();
        let ((new, mut reloaded), sent) = (new.join().unwrap(), sending.join().unwrap());
        assert_eq!(sent, 3);
        reloaded.serve();
        let (before, after, all) = (of(&new.heard, ADA), of(&reloaded.heard, ADA), texts("text", 3));
        assert_eq!(after, all[all.len() - after.len()..]);
        assert!(after.starts_with(&before), "{before:?} was not acknowledged, and only {after:?} came again");
        world.end();
    });
}

#[test]
fn two_senders_that_are_held_back_get_everything_through() {
    explore(|| {
        let limits = Limits { max_queued_messages: 1, max_in_flight_messages: 1, ..Limits::default() };
        let world = World::new(limits);
        let mut reader = world.open(GRACE, "reader", any(1));
        let [ada, bob] = [(ADA, "ada"), (BOB, "bob")].map(|(who, name)| {
            let mut sender = world.open(who, name, Kind::Plain);
            spawn(move || {
                let world = Arc::clone(&sender.world);
                let mut batch = world.hub.batch();
                for text in texts(name, 3) {
                    sender.send(&world, &mut batch, world.clients[GRACE], &text, None).unwrap();
                }
            })
        });
        reader.serve_until(6);
        ada.join().unwrap();
        bob.join().unwrap();
        assert_eq!(of(&reader.heard, ADA), texts("ada", 3));
        assert_eq!(of(&reader.heard, BOB), texts("bob", 3));
        world.end();
    });
}

#[test]
fn who_is_unregistered_leaves_nothing_behind() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut reader = world.open(GRACE, "reader", any(1));
        let ada = talk(world.open(ADA, "ada", any(2)), "ada", 3);
        let bob = talk(world.open(BOB, "bob", any(3)), "bob", 2);
        let reading = spawn(move || {
            reader.serve();
            reader.serve();
            reader
        });
        let goes = if one_in_two() { ADA } else { GRACE };
        world.hub.unregister(world.clients[goes], CloseReason::Unregistered).unwrap();
        let (ada, bob, mut reader) = (ada.join().unwrap(), bob.join().unwrap(), reading.join().unwrap());
        reader.serve();
        let (of_ada, of_bob) = (of(&reader.heard, ADA), of(&reader.heard, BOB));
        assert!(texts("ada", ada).starts_with(&of_ada.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert!(goes == GRACE || (bob, of_bob.len()) == (2, 2), "{of_bob:?}");
        world.end();
    });
}

#[test]
fn a_channel_that_is_taken_and_given_leaves_nothing_behind() {
    explore(|| {
        let world = World::new(Limits::default());
        let mut reader = world.open(GRACE, "reader", any(1));
        let ada = talk(world.open(ADA, "ada", any(2)), "ada", 3);
        let pair = [world.clients[ADA], world.clients[GRACE]];
        let channels = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            spawn(move || {
                world.hub.close_channel(pair[0], pair[1]).ok();
                world.hub.open_channel(pair[1], pair[0]).ok();
            })
        });
        reader.serve();
        channels.into_iter().for_each(|thread| thread.join().unwrap());
        let taken = ada.join().unwrap();
        reader.serve();
        let heard = once_and_in_order(&reader.heard, ADA);
        assert!(heard.iter().all(|text| texts("ada", taken).contains(text)), "{heard:?} of {taken}");
        world.end();
    });
}

#[test]
fn a_message_is_heard_or_expires() {
    explore(|| {
        let world = World::new(Limits { message_ttl: Duration::from_secs(3600), ..Limits::default() });
        let later = Instant::now() + Duration::from_secs(3 * 3600);
        let mut reader = world.open(GRACE, "reader", any(1));
        let ada = talk(world.open(ADA, "ada", any(2)), "ada", 3);
        let expires = Arc::clone(&world);
        let expiring = spawn(move || expires.expire(later) + expires.expire(later));
        reader.serve();
        let (taken, mut expired) = (ada.join().unwrap(), expiring.join().unwrap());
        reader.serve();
        expired += world.expire(later);
        assert_eq!((taken, reader.heard.len() as u64 + expired), (3, 3));
        once_and_in_order(&reader.heard, ADA);
        world.end();
    });
}
