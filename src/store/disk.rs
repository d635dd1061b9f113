//! A store on disk. What is read is in memory; what is changed goes to the store's thread.

use super::{Memory, Queue};
use crate::error::Error;
use crate::ids::{Epoch, Offset};

/// Clients in memory and on disk.
#[derive(Debug)]
pub struct Disk<T> {
    pub(super) memory: Memory<T>,
    pub(super) queue: Queue,
    pub(super) epoch: Epoch,
    /// Above the offsets that were given in earlier lives of the store.
    pub(super) era: Offset,
}

impl<T: Clone> Disk<T> {
    pub(super) fn new(epoch: Epoch, era: Offset) -> Result<Self, Error> {
        Ok(Self { memory: Memory::new()?, queue: Queue::default(), epoch, era })
    }
}
