//! What is written for one connection and not yet taken by its socket.

use std::cell::RefCell;
use std::io::IoSlice;

use crate::copy;
use crate::ids::{ClientId, Offset, Seq};
use crate::limits::Limits;
use crate::model::{LONG, Message, Place};
use crate::protocol::encode::{self, Notice};
use crate::protocol::frame;
use crate::read_buffer;

/// Buffers that a thread keeps for the next connection that writes, and the largest that it keeps.
const SPARE_BUFFERS: usize = 16;
const SPARE_BYTES: usize = 512 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<(Vec<u8>, Vec<OnlyHere>)>> = const { RefCell::new(Vec::new()) };
}

/// Frames back to back, on their way to one socket.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: Vec<u8>,
    /// How much of them the socket has taken.
    taken: usize,
    /// Bytes that the socket has ever taken; what it means is only whether it grew.
    pub sent: u64,
    /// The messages among the frames that are kept nowhere else.
    only_here: Vec<OnlyHere>,
    /// Up to which number the client's own messages were accepted, for each target, since that was last told. It goes
    /// with whatever is written next.
    accepted: Vec<(ClientId, Seq)>,
    /// Long messages that belong between these frames and are written from where they are kept. Only between filling
    /// the outbox and writing it, under one lock.
    splices: Vec<Splice>,
}

/// A message that is not copied to the outbox.
#[derive(Clone, Copy, Debug)]
struct Splice {
    /// Where in the frames it belongs.
    at: usize,
    sender: ClientId,
    place: Place,
    /// Where it was read, if it still stands there.
    read: Option<read_buffer::Place>,
}

/// The most of them between two writes: the system takes 1,024 pieces.
const MAX_SPLICES: usize = 256;

/// A message of which the frame in the outbox is the only copy.
#[derive(Clone, Copy, Debug)]
struct OnlyHere {
    sender: ClientId,
    offset: Offset,
    seq: Seq,
    /// Where its frame ends.
    end: u32,
    /// Bytes of its JSON string.
    length: u32,
}

impl Outbox {
    /// Whether the socket has taken everything.
    pub fn is_drained(&self) -> bool {
        self.taken == self.frames.len()
    }

    /// Bytes of all frames of which the last has not been taken.
    pub fn len(&self) -> usize {
        self.frames.len() + self.splices.iter().map(|splice| splice.place.length).sum::<usize>()
    }

    /// Whether nothing was written since the last that was taken was forgotten.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Lets `write` append frames.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.frames.capacity() == 0 {
            (self.frames, self.only_here) = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        write(&mut self.frames);
        if self.frames.is_empty() {
            self.forget();
        }
    }

    /// `target`'s messages are stored up to `seq`. Told once for many.
    pub fn accept(&mut self, target: ClientId, seq: Seq) {
        match self.accepted.iter_mut().find(|(of, _)| *of == target) {
            Some((_, last)) => *last = seq,
            None => {
                if self.accepted.is_empty() {
                    // Most clients send to one at a time.
                    self.accepted.reserve_exact(1);
                }
                self.accepted.push((target, seq));
            }
        }
        if self.accepted.len() >= Limits::ACCEPT_BATCH {
            self.tell_accepted();
        }
    }

    /// Appends what was accepted.
    pub fn tell_accepted(&mut self) {
        for (target, seq) in std::mem::take(&mut self.accepted) {
            self.write(|frames| encode::notice(&Notice::Accepted { target, seq }, frames));
        }
    }

    /// Appends a message that is kept until the recipient has acknowledged it.
    pub fn relay(&mut self, sender: ClientId, message: Message<'_>) {
        self.write(|frames| encode::relay(sender, Some(message.offset), message.json, frames));
    }

    /// Appends a message that is kept at `place` until the recipient has acknowledged it, and that [`Outbox::write_spliced`]
    /// takes from there, or from where it was `read`.
    pub fn splice(
        &mut self,
        sender: ClientId,
        place: Place,
        message: Message<'_>,
        read: Option<read_buffer::Place>,
    ) {
        if place.length < LONG || self.splices.len() == MAX_SPLICES {
            return self.relay(sender, message);
        }
        let mut at = 0;
        self.write(|frames| {
            encode::relay_head(sender, Some(message.offset), place.length, frames);
            at = frames.len();
            encode::relay_tail(frames);
        });
        self.splices.push(Splice { at, sender, place, read });
    }

    /// Whether something in between is to be written from where it is kept.
    pub fn is_spliced(&self) -> bool {
        !self.splices.is_empty()
    }

    /// Lets `write` have all pieces at once, those from `json` that are not in what was `read` last. What it does not
    /// take is copied.
    pub fn write_spliced<'a>(
        &mut self,
        json: impl Fn(ClientId, Place) -> &'a [u8],
        read: &[u8],
        write: impl FnOnce(&[IoSlice<'_>]) -> usize,
    ) {
        let splices = std::mem::take(&mut self.splices);
        let length = self.frames.len() + splices.iter().map(|splice| splice.place.length).sum::<usize>();
        let ends = splices.iter().map(|splice| splice.at).chain([self.frames.len()]);
        let mut pieces = Vec::with_capacity(2 * splices.len() + 1);
        let mut start = self.taken;
        for (number, end) in ends.enumerate() {
            pieces.push(IoSlice::new(&self.frames[start..end]));
            start = end;
            if let Some(splice) = splices.get(number) {
                let kept = json(splice.sender, splice.place);
                let hot = splice.read.and_then(read_buffer::Place::range).and_then(|range| read.get(range));
                debug_assert!(hot.is_none_or(|hot| hot == kept), "it stands where it was read");
                pieces.push(IoSlice::new(hot.unwrap_or(kept)));
            }
        }
        let bytes = write(&pieces);
        let taken = self.taken + bytes;
        self.sent += bytes as u64;
        if taken < length {
            let before = &self.frames[..self.taken];
            let all = std::iter::once(before).chain(pieces.iter().map(|piece| &**piece));
            let mut frames = Vec::with_capacity(length);
            all.for_each(|piece| copy::append(piece, &mut frames));
            self.frames = frames;
            self.taken = taken;
        } else {
            self.taken = self.frames.len();
        }
    }

    /// Appends a message for a recipient that acknowledges nothing: from here on it is kept here only.
    pub fn relay_only_copy(&mut self, sender: ClientId, Message { offset, seq, json }: Message<'_>) {
        self.write(|frames| encode::relay(sender, None, json, frames));
        let (end, length) = (self.frames.len() as u32, json.len() as u32);
        self.only_here.push(OnlyHere { sender, offset, seq, end, length });
    }

    /// What the socket has not taken.
    pub fn untaken(&self) -> &[u8] {
        &self.frames[self.taken..]
    }

    /// The socket has taken so many bytes more.
    pub fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.sent += bytes as u64;
    }

    /// The numbered messages that were kept here only: who sent them, their places and numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (ClientId, Offset, Seq)> {
        let all = self.only_here.iter().map(|message| (message.sender, message.offset, message.seq));
        all.filter(|(_, _, seq)| *seq > Seq::default())
    }

    /// Forgets everything, taken or not. An idle connection keeps no buffer.
    pub fn forget(&mut self) {
        let (mut frames, mut only_here) =
            (std::mem::take(&mut self.frames), std::mem::take(&mut self.only_here));
        self.taken = 0;
        if (1..=SPARE_BYTES).contains(&frames.capacity()) {
            frames.clear();
            only_here.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS {
                    spare.push((frames, only_here));
                }
            });
        }
    }

    /// Hands over the messages that are kept here only and that the socket has not taken as a whole, the last one
    /// first.
    pub fn give_back(&mut self, mut to: impl FnMut(ClientId, Message<'_>)) {
        for OnlyHere { sender, offset, seq, end, length } in
            std::mem::take(&mut self.only_here).into_iter().rev()
        {
            let (end, length) = (end as usize, length as usize);
            if end <= self.taken {
                break;
            }
            let behind = end - encode::TAIL_LENGTH;
            to(sender, Message { offset, seq, json: &self.frames[behind - length..behind] });
        }
    }

    /// Forgets the frames of which the socket has not taken a byte.
    pub fn drop_untaken_frames(&mut self) {
        let mut end = 0;
        while end < self.taken {
            end += frame::length(&self.frames[end..]);
        }
        self.frames.truncate(end);
        self.only_here.clear();
    }
}
