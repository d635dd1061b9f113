//! What the outside is told, through a bounded queue that counts what it had to drop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::error::{CloseReason, Offence};
use crate::ids::ClientId;

/// Something that happened in the relay.
#[derive(Debug)]
pub enum Event {
    /// The port is open, at this address.
    Listening(SocketAddr),
    /// The port could not be opened; `Closed` follows.
    ListenFailed(io::Error),
    /// A client authenticated.
    Connected(ClientId),
    /// A client that had authenticated is gone, or was replaced.
    Disconnected(ClientId, CloseReason),
    /// A client's registration has ended by itself.
    Expired {
        /// Whose.
        client: ClientId,
        /// Messages for it that it had not received.
        undelivered: usize,
    },
    /// Messages were not received in time and are dropped.
    MessagesExpired {
        /// Who sent them.
        sender: ClientId,
        /// For whom they were.
        recipient: ClientId,
        /// How many.
        messages: u64,
    },
    /// A client did something wrong.
    Offence {
        /// Who, if it had authenticated.
        client: Option<ClientId>,
        /// What.
        offence: Offence,
    },
    /// A bug of ours. It cost one connection, or events, at most.
    Panicked,
    /// So many events did not fit into the queue and are lost.
    Dropped(u64),
    /// No connection that was adopted from another server is left.
    AdoptedConnectionsEnded,
    /// Every connection has ended and the port is free. The last event.
    Closed,
}

/// A kind of events that are only worth telling to somebody who listens for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// [`Event::Connected`].
    Connected,
    /// [`Event::Disconnected`].
    Disconnected,
    /// [`Event::Offence`].
    Offences,
    /// [`Event::Expired`].
    Expired,
    /// [`Event::MessagesExpired`].
    MessagesExpired,
}

impl Topic {
    /// The topic of an event; `None` for an event that is always told.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Connected(_) => Some(Self::Connected),
            Event::Disconnected(..) => Some(Self::Disconnected),
            Event::Offence { .. } => Some(Self::Offences),
            Event::Expired { .. } => Some(Self::Expired),
            Event::MessagesExpired { .. } => Some(Self::MessagesExpired),
            _ => None,
        }
    }

    /// Whether strangers or old messages can cause any number of these events.
    fn can_flood(self) -> bool {
        matches!(self, Self::Offences | Self::MessagesExpired)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The topics that are wanted now; at first all are. Whoever hands events on asks it when they are delivered: a listener
/// that was added after an event happened, and before it is delivered, is to hear it.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// A bit for each topic.
    unwanted: Arc<AtomicU8>,
}

impl Interest {
    /// Whether events of `topic` are wanted from now on.
    pub fn set(&self, topic: Topic, wanted: bool) {
        match wanted {
            true => self.unwanted.fetch_and(!topic.bit(), Ordering::Relaxed),
            false => self.unwanted.fetch_or(topic.bit(), Ordering::Relaxed),
        };
    }

    /// Whether an event of this topic, or of none, is wanted.
    pub fn includes(&self, topic: Option<Topic>) -> bool {
        topic.is_none_or(|topic| self.unwanted.load(Ordering::Relaxed) & topic.bit() == 0)
    }
}

/// A queue of at most `capacity` events, and a quarter as many that nobody wanted when they happened.
pub fn channel(capacity: usize) -> (EventSink, EventReceiver) {
    let spare = capacity / 4;
    let (sender, receiver) = mpsc::channel(capacity + spare);
    let shared = Arc::new(Counts::default());
    let interest = Interest::default();
    let sink = EventSink { sender, counts: Arc::clone(&shared), interest, capacity, spare };
    (sink, EventReceiver { receiver, queued: Vec::new(), counts: shared })
}

#[derive(Debug, Default)]
struct Counts {
    /// Events that were dropped and not told of.
    dropped: AtomicU64,
    /// All events that were dropped.
    dropped_ever: AtomicU64,
    /// Queued events that nobody wanted when they happened.
    unwanted: AtomicUsize,
}

#[derive(Debug)]
struct Queued {
    event: Event,
    was_wanted: bool,
}

/// Where events go in.
#[derive(Clone, Debug)]
pub struct EventSink {
    sender: mpsc::Sender<Queued>,
    counts: Arc<Counts>,
    interest: Interest,
    /// The bound of events that are wanted.
    capacity: usize,
    /// The bound of events that are not.
    spare: usize,
}

impl EventSink {
    /// The topics that are wanted.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Queues an event, or counts it as dropped when the queue is full. An event that nobody wants is queued as well, for
    /// a listener that is added before it is delivered; it takes no room from events that are wanted, and is not missed.
    pub fn emit(&self, event: Event) {
        let topic = Topic::of(&event);
        match self.interest.includes(topic) {
            true => self.emit_wanted(event, topic),
            false => self.emit_unwanted(event, topic),
        }
    }

    fn emit_wanted(&self, event: Event, topic: Option<Topic>) {
        let used = self.sender.max_capacity() - self.sender.capacity();
        let wanted = used.saturating_sub(self.counts.unwanted.load(Ordering::Relaxed));
        // A flood of offences, or of old messages, must not crowd out who came and went.
        let bound = if topic.is_some_and(Topic::can_flood) { self.capacity / 2 + 1 } else { self.capacity };
        if wanted >= bound || self.sender.try_send(Queued { event, was_wanted: true }).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            self.counts.dropped_ever.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn emit_unwanted(&self, event: Event, topic: Option<Topic>) {
        let bound = if topic.is_some_and(Topic::can_flood) { self.spare / 2 } else { self.spare };
        let fits = self.counts.unwanted.fetch_add(1, Ordering::Relaxed) < bound;
        if !fits || self.sender.try_send(Queued { event, was_wanted: false }).is_err() {
            self.counts.unwanted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many events were ever dropped.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped_ever.load(Ordering::Relaxed)
    }

    /// Queues an event that may not be dropped, when there is room. If nobody wants it, it is emitted like others.
    pub async fn emit_or_wait(&self, event: Event) {
        if !self.interest.includes(Topic::of(&event)) {
            return self.emit(event);
        }
        // An error means that nobody listens any more.
        self.sender.send(Queued { event, was_wanted: true }).await.ok();
    }
}

/// Where events come out.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: mpsc::Receiver<Queued>,
    queued: Vec<Queued>,
    counts: Arc<Counts>,
}

impl EventReceiver {
    /// Waits for events and appends up to `limit` of them to `batch`, wanted or not, with an [`Event::Dropped`] behind
    /// them when some were lost. False when no more will come.
    pub async fn recv_many(&mut self, batch: &mut Vec<Event>, limit: usize) -> bool {
        let received = self.receiver.recv_many(&mut self.queued, limit).await;
        let unwanted = self.queued.iter().filter(|queued| !queued.was_wanted).count();
        self.counts.unwanted.fetch_sub(unwanted, Ordering::Relaxed);
        batch.extend(self.queued.drain(..).map(|queued| queued.event));
        let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            // Before the last event, which ends the reading.
            let place = batch.len() - usize::from(matches!(batch.last(), Some(Event::Closed)));
            batch.insert(place, Event::Dropped(dropped));
        }
        received > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_counts_what_it_drops_and_keeps_half_for_comings_and_goings() {
        let (sink, mut receiver) = channel(16);
        let client = ClientId::new(1);
        for _ in 0..100 {
            sink.emit(Event::Offence { client, offence: Offence::InvalidJson });
        }
        for _ in 0..7 {
            sink.emit(Event::Connected(client.expect("an id")));
        }
        let mut batch = Vec::new();
        assert!(receiver.recv_many(&mut batch, 100).await);
        assert_eq!(batch.iter().filter(|event| matches!(event, Event::Connected(_))).count(), 7);
        assert!(matches!(batch.last(), Some(Event::Dropped(91))), "{batch:?}");
    }

    #[tokio::test]
    async fn unwanted_events_are_queued_and_take_no_room_from_wanted_ones() {
        let (sink, mut receiver) = channel(16);
        let client = ClientId::new(1).expect("an id");
        sink.interest().set(Topic::Offences, false);
        sink.interest().set(Topic::Disconnected, false);
        for _ in 0..100 {
            sink.emit(Event::Offence { client: None, offence: Offence::InvalidJson });
        }
        sink.emit(Event::Disconnected(client, CloseReason::Lost));
        sink.emit_or_wait(Event::Disconnected(client, CloseReason::Lost)).await;
        // No room, and nobody waits for it.
        sink.emit_or_wait(Event::Disconnected(client, CloseReason::Lost)).await;
        for _ in 0..17 {
            sink.emit(Event::Connected(client));
        }
        let mut batch = Vec::new();
        assert!(receiver.recv_many(&mut batch, 100).await);
        let count = |topic| batch.iter().filter(|event| Topic::of(event) == Some(topic)).count();
        assert_eq!([Topic::Offences, Topic::Disconnected, Topic::Connected].map(count), [2, 2, 16]);
        assert!(matches!(batch.last(), Some(Event::Dropped(1))), "{batch:?}");
        // The room is free again.
        sink.emit(Event::Disconnected(client, CloseReason::Lost));
        batch.clear();
        assert!(receiver.recv_many(&mut batch, 100).await);
        assert_eq!(batch.len(), 1);
        drop(sink);
        assert!(!receiver.recv_many(&mut batch, 100).await);
    }
}
