//! What the outside is told, through a bounded queue that counts what it had to drop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

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
    /// Every connection has ended and the port is free. The last event.
    Closed,
}

/// Events that can be so many that they are worth telling only to who wants them.
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
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Connected(_) => Some(Self::Connected),
            Event::Disconnected(..) => Some(Self::Disconnected),
            Event::Offence { .. } => Some(Self::Offences),
            Event::Expired { .. } => Some(Self::Expired),
            Event::MessagesExpired { .. } => Some(Self::MessagesExpired),
            _ => None,
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A queue of at most `capacity` events.
pub fn channel(capacity: usize) -> (EventSink, EventReceiver) {
    let (sender, receiver) = mpsc::channel(capacity);
    let (dropped, unwanted) = (Arc::new(AtomicU64::new(0)), Arc::default());
    let sink = EventSink { sender, dropped: Arc::clone(&dropped), dropped_ever: Arc::default(), unwanted };
    (sink, EventReceiver { receiver, dropped })
}

/// Where events go in.
#[derive(Clone, Debug)]
pub struct EventSink {
    sender: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
    /// Those included that were told of as dropped.
    dropped_ever: Arc<AtomicU64>,
    /// A bit for each topic.
    unwanted: Arc<AtomicU8>,
}

impl EventSink {
    /// From now on events of `topic` are queued, or not. At first all are.
    pub fn want(&self, topic: Topic, wanted: bool) {
        match wanted {
            true => self.unwanted.fetch_and(!topic.bit(), Ordering::Relaxed),
            false => self.unwanted.fetch_or(topic.bit(), Ordering::Relaxed),
        };
    }

    /// Queues an event that is wanted, or counts it as dropped when the queue is full.
    pub fn emit(&self, event: Event) {
        if !self.is_wanted(&event) {
            return;
        }
        // A flood of offences, or of old messages, must not crowd out who came and went.
        let crowded = self.sender.capacity() < self.sender.max_capacity() / 2;
        let spared = crowded && matches!(event, Event::Offence { .. } | Event::MessagesExpired { .. });
        if spared || self.sender.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.dropped_ever.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_wanted(&self, event: &Event) -> bool {
        Topic::of(event).is_none_or(|topic| self.unwanted.load(Ordering::Relaxed) & topic.bit() == 0)
    }

    /// How many events were ever dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped_ever.load(Ordering::Relaxed)
    }

    /// Queues an event that is wanted and may not be dropped, when there is room.
    pub async fn emit_surely(&self, event: Event) {
        if !self.is_wanted(&event) {
            return;
        }
        // An error means that nobody listens any more.
        self.sender.send(event).await.ok();
    }
}

/// Where events come out.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl EventReceiver {
    /// Waits for events and appends up to `limit` of them to `batch`, with an [`Event::Dropped`] behind them when
    /// some were lost. False when no more will come.
    pub async fn recv_many(&mut self, batch: &mut Vec<Event>, limit: usize) -> bool {
        let received = self.receiver.recv_many(batch, limit).await;
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
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
        sink.want(Topic::Connected, false);
        sink.emit(Event::Connected(client.expect("an id")));
        batch.clear();
        drop(sink);
        assert!(!receiver.recv_many(&mut batch, 100).await);
    }
}
