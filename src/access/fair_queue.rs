//! A bounded queue that is fair to the addresses that its entries come from.

use std::collections::{HashMap, VecDeque};

use super::AddressKey;

/// Identifies an entry of a [`FairQueue`].
pub type Ticket = u64;

/// The bounds of a [`FairQueue`].
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Waiting entries.
    pub waiting: usize,
    /// Bytes of the waiting entries.
    pub bytes: usize,
    /// Entries that were taken and not removed. One address may have at most as many as are still free, and so at most half.
    pub taken: usize,
}

/// A queue of entries waiting to be taken, and the tickets of the entries that were taken and not yet removed.
///
/// Addresses are served in turn; one that had nothing waiting is served next. The newest entry of an address is taken
/// first: under overload, taking the oldest would always serve clients that are about to give up. When the queue is full,
/// it evicts the oldest entry of the address with the most bytes. So a flood costs only its own address, and a backlog
/// never delays a new address.
#[derive(Debug)]
pub struct FairQueue<T> {
    bounds: Bounds,
    addresses: HashMap<Option<AddressKey>, PerAddress<T>>,
    /// The addresses with waiting entries, the next one first.
    order: VecDeque<Option<AddressKey>>,
    next_ticket: Ticket,
    waiting: usize,
    bytes: usize,
    taken: usize,
}

/// The entries of one address.
#[derive(Debug)]
struct PerAddress<T> {
    /// Oldest first.
    waiting: VecDeque<Entry<T>>,
    bytes: usize,
    taken: Vec<Ticket>,
}

#[derive(Debug)]
struct Entry<T> {
    ticket: Ticket,
    bytes: usize,
    item: T,
}

impl<T> FairQueue<T> {
    /// An empty queue.
    pub fn new(bounds: Bounds) -> Self {
        let (addresses, order) = (HashMap::new(), VecDeque::new());
        Self { bounds, addresses, order, next_ticket: 0, waiting: 0, bytes: 0, taken: 0 }
    }

    /// Adds an entry. Returns its ticket and the entries evicted for it, which may include itself.
    pub fn push(&mut self, address: Option<AddressKey>, bytes: usize, item: T) -> (Ticket, Vec<(Ticket, T)>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let entries = self.addresses.entry(address).or_insert_with(PerAddress::new);
        if entries.waiting.is_empty() {
            self.order.push_front(address);
        }
        entries.waiting.push_back(Entry { ticket, bytes, item });
        entries.bytes += bytes;
        self.waiting += 1;
        self.bytes += bytes;
        let mut evicted = Vec::new();
        while self.waiting > self.bounds.waiting || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.evict() else { break };
            evicted.push(oldest);
        }
        (ticket, evicted)
    }

    /// Takes the next entry. `None` if there is none, or if too many were taken and not removed.
    pub fn take(&mut self) -> Option<(Ticket, T)> {
        let position = self.next()?;
        let address = self.order.remove(position)?;
        let entries = self.addresses.get_mut(&address)?;
        let Entry { ticket, bytes, item } = entries.waiting.pop_back()?;
        entries.bytes -= bytes;
        entries.taken.push(ticket);
        if !entries.waiting.is_empty() {
            self.order.push_back(address);
        }
        self.waiting -= 1;
        self.bytes -= bytes;
        self.taken += 1;
        Some((ticket, item))
    }

    /// Returns whether [`FairQueue::take`] would return an entry.
    pub fn has_next(&self) -> bool {
        self.next().is_some()
    }

    /// Removes an entry of `address`, waiting or taken. Does nothing if it was evicted or removed before.
    pub fn remove(&mut self, address: Option<AddressKey>, ticket: Ticket) {
        let Some(entries) = self.addresses.get_mut(&address) else { return };
        if let Some(position) = entries.taken.iter().position(|taken| *taken == ticket) {
            entries.taken.swap_remove(position);
            self.taken -= 1;
        } else if let Ok(position) = entries.waiting.binary_search_by_key(&ticket, |entry| entry.ticket) {
            self.remove_waiting(address, position);
        }
        self.drop_if_empty(address);
    }

    /// The position of the first address that may have one more entry taken.
    fn next(&self) -> Option<usize> {
        let free = self.bounds.taken - self.taken;
        let taken = |address| self.addresses.get(address).map_or(0, |entries| entries.taken.len());
        self.order.iter().position(|address| taken(address) < free)
    }

    /// Removes the oldest entry of the address with the most bytes.
    fn evict(&mut self) -> Option<(Ticket, T)> {
        let address = *self
            .order
            .iter()
            .max_by_key(|address| self.addresses.get(address).map(|entries| entries.bytes))?;
        let Entry { ticket, item, .. } = self.remove_waiting(address, 0)?;
        self.drop_if_empty(address);
        Some((ticket, item))
    }

    /// Removes the waiting entry at `position`.
    fn remove_waiting(&mut self, address: Option<AddressKey>, position: usize) -> Option<Entry<T>> {
        let entries = self.addresses.get_mut(&address)?;
        let entry = entries.waiting.remove(position)?;
        entries.bytes -= entry.bytes;
        self.waiting -= 1;
        self.bytes -= entry.bytes;
        if entries.waiting.is_empty() {
            self.order.retain(|other| *other != address);
        }
        Some(entry)
    }

    /// Removes an address without entries.
    fn drop_if_empty(&mut self, address: Option<AddressKey>) {
        if self
            .addresses
            .get(&address)
            .is_some_and(|entries| entries.waiting.is_empty() && entries.taken.is_empty())
        {
            self.addresses.remove(&address);
        }
    }
}

impl<T> PerAddress<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, taken: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { waiting: 8, bytes: 800, taken: 8 };

    fn key(last: u8) -> Option<AddressKey> {
        Some(AddressKey::of(std::net::Ipv4Addr::new(10, 0, 0, last).into()))
    }

    /// The items that can be taken now, in order.
    fn take_all(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.take()).map(|(_, item)| item).collect()
    }

    #[test]
    fn serves_addresses_in_turn_and_a_new_one_next() {
        let mut queue = FairQueue::new(Bounds { taken: 100, ..BOUNDS });
        for (from, item) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (2, "b2")] {
            queue.push(key(from), 1, item);
        }
        assert_eq!(queue.take().map(|(_, item)| item), Some("b2"));
        queue.push(key(3), 1, "c1");
        assert_eq!(take_all(&mut queue), ["c1", "a3", "b1", "a2", "a1"]);
    }

    #[test]
    fn evicts_the_oldest_entry_of_the_address_with_the_most_bytes() {
        let mut queue = FairQueue::new(BOUNDS);
        queue.push(key(2), 100, "honest");
        for item in ["1", "2", "3", "4", "5", "6", "7"] {
            assert!(queue.push(key(1), 100, item).1.is_empty());
        }
        let evicted = |(_, evicted): (Ticket, Vec<(Ticket, &'static str)>)| {
            evicted.into_iter().map(|(_, item)| item).collect::<Vec<_>>()
        };
        assert_eq!(evicted(queue.push(key(1), 1, "8")), ["1"]);
        assert_eq!(evicted(queue.push(key(3), 150, "long")), ["2"]);
        assert_eq!(evicted(queue.push(key(4), 240, "longer")), ["3", "4"]);
        assert_eq!(evicted(queue.push(key(5), 900, "too long")), ["too long"]);
        assert_eq!(take_all(&mut queue)[..3], ["longer", "long", "8"]);
    }

    #[test]
    fn one_address_has_at_most_half_of_the_taken_entries() {
        let mut queue = FairQueue::new(BOUNDS);
        for item in ["1", "2", "3", "4", "5", "6"] {
            queue.push(key(1), 1, item);
        }
        assert_eq!(take_all(&mut queue).len(), 4);
        queue.push(key(2), 1, "honest");
        assert!(queue.has_next());
        assert_eq!(take_all(&mut queue), ["honest"]);
        assert!(!queue.has_next());
    }

    #[test]
    fn removed_entries_are_never_taken_and_use_no_memory() {
        let mut queue = FairQueue::new(BOUNDS);
        let [(first, _), (second, _), (other, _)] =
            [(1, "a1"), (1, "a2"), (2, "b1")].map(|(from, item)| queue.push(key(from), 100, item));
        queue.remove(key(1), first);
        queue.remove(key(2), other);
        assert_eq!(take_all(&mut queue), ["a2"]);
        for _ in 0..2 {
            queue.remove(key(1), second);
        }
        let FairQueue { addresses, order, waiting, bytes, taken, .. } = queue;
        assert!(addresses.is_empty() && order.is_empty());
        assert_eq!((waiting, bytes, taken), (0, 0, 0));
    }
}
