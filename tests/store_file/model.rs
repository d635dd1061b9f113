//! Random records, against a model in memory, opened again after each batch.

use std::collections::BTreeMap;

use proptest::prelude::*;
use websocket_relay::ClientId;
use websocket_relay::ids::{Offset, SessionId};
use websocket_relay::store::{ChannelRecord, ClientRecord, MessageRecord, Record, SessionRecord};

use crate::support::{Directory, channel, client_with, id, message, open, removed, session};

/// What a store holds.
#[derive(Debug, Default)]
struct Model {
    clients: BTreeMap<ClientId, ClientRecord>,
    channels: BTreeMap<(ClientId, ClientId), ChannelRecord>,
    sessions: BTreeMap<ClientId, Vec<SessionRecord>>,
    messages: BTreeMap<(ClientId, ClientId, Offset), MessageRecord>,
    next_id: u64,
    unregistered: usize,
}

fn ends(first: ClientId, second: ClientId) -> (ClientId, ClientId) {
    (first.min(second), first.max(second))
}

impl Model {
    fn write(&mut self, record: &Record) {
        match record {
            Record::Client(client) => {
                let before = self.clients.get(&client.id).and_then(|before| before.data.clone());
                let data = client.data.clone().or(before);
                self.clients.insert(client.id, ClientRecord { data, ..client.clone() });
                self.next_id = self.next_id.max(client.id.get() + 1);
            }
            Record::ClientRemoved(id) => {
                self.unregistered += usize::from(self.clients.remove(id).is_some());
                self.channels.retain(|(first, second), _| first != id && second != id);
                self.sessions.remove(id);
                self.messages.retain(|(recipient, ..), _| recipient != id);
            }
            // What is said of a client that was just removed comes too late.
            Record::Channel(channel)
                if !(self.clients.contains_key(&channel.first)
                    && self.clients.contains_key(&channel.second)) => {}
            Record::Session(session) if !self.clients.contains_key(&session.client) => {}
            Record::Channel(channel) => {
                let (first, second) = ends(channel.first, channel.second);
                self.channels.insert((first, second), ChannelRecord { first, second, ..*channel });
            }
            Record::ChannelRemoved(first, second) => drop(self.channels.remove(&ends(*first, *second))),
            Record::Session(session) => {
                let sessions = self.sessions.entry(session.client).or_default();
                sessions.retain(|other| other.session.is_some() && other.session != session.session);
                sessions.push(*session);
                let excess = sessions.len().saturating_sub(9);
                sessions.drain(..excess);
            }
            Record::Message(message) => {
                let key = (message.recipient, message.sender, message.offset);
                self.messages.entry(key).or_insert_with(|| message.clone());
            }
            Record::MessagesRemoved { recipient, sender, from, upto } => {
                let is_removed = |offset: &Offset| (from..=upto).contains(&offset);
                self.messages
                    .retain(|(to, by, offset), _| (to, by) != (recipient, sender) || !is_removed(offset));
            }
        }
    }

    /// Returns what is read back, the messages in the order of their keys.
    fn records(&self) -> Vec<Record> {
        let clients = self.clients.values().cloned().map(Record::Client);
        let channels = self.channels.values().copied().map(Record::Channel);
        let sessions = self.sessions.values().flatten().copied().map(Record::Session);
        let messages = self.messages.values().cloned().map(Record::Message);
        clients.chain(channels).chain(sessions).chain(messages).collect()
    }
}

/// Sorts messages by lane only: that a lane's are in order is promised.
fn sort_lanes(records: &mut [Record]) {
    records.sort_by_key(|record| match record {
        Record::Message(message) => Some((message.recipient, message.sender)),
        _ => None,
    });
}

fn record() -> impl Strategy<Value = Record> {
    let client = 0..4_u64;
    let lifetime = proptest::option::of((0..1_000_000_u64, 0..1_u64 << 50));
    let data = proptest::option::of(Just(r#"{"a":"ä"}"#));
    prop_oneof![
        3 => (client.clone(), any::<u16>(), lifetime, data)
            .prop_map(|(id, token, lifetime, data)| client_with(id, &token.to_string(), lifetime, data)),
        1 => client.clone().prop_map(|number| Record::ClientRemoved(id(number))),
        3 => (client.clone(), client.clone(), proptest::option::of(client.clone()))
            .prop_map(|(first, second, opened_by)| channel(first, second, opened_by)),
        1 => (client.clone(), client.clone()).prop_map(|(first, second)| Record::ChannelRemoved(id(first), id(second))),
        4 => (client.clone(), proptest::option::of(0..20_u64), 0..100_u64)
            .prop_map(|(client, number, connection)| session(client, number.map(|n| n << 60 | n), connection)),
        8 => (client.clone(), client.clone(), 0..40_u64, 0..3000_usize, proptest::option::of(0..1_u64 << 50))
            .prop_map(|(recipient, sender, offset, size, ends_at)| {
                let Record::Message(message) = message(recipient, sender, offset, &"é".repeat(size)) else { unreachable!() };
                let session = SessionId::from_u64(u64::MAX - offset);
                Record::Message(MessageRecord { ends_at, session, ..message })
            }),
        2 => (client.clone(), client, 0..40_u64, 0..40_u64)
            .prop_map(|(recipient, sender, from, length)| removed(recipient, sender, from, from + length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_records(
        batches in proptest::collection::vec((proptest::collection::vec(record(), 0..12), any::<bool>()), 1..12),
    ) {
        let (directory, mut model) = (Directory::new(), Model::default());
        for (batch, is_closed) in batches {
            let mut opened = open(&directory.store()).unwrap();
            opened.database.write(&batch).unwrap();
            batch.iter().for_each(|record| model.write(record));
            if is_closed {
                opened.database.close().unwrap();
            } else {
                drop(opened.database);
            }
            let mut again = open(&directory.store()).unwrap();
            sort_lanes(&mut again.records);
            prop_assert_eq!(again.records, model.records());
            prop_assert_eq!((again.life.next_id, again.life.unregistered), (model.next_id, model.unregistered));
            prop_assert_eq!(again.life.epoch, opened.life.epoch);
        }
    }
}
