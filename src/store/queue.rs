//! What is on its way to the store's thread: records in order, messages that need not be kept any more, and the mailboxes
//! that hold messages which are not committed.
//!
//! The relay's threads only add to it. The store's thread takes everything at once ([`Queue::next`]), commits it, and says so
//! ([`Queue::done`]). Records are few: registrations wait for their commit, a session has one, a lane one removal. Messages stay
//! in their lanes until the thread takes them from there.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::Record;
use crate::error::StoreError;
use crate::ids::{ClientId, Offset};
use crate::limits::Limits;

/// The number of a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Records that are committed together.
#[derive(Debug)]
pub struct Group {
    ticket: Ticket,
    /// The records.
    pub records: Vec<Record>,
    /// Whether it may be refused when the disk is full. Otherwise it is tried again.
    pub may_be_refused: bool,
}

/// A mailbox with messages that are not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Whose mailbox it is.
    pub recipient: ClientId,
    /// The last message that has waited long enough, if the recipient is connected. Otherwise all have.
    pub upto: Offset,
}

/// What the store's thread has to do next.
#[derive(Debug, Default)]
pub struct Work {
    /// Records in their order.
    pub groups: Vec<Group>,
    /// Messages that need not be kept any more.
    pub removed: Vec<Record>,
    /// Whether the store is to be closed after this.
    pub is_last: bool,
}

#[derive(Debug, Default)]
struct State {
    groups: Vec<Group>,
    /// The number of groups so far.
    pushed: u64,
    /// Groups that are neither committed nor refused.
    open: BTreeSet<Ticket>,
    /// Refused groups whose owners have not asked yet.
    refused: BTreeSet<Ticket>,
    waiting: Vec<(Ticket, oneshot::Sender<()>)>,
    /// The last message that need not be kept, by recipient and sender; nor need those before it.
    removed: FxHashMap<(ClientId, ClientId), Offset>,
    /// Messages in the middle of a lane.
    removed_between: Vec<Record>,
    removed_since: Option<Instant>,
    visits: VecDeque<Visit>,
    later_visits: VecDeque<(Instant, Visit)>,
    /// Whether there is something to be done at once.
    is_urgent: bool,
    is_closing: bool,
    /// Whether nobody waits for a commit.
    #[cfg(feature = "faults")]
    is_unattended: bool,
    failure: Option<StoreError>,
    /// The path of the file, for errors.
    path: String,
}

impl State {
    #[cfg(feature = "faults")]
    fn is_unattended(&self) -> bool {
        self.is_unattended
    }

    #[cfg(not(feature = "faults"))]
    #[expect(clippy::unused_self, reason = "with faults it is a question")]
    fn is_unattended(&self) -> bool {
        false
    }
}

/// The way to the store's thread.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Notified when there is something to do.
    work: Condvar,
    /// Notified when groups are committed or refused.
    done: Condvar,
}

impl Queue {
    /// Returns an empty queue to the thread of the store at this path.
    pub fn new(path: &std::path::Path) -> Self {
        let queue = Self::default();
        queue.state().path = path.display().to_string();
        queue
    }

    /// Has nobody wait for a commit: the thread that would wait is the one that commits.
    #[cfg(feature = "faults")]
    pub fn leave_unattended(&self) {
        self.state().is_unattended = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_urgent(&self, state: &mut State) {
        if !std::mem::replace(&mut state.is_urgent, true) {
            self.work.notify_one();
        }
    }

    /// Adds records that are committed together.
    pub fn push(&self, records: Vec<Record>, may_be_refused: bool) -> Ticket {
        let mut state = self.state();
        state.pushed += 1;
        let ticket = Ticket(state.pushed);
        if state.failure.is_none() {
            state.open.insert(ticket);
            state.groups.push(Group { ticket, records, may_be_refused });
            self.make_urgent(&mut state);
        }
        ticket
    }

    /// Waits until `is_done` says so, or nobody has to wait.
    fn wait_until(
        &self,
        is_done: impl Fn(&mut State) -> Option<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if let Some(result) = is_done(&mut state) {
                return result;
            }
            if state.is_unattended() {
                return Ok(());
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until a group is committed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn wait(&self, ticket: Ticket) -> Result<(), StoreError> {
        self.wait_until(|state| match state.refused.remove(&ticket) {
            true => Some(Err(StoreError::Full { path: state.path.clone() })),
            false => (!state.open.contains(&ticket)).then_some(Ok(())),
        })
    }

    /// Checks that changes can be kept.
    ///
    /// # Errors
    /// Why nothing will be committed any more.
    pub fn check(&self) -> Result<(), StoreError> {
        self.state().failure.clone().map_or(Ok(()), Err)
    }

    /// Waits until everything that was pushed so far is committed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn flush(&self) -> Result<(), StoreError> {
        let last = Ticket(self.state().pushed);
        self.wait_until(|state| state.open.first().is_none_or(|first| *first > last).then_some(Ok(())))
    }

    /// Returns a channel that is closed when a group is committed, or the store has failed.
    pub fn when_done(&self, ticket: Ticket) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        if state.failure.is_none() && state.open.contains(&ticket) {
            state.waiting.push((ticket, sender));
        }
        receiver
    }

    /// Notes that the messages of `sender` to `recipient` up to `upto` need not be kept.
    pub fn remove(&self, recipient: ClientId, sender: ClientId, upto: Offset) {
        let mut state = self.state();
        let last = state.removed.entry((recipient, sender)).or_default();
        *last = upto.max(*last);
        self.note_removal(&mut state);
    }

    /// Notes that messages in the middle of a lane need not be kept.
    pub fn remove_between(&self, recipient: ClientId, sender: ClientId, from: Offset, upto: Offset) {
        let mut state = self.state();
        state.removed_between.push(Record::MessagesRemoved { recipient, sender, from, upto });
        self.note_removal(&mut state);
    }

    fn note_removal(&self, state: &mut State) {
        if state.removed_since.is_none() {
            state.removed_since = Some(Instant::now());
            // The thread has to learn until when it may wait.
            self.work.notify_one();
        }
    }

    /// Has the store's thread look into a mailbox: at once, or at `due`. The times must not decrease.
    pub fn visit(&self, visit: Visit, due: Option<Instant>) {
        let mut state = self.state();
        match due {
            None => {
                state.visits.push_back(visit);
                self.make_urgent(&mut state);
            }
            Some(due) => {
                state.later_visits.push_back((due, visit));
                if state.later_visits.len() == 1 {
                    self.work.notify_one();
                }
            }
        }
    }

    /// Returns the next mailbox that is to be looked into by `now`, or any with `is_all`.
    pub fn next_visit(&self, now: Instant, is_all: bool) -> Option<Visit> {
        let mut state = self.state();
        state.visits.pop_front().or_else(|| {
            state.later_visits.front().filter(|(due, _)| is_all || *due <= now)?;
            state.later_visits.pop_front().map(|(_, visit)| visit)
        })
    }

    /// Returns the mailboxes that are to be looked into.
    pub fn visits(&self) -> Vec<ClientId> {
        let state = self.state();
        let later = state.later_visits.iter().map(|(_, visit)| visit);
        state.visits.iter().chain(later).map(|visit| visit.recipient).collect()
    }

    /// Waits until there is something to do, and takes it; with `retry`, until then whatever there is.
    pub fn next(&self, retry: Option<Instant>) -> Work {
        let mut state = self.state();
        while !(state.is_urgent && retry.is_none() || state.is_closing) {
            let removal = state.removed_since.map(|since| since + Limits::COMMIT_DELAY);
            let visit = state.later_visits.front().map(|(due, _)| *due);
            let due = retry.or_else(|| [removal, visit].into_iter().flatten().min());
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                break;
            }
            state = match due {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    self.work.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.is_urgent = false;
        state.removed_since = None;
        let received = std::mem::take(&mut state.removed).into_iter();
        let received = received.map(|((recipient, sender), upto)| Record::MessagesRemoved {
            recipient,
            sender,
            from: Offset::default(),
            upto,
        });
        let mut removed: Vec<_> = received.collect();
        removed.append(&mut state.removed_between);
        Work { groups: std::mem::take(&mut state.groups), removed, is_last: state.is_closing }
    }

    /// Says that groups are committed, or with `is_refused` that they are not and never will be.
    pub fn done(&self, groups: &[Group], is_refused: bool) {
        if groups.is_empty() {
            return;
        }
        let mut state = self.state();
        for Group { ticket, .. } in groups {
            state.open.remove(ticket);
            if is_refused {
                state.refused.insert(*ticket);
            }
        }
        let State { open, waiting, .. } = &mut *state;
        waiting.retain(|(ticket, _)| open.contains(ticket));
        self.done.notify_all();
    }

    /// Says that nothing will be committed any more.
    pub fn fail(&self, failure: StoreError) {
        let mut state = self.state();
        state.failure.get_or_insert(failure);
        state.open.clear();
        state.groups.clear();
        state.waiting.clear();
        self.done.notify_all();
    }

    /// Has the store's thread commit everything and end.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closing = true;
        self.work.notify_one();
    }
}
