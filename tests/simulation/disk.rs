//! A store that a simulated server writes to: what is written survives its process, what is synced a loss of power.

use std::collections::BTreeMap;
use std::mem::take;

use websocket_relay::ClientId;
use websocket_relay::error::StoreError;
use websocket_relay::ids::{Epoch, Offset};
use websocket_relay::store::{
    ChannelRecord, ClientRecord, Commit, Durability, Life, MessageRecord, Record, SessionRecord,
};

/// What is kept.
#[derive(Clone, Default)]
struct Contents {
    clients: BTreeMap<ClientId, ClientRecord>,
    channels: BTreeMap<(ClientId, ClientId), ChannelRecord>,
    sessions: BTreeMap<ClientId, Vec<SessionRecord>>,
    messages: BTreeMap<(ClientId, ClientId, Offset), MessageRecord>,
}

pub struct Disk {
    durability: Durability,
    written: Contents,
    /// What was written, as of each commit since the last that was synced, which is the first.
    commits: Vec<Contents>,
    epoch: u32,
    starts: u64,
    /// Whether it is full.
    pub is_full: bool,
}

fn ends(first: ClientId, second: ClientId) -> (ClientId, ClientId) {
    (first.min(second), first.max(second))
}

impl Contents {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Client(client) => {
                self.clients.insert(client.id, client.clone());
            }
            Record::ClientRemoved(id) => {
                self.clients.remove(id);
                self.channels.retain(|(first, second), _| first != id && second != id);
                self.sessions.remove(id);
                self.messages.retain(|(recipient, _, _), _| recipient != id);
            }
            Record::Channel(channel) => {
                self.channels.insert(ends(channel.first, channel.second), *channel);
            }
            Record::ChannelRemoved(first, second) => {
                self.channels.remove(&ends(*first, *second));
            }
            Record::Session(session) => {
                let sessions = self.sessions.entry(session.client).or_default();
                sessions.retain(|known| known.session != session.session);
                sessions.push(*session);
            }
            Record::Message(message) => {
                self.messages.insert((message.recipient, message.sender, message.offset), message.clone());
            }
            Record::MessagesRemoved { recipient, sender, from, upto } => {
                self.messages.retain(|(to, of, offset), _| {
                    !(to == recipient && of == sender && (*from..=*upto).contains(offset))
                });
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let clients = self.clients.values().cloned().map(Record::Client);
        let channels = self.channels.values().copied().map(Record::Channel);
        let sessions = self.sessions.values().flatten().copied().map(Record::Session);
        let messages = self.messages.values().cloned().map(Record::Message);
        clients.chain(channels).chain(sessions).chain(messages).collect()
    }
}

impl Disk {
    pub fn new(durability: Durability) -> Self {
        let (written, commits) = (Contents::default(), vec![Contents::default()]);
        Self { durability, written, commits, epoch: 1, starts: 0, is_full: false }
    }

    /// Loses power. `keep` chooses one of so many states that the disk may be in. Returns whether it has lost a commit.
    pub fn lose_power(&mut self, keep: impl FnOnce(usize) -> usize) -> bool {
        let commits = take(&mut self.commits);
        let kept = keep(commits.len());
        let has_lost = kept + 1 < commits.len();
        // Whether something was lost is not known, only that it may be.
        let may_have_lost = self.durability == Durability::Written;
        self.epoch += u32::from(may_have_lost);
        self.written = commits.into_iter().nth(kept).unwrap_or_default();
        self.sync();
        debug_assert!(may_have_lost || !has_lost);
        may_have_lost
    }

    /// Everything that was written is on the disk.
    pub fn sync(&mut self) {
        self.commits = vec![self.written.clone()];
    }

    /// Begins another life: passes what is kept to `load`.
    pub fn open(
        &mut self,
        load: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<Life, StoreError> {
        self.starts += 1;
        self.sync();
        self.written.records().into_iter().try_for_each(load)?;
        let next_id = self.written.clients.keys().last().map_or(0, |last| last.get() + 1);
        Ok(Life { epoch: Epoch::from_u32(self.epoch), starts: self.starts, next_id, unregistered: 0 })
    }

    /// Returns the messages that are kept.
    pub fn messages(&self) -> impl Iterator<Item = &MessageRecord> {
        self.written.messages.values()
    }
}

impl Commit for Disk {
    fn write<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) -> Result<(), StoreError> {
        if self.is_full && !records.clone().all(Record::frees_room) {
            return Err(StoreError::Full { path: "simulated".to_owned() });
        }
        records.for_each(|record| self.written.apply(record));
        if self.durability == Durability::Synced {
            self.sync();
        } else {
            self.commits.push(self.written.clone());
        }
        Ok(())
    }
}
