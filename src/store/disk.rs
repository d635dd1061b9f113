//! A store on disk. What is read is in memory; what is changed goes to the store's thread.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{ClientRecord, Clock, Memory, NewClient, Queue, Record, Registration, Unregistered};
use crate::error::Error;
use crate::ids::{ClientId, Epoch, Offset, Token};
use crate::model::Lifetime;

/// Clients in memory and on disk.
#[derive(Debug)]
pub struct Disk<T> {
    pub(super) memory: Memory<T>,
    pub(super) queue: Queue,
    pub(super) epoch: Epoch,
    /// Above the offsets that were given in earlier lives of the store.
    pub(super) era: Offset,
    /// The application's data about the clients that were loaded.
    data: Mutex<Vec<(ClientId, Box<str>)>>,
}

impl<T: Clone> Disk<T> {
    pub(super) fn new(path: &Path, epoch: Epoch, era: Offset) -> Result<Self, Error> {
        let (queue, data) = (Queue::new(path), Mutex::default());
        Ok(Self { memory: Memory::new()?, queue, epoch, era, data })
    }

    /// The record of a client as it is registered now.
    fn record(&self, id: ClientId, data: Option<Box<str>>) -> Option<Record> {
        let (token, lifetime) = self.memory.kept(id)?;
        let lifetime = lifetime.map(|Lifetime { length, end }| (length, Clock::now().to_unix(end)));
        Some(Record::Client(ClientRecord { id, token, lifetime, data }))
    }

    /// Writes clients that were just registered, and undoes it if they cannot be kept.
    fn keep(&self, registered: &[Registration], mut data: Option<Box<str>>) -> Result<(), Error> {
        let records = registered.iter().filter_map(|new| self.record(new.id, data.take()));
        let ticket = self.queue.push(records.collect(), true);
        self.queue.wait(ticket).map_err(|error| {
            self.memory.discard(registered);
            error.into()
        })
    }

    pub(super) fn register(&self, value: T, mut new: NewClient) -> Result<Registration, Error> {
        let data = new.data.take();
        let registration = self.memory.register(value, new)?;
        self.keep(std::slice::from_ref(&registration), data)?;
        Ok(registration)
    }

    pub(super) fn register_many(
        &self,
        values: Vec<T>,
        lifetime: Option<Duration>,
    ) -> Result<Vec<Registration>, Error> {
        let registered = self.memory.register_many(values, lifetime)?;
        self.keep(&registered, None)?;
        Ok(registered)
    }

    pub(super) fn refresh(
        &self,
        id: ClientId,
        token: Option<Token>,
        lifetime: Option<Duration>,
    ) -> Result<Token, Error> {
        let before = self.memory.kept(id);
        let token = self.memory.refresh(id, token, lifetime)?;
        let ticket = self.queue.push(self.record(id, None).into_iter().collect(), true);
        self.queue.wait(ticket).inspect_err(|_| self.memory.undo_refresh(id, before))?;
        Ok(token)
    }

    /// Removes a client. [`Queue::flush`] waits until that is committed.
    pub(super) fn unregister(&self, id: ClientId) -> Result<Unregistered<T>, Error> {
        let removed = self.memory.unregister(id)?;
        self.queue.push(vec![Record::ClientRemoved(id)], false);
        Ok(removed)
    }

    pub(super) fn take_expired(&self, now: Instant) -> Option<Unregistered<T>> {
        let removed = self.memory.take_expired(now)?;
        self.queue.push(vec![Record::ClientRemoved(removed.id)], false);
        Some(removed)
    }

    /// Adds a client that was read from the file.
    pub(super) fn restore(&self, client: ClientRecord, value: T) {
        let ClientRecord { id, token, lifetime, data } = client;
        let lifetime = lifetime.map(|(length, end)| Lifetime { length, end: Clock::now().from_unix(end) });
        self.memory.change(|registry| registry.restore(id, token, value, lifetime));
        self.data.lock().unwrap_or_else(PoisonError::into_inner).extend(data.map(|data| (id, data)));
    }

    pub(super) fn take_data(&self) -> Vec<(ClientId, Box<str>)> {
        std::mem::take(&mut *self.data.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
