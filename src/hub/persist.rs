//! The store's thread: it commits what the queue and the mailboxes hold.

use std::mem::take;
use std::time::Instant;

use super::Hub;
use crate::error::StoreError;
use crate::limits::Limits;
use crate::store::{Commit, Group, Queue, Record, StoreStats, Work};
use crate::sync::Ordering;

/// What was taken for the store and is not committed.
#[derive(Debug, Default)]
pub struct Pending {
    groups: Vec<Group>,
    removed: Vec<Record>,
    messages: Vec<Record>,
}

impl Pending {
    /// Adds what was taken from the queue.
    pub fn add(&mut self, Work { groups, removed, .. }: Work) {
        self.groups.extend(groups);
        self.removed.extend(removed);
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.removed.is_empty() && self.messages.is_empty()
    }

    /// All records in their order: a message that is removed was taken before.
    pub fn records(&self) -> impl Iterator<Item = &Record> + Clone {
        self.groups.iter().flat_map(|group| &group.records).chain(&self.removed).chain(&self.messages)
    }

    /// Gives up what cannot wait until the disk has room: registrations, which fail, and what is only good to have.
    fn give_up(&mut self, queue: &Queue) {
        let (kept, given_up): (Vec<_>, Vec<_>) = take(&mut self.groups)
            .into_iter()
            .partition(|group| group.records.iter().all(Record::frees_room));
        self.groups = kept;
        let (refused, dropped): (Vec<_>, Vec<_>) =
            given_up.into_iter().partition(|group| group.may_be_refused);
        queue.done(&refused, true);
        queue.done(&dropped, false);
    }

    /// Commits what frees room, without the rest.
    fn free_room(&mut self, queue: &Queue, database: &mut impl Commit) -> Result<(), StoreError> {
        database.write(self.groups.iter().flat_map(|group| &group.records).chain(&self.removed))?;
        queue.done(&take(&mut self.groups), false);
        self.removed.clear();
        Ok(())
    }
}

impl Hub {
    /// Commits what waits, again and again, until the store's queue is closed and nothing waits any more. Calls `report` when
    /// the disk becomes full.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the disk is full at the end, and any other at once: nothing will be committed any more.
    pub fn run_store(
        &self,
        database: &mut impl Commit,
        mut report: impl FnMut(StoreError),
    ) -> Result<(), StoreError> {
        let Some(queue) = self.store.queue() else { return Ok(()) };
        let mut pending = Pending::default();
        let mut retry = None;
        loop {
            let work = queue.next(retry);
            let is_last = work.is_last;
            pending.add(work);
            match self.commit_all(database, &mut pending, is_last) {
                Ok(()) => {
                    self.is_store_full.store(false, Ordering::Relaxed);
                    retry = None;
                    if is_last && pending.is_empty() {
                        return Ok(());
                    }
                }
                Err(error @ StoreError::Full { .. }) if !is_last => {
                    if !self.is_store_full.swap(true, Ordering::Relaxed) {
                        report(error);
                    }
                    pending.give_up(queue);
                    match pending.free_room(queue, database) {
                        Ok(()) | Err(StoreError::Full { .. }) => {}
                        Err(error) => return Err(fail(queue, error)),
                    }
                    retry = Some(Instant::now() + Limits::STORE_RETRY);
                }
                Err(error) => return Err(fail(queue, error)),
            }
        }
    }

    /// Commits what is pending, and messages until no more are due.
    fn commit_all(
        &self,
        database: &mut impl Commit,
        pending: &mut Pending,
        is_all: bool,
    ) -> Result<(), StoreError> {
        loop {
            self.fill(pending, Instant::now(), is_all);
            if pending.is_empty() {
                return Ok(());
            }
            let start = Instant::now();
            database.write(pending.records())?;
            let micros = start.elapsed().as_micros() as u64;
            self.last_commit_micros.store(micros, Ordering::Relaxed);
            self.finish_commit(take(pending));
        }
    }

    /// Adds the messages that are due by `now`, or with `is_all` every one that is not committed; none if there are some
    /// already.
    pub fn fill(&self, pending: &mut Pending, now: Instant, is_all: bool) {
        if pending.messages.is_empty() {
            let messages = self.take_uncommitted(now, is_all);
            pending.messages = messages.into_iter().map(Record::Message).collect();
        }
    }

    /// Tells everyone who waits for it that all of this is committed.
    pub fn finish_commit(&self, Pending { groups, messages, .. }: Pending) {
        if let Some(queue) = self.store.queue() {
            queue.done(&groups, false);
        }
        self.committed.fetch_add(messages.len() as u64, Ordering::Relaxed);
        let messages: Vec<_> = messages.into_iter().filter_map(Record::into_message).collect();
        self.committed(&messages);
    }

    /// Returns the way to the store's thread, if the store commits later.
    pub fn store_queue(&self) -> Option<&Queue> {
        self.store.queue()
    }

    /// Returns the statistics of the store, if it is on disk.
    pub fn store_stats(&self) -> Option<StoreStats> {
        self.store.queue()?;
        Some(StoreStats {
            committed: self.committed.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            pending_bytes: self.uncommitted_bytes(),
            last_commit_micros: self.last_commit_micros.load(Ordering::Relaxed),
        })
    }
}

fn fail(queue: &Queue, error: StoreError) -> StoreError {
    queue.fail(error.clone());
    error
}
