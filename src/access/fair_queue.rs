//! A bounded queue that shares its room and its service fairly among the places that its entries come from.

use std::collections::{HashMap, VecDeque};

use super::AddressKey;

/// Names one entry of a [`FairQueue`].
pub type Ticket = u64;

/// How much a [`FairQueue`] holds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Entries that wait.
    pub waiting: usize,
    /// Bytes of the entries that wait.
    pub bytes: usize,
    /// Entries that were taken and have not left. One place has at most as many as are still free.
    pub taken: usize,
}

/// A queue of entries that wait to be taken, and the tickets of those that were taken and have not left.
///
/// A place that has had nothing waiting is served next; the others are served in turn. The newest entry of a place is
/// taken first: under overload the oldest ones would all be taken just before their clients give up. When the queue is
/// full, the oldest entry of the place with the most bytes is evicted. So a flood from one place costs only that place, and
/// a backlog never delays who comes after it.
#[derive(Debug)]
pub struct FairQueue<T> {
    bounds: Bounds,
    places: HashMap<Option<AddressKey>, Place<T>>,
    /// The places that have entries waiting, the next one first.
    order: VecDeque<Option<AddressKey>>,
    next_ticket: Ticket,
    waiting: usize,
    bytes: usize,
    taken: usize,
}

/// What one place has.
#[derive(Debug)]
struct Place<T> {
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
        let (places, order) = (HashMap::new(), VecDeque::new());
        Self { bounds, places, order, next_ticket: 0, waiting: 0, bytes: 0, taken: 0 }
    }

    /// Adds an entry. Returns its ticket and what was evicted for it, which may be the entry itself.
    pub fn push(&mut self, source: Option<AddressKey>, bytes: usize, item: T) -> (Ticket, Vec<(Ticket, T)>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let place = self.places.entry(source).or_insert_with(Place::new);
        if place.waiting.is_empty() {
            self.order.push_front(source);
        }
        place.waiting.push_back(Entry { ticket, bytes, item });
        place.bytes += bytes;
        self.waiting += 1;
        self.bytes += bytes;
        let mut evicted = Vec::new();
        while self.waiting > self.bounds.waiting || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.evict() else { break };
            evicted.push(oldest);
        }
        (ticket, evicted)
    }

    /// Takes the next entry. `None` also when too many were taken and have not left.
    pub fn take(&mut self) -> Option<(Ticket, T)> {
        let position = self.next()?;
        let source = self.order.remove(position)?;
        let place = self.places.get_mut(&source)?;
        let Entry { ticket, bytes, item } = place.waiting.pop_back()?;
        place.bytes -= bytes;
        place.taken.push(ticket);
        if !place.waiting.is_empty() {
            self.order.push_back(source);
        }
        self.waiting -= 1;
        self.bytes -= bytes;
        self.taken += 1;
        Some((ticket, item))
    }

    /// Whether [`FairQueue::take`] has an entry.
    pub fn has_next(&self) -> bool {
        self.next().is_some()
    }

    /// Forgets an entry of `source`, whether it waits, was taken, or is gone already.
    pub fn leave(&mut self, source: Option<AddressKey>, ticket: Ticket) {
        let Some(place) = self.places.get_mut(&source) else { return };
        if let Some(position) = place.taken.iter().position(|taken| *taken == ticket) {
            place.taken.swap_remove(position);
            self.taken -= 1;
        } else if let Ok(position) = place.waiting.binary_search_by_key(&ticket, |entry| entry.ticket) {
            self.remove(source, position);
        }
        self.forget(source);
    }

    /// The first place in order that may have one more entry taken.
    fn next(&self) -> Option<usize> {
        let free = self.bounds.taken - self.taken;
        let taken = |source| self.places.get(source).map_or(0, |place| place.taken.len());
        self.order.iter().position(|source| taken(source) < free)
    }

    /// Removes the oldest entry of the place that has the most bytes.
    fn evict(&mut self) -> Option<(Ticket, T)> {
        let source =
            *self.order.iter().max_by_key(|source| self.places.get(source).map(|place| place.bytes))?;
        let Entry { ticket, item, .. } = self.remove(source, 0)?;
        self.forget(source);
        Some((ticket, item))
    }

    /// Removes the entry at a position of those that wait.
    fn remove(&mut self, source: Option<AddressKey>, position: usize) -> Option<Entry<T>> {
        let place = self.places.get_mut(&source)?;
        let entry = place.waiting.remove(position)?;
        place.bytes -= entry.bytes;
        self.waiting -= 1;
        self.bytes -= entry.bytes;
        if place.waiting.is_empty() {
            self.order.retain(|other| *other != source);
        }
        Some(entry)
    }

    /// Forgets a place that has nothing left.
    fn forget(&mut self, source: Option<AddressKey>) {
        if self.places.get(&source).is_some_and(|place| place.waiting.is_empty() && place.taken.is_empty()) {
            self.places.remove(&source);
        }
    }
}

impl<T> Place<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, taken: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { waiting: 8, bytes: 800, taken: 8 };

    fn source(last: u8) -> Option<AddressKey> {
        Some(AddressKey::of(std::net::Ipv4Addr::new(10, 0, 0, last).into()))
    }

    /// The items that can be taken now, in order.
    fn take_all(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.take()).map(|(_, item)| item).collect()
    }

    #[test]
    fn places_are_served_in_turn_and_a_new_one_next() {
        let mut queue = FairQueue::new(Bounds { taken: 100, ..BOUNDS });
        for (from, item) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (2, "b2")] {
            queue.push(source(from), 1, item);
        }
        assert_eq!(queue.take().map(|(_, item)| item), Some("b2"));
        queue.push(source(3), 1, "c1");
        assert_eq!(take_all(&mut queue), ["c1", "a3", "b1", "a2", "a1"]);
    }

    #[test]
    fn a_full_queue_evicts_the_oldest_of_the_place_with_the_most() {
        let mut queue = FairQueue::new(BOUNDS);
        queue.push(source(2), 100, "honest");
        for item in ["1", "2", "3", "4", "5", "6", "7"] {
            assert!(queue.push(source(1), 100, item).1.is_empty());
        }
        let evicted = |(_, evicted): (Ticket, Vec<(Ticket, &'static str)>)| {
            evicted.into_iter().map(|(_, item)| item).collect::<Vec<_>>()
        };
        assert_eq!(evicted(queue.push(source(1), 1, "8")), ["1"]);
        assert_eq!(evicted(queue.push(source(3), 150, "long")), ["2"]);
        assert_eq!(evicted(queue.push(source(4), 240, "longer")), ["3", "4"]);
        assert_eq!(evicted(queue.push(source(5), 900, "too long")), ["too long"]);
        assert_eq!(take_all(&mut queue)[..3], ["longer", "long", "8"]);
    }

    #[test]
    fn one_place_has_at_most_half_of_what_may_be_taken() {
        let mut queue = FairQueue::new(BOUNDS);
        for item in ["1", "2", "3", "4", "5", "6"] {
            queue.push(source(1), 1, item);
        }
        assert_eq!(take_all(&mut queue).len(), 4);
        queue.push(source(2), 1, "honest");
        assert!(queue.has_next());
        assert_eq!(take_all(&mut queue), ["honest"]);
        assert!(!queue.has_next());
    }

    #[test]
    fn what_leaves_is_never_taken_and_leaves_nothing_behind() {
        let mut queue = FairQueue::new(BOUNDS);
        let [(first, _), (second, _), (other, _)] =
            [(1, "a1"), (1, "a2"), (2, "b1")].map(|(from, item)| queue.push(source(from), 100, item));
        queue.leave(source(1), first);
        queue.leave(source(2), other);
        assert_eq!(take_all(&mut queue), ["a2"]);
        for _ in 0..2 {
            queue.leave(source(1), second);
        }
        let FairQueue { places, order, waiting, bytes, taken, .. } = queue;
        assert!(places.is_empty() && order.is_empty());
        assert_eq!((waiting, bytes, taken), (0, 0, 0));
    }
}
