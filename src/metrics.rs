//! What is counted of clients' mistakes and refused messages, and how many connections there are. Rare things only: what
//! is relayed is counted where it is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How often, by code.
pub type Counts = BTreeMap<&'static str, u64>;

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    connections: AtomicUsize,
    /// Nobody counts fast enough here for others to wait.
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    offences: Counts,
    rejected: Counts,
}

impl Metrics {
    /// A connection was upgraded.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// And is over.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A client did something wrong.
    pub fn offence(&self, code: &'static str) {
        self.count(|tables| &mut tables.offences, code);
    }

    /// A message was refused for good.
    pub fn rejected(&self, code: &'static str) {
        self.count(|tables| &mut tables.rejected, code);
    }

    fn count(&self, table: impl FnOnce(&mut Tables) -> &mut Counts, code: &'static str) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        *table(&mut tables).entry(code).or_default() += 1;
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Offences and refused messages, by code.
    pub fn by_code(&self) -> (Counts, Counts) {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        (tables.offences.clone(), tables.rejected.clone())
    }
}
