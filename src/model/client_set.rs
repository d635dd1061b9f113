//! A compact set of client ids.

use rustc_hash::FxHashMap;

use crate::ids::ClientId;

/// A set of client ids, as bitmaps of blocks of 64 ids. The clients of a room are registered together, so their ids are
/// close together: a member takes bits, not bytes, and sets are merged 64 ids at a time. An id far from all others takes
/// an entry of 16 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSet {
    /// The bitmaps by number of the block. None is 0.
    blocks: FxHashMap<u64, u64>,
}

/// Returns the number of the block that an id is in, and its bit there.
fn block_and_bit(id: ClientId) -> (u64, u64) {
    (id.get() / 64, 1 << (id.get() % 64))
}

/// Returns the ids of a block, in ascending order.
fn ids(number: u64, mut bits: u64) -> impl Iterator<Item = ClientId> {
    std::iter::from_fn(move || {
        let next = (bits != 0).then(|| number * 64 + u64::from(bits.trailing_zeros()))?;
        bits &= bits - 1;
        ClientId::new(next)
    })
}

impl ClientSet {
    /// Adds an id. Returns false if it was in the set.
    pub fn insert(&mut self, id: ClientId) -> bool {
        let (number, bit) = block_and_bit(id);
        let bits = self.blocks.entry(number).or_default();
        let is_new = *bits & bit == 0;
        *bits |= bit;
        is_new
    }

    /// Removes an id. Returns false if it was not in the set.
    pub fn remove(&mut self, id: ClientId) -> bool {
        let (number, bit) = block_and_bit(id);
        let Some(bits) = self.blocks.get_mut(&number) else { return false };
        let was_there = *bits & bit != 0;
        *bits &= !bit;
        if *bits == 0 {
            self.blocks.remove(&number);
            self.shrink();
        }
        was_there
    }

    /// Returns whether an id is in the set.
    pub fn contains(&self, id: ClientId) -> bool {
        let (number, bit) = block_and_bit(id);
        self.blocks.get(&number).is_some_and(|bits| bits & bit != 0)
    }

    /// Adds the ids of `other`. Returns how many are new, and adds these to `new`, if given.
    pub fn extend(&mut self, other: &Self, mut new: Option<&mut Self>) -> usize {
        let mut count = 0;
        for (number, bits) in &other.blocks {
            let own = self.blocks.entry(*number).or_default();
            let added = bits & !*own;
            *own |= bits;
            count += added.count_ones() as usize;
            if let Some(new) = new.as_deref_mut().filter(|_| added != 0) {
                *new.blocks.entry(*number).or_default() |= added;
            }
        }
        count
    }

    /// Removes and returns at least `count` ids, or all if there are fewer: whole blocks, in no order.
    pub fn take(&mut self, count: usize) -> Vec<ClientId> {
        let mut taken = Vec::new();
        let mut blocks = self.blocks.extract_if(|_, _| true);
        while taken.len() < count
            && let Some((number, bits)) = blocks.next()
        {
            taken.extend(ids(number, bits));
        }
        drop(blocks);
        self.shrink();
        taken
    }

    /// Returns the ids, in no order.
    pub fn iter(&self) -> impl Iterator<Item = ClientId> {
        self.blocks.iter().flat_map(|(number, bits)| ids(*number, *bits))
    }

    /// Returns the number of ids. It is counted, block by block.
    pub fn len(&self) -> usize {
        self.blocks.values().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Frees memory that is no longer needed. An empty set keeps none.
    fn shrink(&mut self) {
        if self.blocks.len() < self.blocks.capacity() / 8 || self.blocks.is_empty() {
            self.blocks.shrink_to(self.blocks.len() * 2);
        }
    }
}

impl FromIterator<ClientId> for ClientSet {
    fn from_iter<T: IntoIterator<Item = ClientId>>(ids: T) -> Self {
        let mut set = Self::default();
        for id in ids {
            set.insert(id);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> ClientId {
        ClientId::new(number).expect("an id")
    }

    fn some_ids() -> impl Strategy<Value = Vec<ClientId>> {
        proptest::collection::vec(prop_oneof![0..300_u64, Just(ClientId::MAX)].prop_map(id), 0..200)
    }

    proptest! {
        #[test]
        fn behaves_like_a_btree_set(ids in some_ids(), others in some_ids(), gone in some_ids(), count in 1..200_usize) {
            let (mut set, mut tree) = (ClientSet::default(), BTreeSet::new());
            for id in ids {
                prop_assert_eq!(set.insert(id), tree.insert(id));
            }
            for id in gone {
                prop_assert_eq!(set.remove(id), tree.remove(&id));
                prop_assert!(!set.contains(id));
            }
            let other: ClientSet = others.iter().copied().collect();
            let new: BTreeSet<_> = others.into_iter().filter(|id| tree.insert(*id)).collect();
            let mut added = ClientSet::default();
            prop_assert_eq!(set.extend(&other, Some(&mut added)), new.len());
            prop_assert_eq!(added.iter().collect::<BTreeSet<_>>(), new);
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), tree.clone());
            prop_assert_eq!(set.len(), tree.len());
            while !set.is_empty() {
                let taken = set.take(count);
                prop_assert!(!taken.is_empty() && taken.len() < count + 64);
                prop_assert!(taken.iter().all(|id| tree.remove(id)));
            }
            prop_assert!(tree.is_empty() && set.blocks.capacity() == 0);
        }
    }
}
