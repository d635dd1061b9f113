//! A store in this process: what it keeps is lost when the process ends.

use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Registration, Unregistered};
use crate::error::Error;
use crate::ids::{ClientId, Epoch, Token};
use crate::model::{Identity, Registry, Shard};
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

impl<T: Clone> Memory<T> {
    pub(super) fn new() -> Result<Self, Error> {
        let decoy = Token::random().map_err(system_error)?;
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
    fn change<R>(&self, change: impl FnOnce(&mut Registry<T>) -> R) -> R {
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

    pub(super) fn register(&self, value: T, lifetime: Option<Duration>) -> Result<Registration, Error> {
        let token = Token::random().map_err(system_error)?;
        let now = Instant::now();
        let id = self.change(|registry| registry.register(token.clone(), value, lifetime, now));
        Ok(Registration { id, token })
    }

    pub(super) fn refresh(&self, id: ClientId, lifetime: Option<Duration>) -> Result<Token, Error> {
        let token = Token::random().map_err(system_error)?;
        let now = Instant::now();
        let is_known = self.change(|registry| registry.refresh(id, token.clone(), lifetime, now));
        if is_known { Ok(token) } else { Err(NOT_FOUND) }
    }

    pub(super) fn unregister(&self, id: ClientId) -> Result<Unregistered<T>, Error> {
        let removed = self.write().unregister(id).ok_or(NOT_FOUND)?;
        Ok(Unregistered { id, value: removed })
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

    pub(super) fn was_registered(&self, id: ClientId) -> bool {
        self.read().is_former(id)
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
