//! A store in this process: what it keeps is lost when the process ends.

use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{NewClient, Registration, Unregistered};
use crate::error::Error;
use crate::ids::{ClientId, Epoch, Token, TokenHash};
use crate::model::{Identity, Lifetime, Registry, Shard};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Clients in this process's memory.
#[derive(Debug)]
pub struct Memory<T> {
    epoch: Epoch,
    registry: RwLock<Registry<T>>,
    deadline_changed: Notify,
}

fn system_error(error: rand::rngs::SysError) -> Error {
    Error::System(io::Error::other(error))
}

const NOT_FOUND: Error = Error::ClientNotFound { argument: "clientId" };

/// Clients that are registered before others get the lock: it is on the way of each message.
const BATCH: usize = 256;

/// Returns the token, or a random one, and its hash.
fn with_hash(token: Option<Token>) -> Result<(Token, TokenHash), Error> {
    let token = token.map_or_else(|| Token::random().map_err(system_error), Ok)?;
    let hash = TokenHash::of(token.reveal());
    Ok((token, hash))
}

impl<T: Clone> Memory<T> {
    pub(super) fn new() -> Result<Self, Error> {
        let (_, decoy) = with_hash(None)?;
        Ok(Self {
            epoch: Epoch::random().map_err(system_error)?,
            registry: RwLock::new(Registry::new(decoy)),
            deadline_changed: Notify::new(),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry<T>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry<T>> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the registry, and notifies when that changes the next deadline.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Registry<T>) -> R) -> R {
        let mut registry = self.write();
        let before = registry.next_deadline();
        let result = change(&mut registry);
        let has_changed = registry.next_deadline() != before;
        drop(registry);
        if has_changed {
            self.deadline_changed.notify_one();
        }
        result
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn register(&self, value: T, new: NewClient) -> Result<Registration, Error> {
        let NewClient { id, token, lifetime, data: _ } = new;
        let (token, hash) = with_hash(token)?;
        let now = Instant::now();
        let id = self.change(|registry| registry.register(id, hash, value, lifetime, now))?;
        Ok(Registration { id, token })
    }

    pub(super) fn register_many(
        &self,
        values: Vec<T>,
        lifetime: Option<Duration>,
    ) -> Result<Vec<Registration>, Error> {
        let tokens: Result<Vec<_>, _> = values.iter().map(|_| with_hash(None)).collect();
        let mut new = tokens?.into_iter().zip(values);
        let (now, mut registered) = (Instant::now(), Vec::with_capacity(new.len()));
        while new.len() > 0 {
            let result = self.change(|registry| {
                new.by_ref().take(BATCH).try_for_each(|((token, hash), value)| {
                    let id = registry.register(None, hash, value, lifetime, now)?;
                    registered.push(Registration { id, token });
                    Ok(())
                })
            });
            if let Err(error) = result {
                self.discard(&registered);
                return Err(error);
            }
        }
        Ok(registered)
    }

    /// Unregisters clients of which nobody knows yet.
    pub(super) fn discard(&self, registered: &[Registration]) {
        for Registration { id, .. } in registered {
            self.change(|registry| {
                registry.unregister(*id);
                registry.release(*id);
            });
        }
    }

    pub(super) fn refresh(
        &self,
        id: ClientId,
        token: Option<Token>,
        lifetime: Option<Duration>,
    ) -> Result<Token, Error> {
        let (token, hash) = with_hash(token)?;
        let now = Instant::now();
        let is_known = self.change(|registry| registry.refresh(id, hash, lifetime, now));
        if is_known { Ok(token) } else { Err(NOT_FOUND) }
    }

    /// Returns what a store on disk keeps of a client: the hash of its token, and its lifetime.
    pub(super) fn kept(&self, id: ClientId) -> Option<(TokenHash, Option<Lifetime>)> {
        self.read().kept(id)
    }

    /// Gives a client its former token and lifetime.
    pub(super) fn undo_refresh(&self, id: ClientId, before: Option<(TokenHash, Option<Lifetime>)>) {
        let Some((token, lifetime)) = before else { return };
        self.change(|registry| {
            if let Some(value) = registry.get(id).cloned() {
                registry.restore(id, token, value, lifetime);
            }
        });
    }

    pub(super) fn unregister(&self, id: ClientId) -> Result<Unregistered<T>, Error> {
        let removed = self.write().unregister(id).ok_or(NOT_FOUND)?;
        Ok(Unregistered { id, value: removed })
    }

    pub(super) fn release(&self, id: ClientId) {
        self.write().release(id);
    }

    pub(super) fn take_expired(&self, now: Instant) -> Option<Unregistered<T>> {
        let mut registry = self.write();
        let id = registry.overdue(now)?;
        let removed = registry.unregister(id)?;
        Some(Unregistered { id, value: removed })
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.read().next_deadline()
    }

    pub(super) async fn deadline_changed(&self) {
        self.deadline_changed.notified().await;
    }

    pub(super) fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        self.read().authenticate(id, token)
    }

    pub(super) fn get(&self, id: ClientId) -> Option<T> {
        self.read().get(id).cloned()
    }

    pub(super) fn may_be_former(&self, id: ClientId) -> bool {
        self.read().may_be_former(id)
    }

    pub(super) fn registered(&self) -> usize {
        self.read().len()
    }

    pub(super) fn unregistered(&self) -> usize {
        self.read().unregistered()
    }

    pub(super) fn ids(&self) -> Vec<ClientId> {
        let mut ids = Vec::new();
        for shard in Shard::all() {
            // One shard at a time, so that others get the lock in between.
            ids.extend(self.read().ids(shard));
        }
        ids.sort_unstable();
        ids
    }
}
