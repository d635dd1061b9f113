//! Events for the application, in a bounded queue that counts the events it had to drop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::error::{CloseReason, Offence, StoreError};
use crate::ids::ClientId;

/// Something that happened in the relay.
#[derive(Debug)]
pub enum Event {
    /// The relay is listening at this address.
    Listening(SocketAddr),
    /// The port could not be opened; `Closed` follows.
    ListenFailed(io::Error),
    /// A client authenticated.
    Connected(ClientId),
    /// An authenticated client's connection ended, or was replaced by a newer one.
    Disconnected(ClientId, CloseReason),
    /// A client's registration has expired.
    Expired {
        /// The client.
        client: ClientId,
        /// The number of messages that the client had not received.
        undelivered: usize,
    },
    /// Messages were not received in time and have been dropped.
    MessagesExpired {
        /// Their sender.
        sender: ClientId,
        /// Their recipient.
        recipient: ClientId,
        /// The number of messages.
        messages: u64,
    },
    /// A client committed an offence.
    Offence {
        /// The client, if it had authenticated.
        client: Option<ClientId>,
        /// The offence.
        offence: Offence,
    },
    /// The store on disk cannot keep what it should. After [`StoreError::Full`] it tries again; after any other error it has
    /// been closed, and `Closed` follows.
    StoreFailed(StoreError),
    /// The relay panicked, which is a bug. At most one connection, or some events, were lost.
    Panicked,
    /// This many events did not fit into the queue and were dropped.
    Dropped(u64),
    /// The last connection that was adopted from another server has ended.
    AdoptedConnectionsEnded,
    /// Every connection has ended and the port is free. The last event.
    Closed,
}

/// A kind of event that is delivered only if the application listens for it.
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
    /// Returns the topic of an event, or `None` for an event that is always delivered.
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

    /// Returns whether unauthenticated clients or old messages can cause any number of these events.
    fn can_flood(self) -> bool {
        matches!(self, Self::Offences | Self::MessagesExpired)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The topics that the application listens for; at first all of them. Checked when an event is delivered, not only when
/// it is queued: a listener that is added in between gets the event.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// A bit per topic.
    unwanted: Arc<AtomicU8>,
}

impl Interest {
    /// Sets whether events of `topic` are wanted.
    pub fn set(&self, topic: Topic, wanted: bool) {
        match wanted {
            true => self.unwanted.fetch_and(!topic.bit(), Ordering::Relaxed),
            false => self.unwanted.fetch_or(topic.bit(), Ordering::Relaxed),
        };
    }

    /// Returns whether events of `topic` are wanted. Events without a topic always are.
    pub fn includes(&self, topic: Option<Topic>) -> bool {
        topic.is_none_or(|topic| self.unwanted.load(Ordering::Relaxed) & topic.bit() == 0)
    }
}

/// Returns the two ends of a queue for `capacity` wanted events and a quarter as many unwanted ones.
pub fn channel(capacity: usize) -> (EventSink, EventReceiver) {
    let unwanted_capacity = capacity / 4;
    let (sender, receiver) = mpsc::channel(capacity + unwanted_capacity);
    let counts = Arc::new(Counts::default());
    let interest = Interest::default();
    let sink = EventSink { sender, counts: Arc::clone(&counts), interest, capacity, unwanted_capacity };
    (sink, EventReceiver { receiver, queued: Vec::new(), counts })
}

#[derive(Debug, Default)]
struct Counts {
    /// Events dropped since the last [`Event::Dropped`].
    dropped: AtomicU64,
    /// All events that were ever dropped.
    dropped_ever: AtomicU64,
    /// Queued events that were not wanted when they happened.
    unwanted: AtomicUsize,
}

#[derive(Debug)]
struct Queued {
    event: Event,
    was_wanted: bool,
}

/// The sending end of the event queue.
#[derive(Clone, Debug)]
pub struct EventSink {
    sender: mpsc::Sender<Queued>,
    counts: Arc<Counts>,
    interest: Interest,
    /// The bound of wanted events.
    capacity: usize,
    /// The bound of unwanted events.
    unwanted_capacity: usize,
}

impl EventSink {
    /// Returns the topics that are wanted.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Queues an event, or counts it as dropped when the queue is full. An unwanted event is queued too, for a listener
    /// that is added before it is delivered; it takes no room from wanted events, and is not counted when dropped.
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
        // A flood of offences, or of expired messages, must not crowd out connects and disconnects.
        let bound = if topic.is_some_and(Topic::can_flood) { self.capacity / 2 + 1 } else { self.capacity };
        if wanted >= bound || self.sender.try_send(Queued { event, was_wanted: true }).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            self.counts.dropped_ever.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn emit_unwanted(&self, event: Event, topic: Option<Topic>) {
        let capacity = self.unwanted_capacity;
        let bound = if topic.is_some_and(Topic::can_flood) { capacity / 2 } else { capacity };
        let fits = self.counts.unwanted.fetch_add(1, Ordering::Relaxed) < bound;
        if !fits || self.sender.try_send(Queued { event, was_wanted: false }).is_err() {
            self.counts.unwanted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns how many events were ever dropped.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped_ever.load(Ordering::Relaxed)
    }

    /// Queues an event that must not be dropped, and waits for room if there is none. An unwanted event is queued like any
    /// other.
    pub async fn emit_or_wait(&self, event: Event) {
        if !self.interest.includes(Topic::of(&event)) {
            return self.emit(event);
        }
        // An error means that the receiver is gone.
        self.sender.send(Queued { event, was_wanted: true }).await.ok();
    }
}

/// The receiving end of the event queue.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: mpsc::Receiver<Queued>,
    queued: Vec<Queued>,
    counts: Arc<Counts>,
}

impl EventReceiver {
    /// Waits for events and appends up to `limit` of them to `batch`, wanted or not, and after them an
    /// [`Event::Dropped`] if some were dropped. Returns false when no more will come.
    pub async fn recv_many(&mut self, batch: &mut Vec<Event>, limit: usize) -> bool {
        let received = self.receiver.recv_many(&mut self.queued, limit).await;
        let unwanted = self.queued.iter().filter(|queued| !queued.was_wanted).count();
        self.counts.unwanted.fetch_sub(unwanted, Ordering::Relaxed);
        batch.extend(self.queued.drain(..).map(|queued| queued.event));
        let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            // Before `Closed`, after which nothing is read.
            let position = batch.len() - usize::from(matches!(batch.last(), Some(Event::Closed)));
            batch.insert(position, Event::Dropped(dropped));
        }
        received > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_dropped_events_and_keeps_half_the_queue_for_connections() {
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
    async fn queues_unwanted_events_beside_wanted_ones() {
        let (sink, mut receiver) = channel(16);
        let client = ClientId::new(1).expect("an id");
        sink.interest().set(Topic::Offences, false);
        sink.interest().set(Topic::Disconnected, false);
        for _ in 0..100 {
            sink.emit(Event::Offence { client: None, offence: Offence::InvalidJson });
        }
        sink.emit(Event::Disconnected(client, CloseReason::Lost));
        sink.emit_or_wait(Event::Disconnected(client, CloseReason::Lost)).await;
        // There is no room, and an unwanted event does not wait for it.
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
