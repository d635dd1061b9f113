//! What is written for one connection and not yet taken by its socket.

use std::cell::RefCell;
use std::io::IoSlice;
use std::mem::take;

use super::Accepted;
use crate::copy;
use crate::ids::{ClientId, Offset, Seq};
use crate::limits::Limits;
use crate::model::{ChunkPosition, LONG_MESSAGE_BYTES, Message};
use crate::protocol::encode;
use crate::protocol::frame;
use crate::read_buffer::ReadSlice;

/// Buffers that a thread keeps for the next connection that writes, and the largest that it keeps.
const SPARE_BUFFERS: usize = 16;
const SPARE_BYTES: usize = 512 * 1024;

/// An outbox's frames, the messages that are kept there only, and those that are written from elsewhere.
type Buffers = (Vec<u8>, Vec<OnlyHere>, Vec<Splice>);

thread_local! {
    static SPARE: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

/// Frames back to back, on their way to one socket. `maxWriteAhead` bounds them, and one message more; what the socket does
/// not take at once counts against the total bound. Room is given back when all was taken, and what is too much of it when the
/// socket takes no more.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: Vec<u8>,
    /// How much of them the socket has taken.
    taken: usize,
    /// Bytes that the socket has ever taken, as far as they fit; what it means is only whether it changed.
    pub sent: u32,
    /// The messages among the frames that are kept nowhere else.
    only_here: Vec<OnlyHere>,
    /// What was accepted of the client's own messages. It goes with whatever is written next.
    accepted: Accepted,
    /// Whether some of that has waited since the sender's task looked last.
    pub is_overdue: bool,
    /// Long messages that belong between these frames and are not copied to them.
    splices: Vec<Splice>,
}

// Every connection has one, and each byte of it is one of an idle connection.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Outbox>() <= 112);

/// A message that is not copied to the outbox.
#[derive(Debug)]
struct Splice {
    /// Where in the frames it belongs.
    at: usize,
    piece: Piece,
    /// Bytes of all such messages up to this one.
    total: usize,
}

/// Where a message is written from.
#[derive(Debug)]
enum Piece {
    /// Where it was read, until the thread that read it flushes.
    Read(ReadSlice),
    /// Its sender's lane. Only between filling the outbox and writing it, under one lock.
    Kept(ClientId, ChunkPosition),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Read(lent) => lent.len(),
            Self::Kept(_, place) => place.length,
        }
    }
}

/// The most of them between two writes: as many as are read in one turn.
const MAX_SPLICES: usize = Limits::TURN_BYTES / LONG_MESSAGE_BYTES;

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
        self.frames.len() + self.spliced()
    }

    fn spliced(&self) -> usize {
        self.splices.last().map_or(0, |splice| splice.total)
    }

    /// Whether nothing was written since the last that was taken was forgotten.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Lets `write` append frames.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.frames.capacity() == 0 {
            (self.frames, self.only_here, self.splices) = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        write(&mut self.frames);
        if self.frames.is_empty() {
            self.forget();
        }
    }

    /// `target`'s messages are stored up to `seq`.
    pub fn accept(&mut self, target: ClientId, seq: Seq) {
        if self.accepted.add(target, seq) {
            self.tell_accepted();
        }
    }

    /// Whether something was accepted that was not told.
    pub fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// Appends what was accepted.
    pub fn tell_accepted(&mut self) {
        self.is_overdue = false;
        if self.has_accepted() {
            let mut accepted = take(&mut self.accepted);
            self.write(|frames| accepted.write(frames));
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
        place: ChunkPosition,
        message: Message<'_>,
        read: Option<ReadSlice>,
    ) {
        if !self.may_splice(message.json) {
            return self.relay(sender, message);
        }
        let piece = read.map_or(Piece::Kept(sender, place), Piece::Read);
        self.insert(sender, Some(message.offset), piece);
    }

    fn may_splice(&self, json: &[u8]) -> bool {
        json.len() >= LONG_MESSAGE_BYTES && self.splices.len() < MAX_SPLICES
    }

    fn insert(&mut self, sender: ClientId, offset: Option<Offset>, piece: Piece) {
        let mut at = 0;
        self.write(|frames| {
            encode::relay_head(sender, offset, piece.len(), frames);
            at = frames.len();
            encode::relay_tail(frames);
        });
        let total = self.spliced() + piece.len();
        self.splices.push(Splice { at, piece, total });
    }

    /// Whether something in between is to be written from elsewhere.
    pub fn is_spliced(&self) -> bool {
        !self.splices.is_empty()
    }

    /// Lets `write` have all pieces at once, those that are kept from `json`. What it does not take is copied.
    pub fn write_spliced<'a>(
        &mut self,
        json: impl Fn(ClientId, ChunkPosition) -> &'a [u8],
        write: impl FnOnce(&[IoSlice<'_>]) -> usize,
    ) {
        let length = self.len();
        let mut all = [IoSlice::new(&[]); 2 * MAX_SPLICES + 1];
        let mut start = self.taken;
        for (Splice { at, piece, .. }, pair) in self.splices.iter().zip(all.chunks_exact_mut(2)) {
            let piece = match *piece {
                Piece::Read(ref lent) => lent,
                Piece::Kept(sender, place) => json(sender, place),
            };
            pair.copy_from_slice(&[IoSlice::new(&self.frames[start..*at]), IoSlice::new(piece)]);
            start = *at;
        }
        let last = 2 * self.splices.len();
        all[last] = IoSlice::new(&self.frames[start..]);
        let pieces = &all[..=last];
        let bytes = write(pieces);
        let taken = self.taken + bytes;
        self.sent = self.sent.wrapping_add(bytes as u32);
        if taken < length {
            let before = &self.frames[..self.taken];
            let all = std::iter::once(before).chain(pieces.iter().map(|piece| &**piece));
            let mut frames = Vec::with_capacity(length);
            all.for_each(|piece| copy::append(piece, &mut frames));
            self.frames = frames;
            self.taken = taken;
        } else {
            self.taken = self.frames.len();
            // All have been taken.
            self.only_here.iter_mut().for_each(|message| message.end = message.end.min(self.taken as u32));
        }
        self.splices.clear();
    }

    /// Copies what is to be written from where it was read. To be called before anything but [`Outbox::write_spliced`]
    /// looks at what is to be written.
    pub fn settle(&mut self) {
        if self.is_spliced() {
            self.write_spliced(|_, _| unreachable!("what is kept was written under the same lock"), |_| 0);
        }
    }

    /// Appends a message for a recipient that acknowledges nothing: from here on it is kept here only.
    pub fn relay_only_copy(&mut self, sender: ClientId, message: Message<'_>) {
        self.write(|frames| encode::relay(sender, None, message.json, frames));
        self.keep(sender, message);
    }

    /// The same for one that was read into a buffer that `share` lends. It is written from there.
    pub fn relay_lent(
        &mut self,
        sender: ClientId,
        message: Message<'_>,
        share: impl FnOnce() -> Option<ReadSlice>,
    ) {
        let Some(lent) = self.may_splice(message.json).then(share).flatten() else {
            return self.relay_only_copy(sender, message);
        };
        self.insert(sender, None, Piece::Read(lent));
        self.keep(sender, message);
    }

    fn keep(&mut self, sender: ClientId, Message { offset, seq, json }: Message<'_>) {
        let (end, length) = (self.len() as u32, json.len() as u32);
        self.only_here.push(OnlyHere { sender, offset, seq, end, length });
    }

    /// What the socket has not taken.
    pub fn untaken(&self) -> &[u8] {
        debug_assert!(!self.is_spliced(), "it is settled");
        &self.frames[self.taken..]
    }

    /// The socket has taken so many bytes more.
    pub fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.sent = self.sent.wrapping_add(bytes as u32);
    }

    /// The numbered messages that were kept here only: who sent them, their places and numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (ClientId, Offset, Seq)> {
        let all = self.only_here.iter().map(|message| (message.sender, message.offset, message.seq));
        all.filter(|(_, _, seq)| *seq > Seq::default())
    }

    /// Gives back room that what is there does not need: it may be there for long, and counts for its bytes only.
    pub fn shrink(&mut self) {
        if self.frames.capacity() > LONG_MESSAGE_BYTES.max(4 * self.frames.len()) {
            self.frames.shrink_to_fit();
        }
        if self.only_here.capacity() * size_of::<OnlyHere>() > LONG_MESSAGE_BYTES.max(4 * self.frames.len()) {
            self.only_here.shrink_to_fit();
        }
    }

    /// Forgets everything, taken or not. An idle connection keeps no buffer.
    pub fn forget(&mut self) {
        let (mut frames, mut only_here, mut splices) =
            (take(&mut self.frames), take(&mut self.only_here), take(&mut self.splices));
        self.taken = 0;
        if (1..=SPARE_BYTES).contains(&frames.capacity()) {
            frames.clear();
            only_here.clear();
            splices.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS {
                    spare.push((frames, only_here, splices));
                }
            });
        }
    }

    /// Hands over the messages that are kept here only and that the socket has not taken as a whole, the last one
    /// first.
    pub fn give_back(&mut self, mut to: impl FnMut(ClientId, Message<'_>)) {
        for OnlyHere { sender, offset, seq, end, length } in take(&mut self.only_here).into_iter().rev() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64) -> ClientId {
        ClientId::new(number).expect("an id")
    }

    /// A long message as it was read.
    fn read(letter: u8) -> ReadSlice {
        crate::read_buffer::fill(|buffer| {
            let bytes = &mut buffer[100..100 + LONG_MESSAGE_BYTES];
            bytes.fill(letter);
            #[expect(unsafe_code, reason = "only what reads lends")]
            // SAFETY: it is not written any more.
            unsafe { crate::read_buffer::share(bytes) }.expect("in the buffer")
        })
    }

    /// Three messages, of which the second is short, for a client that acknowledges nothing.
    fn outbox() -> (Outbox, [Vec<u8>; 3]) {
        let (mut outbox, messages) = (
            Outbox::default(),
            [vec![b'a'; LONG_MESSAGE_BYTES], b"b".to_vec(), vec![b'c'; LONG_MESSAGE_BYTES]],
        );
        for (json, number) in messages.iter().zip(1..) {
            let message = Message { offset: Offset(number), seq: Seq(number), json };
            outbox.relay_lent(client(7), message, || Some(read(json[0])));
        }
        (outbox, messages)
    }

    fn written_in_whole() -> Vec<u8> {
        let (mut outbox, _) = outbox();
        outbox.settle();
        outbox.untaken().to_vec()
    }

    #[test]
    fn what_is_written_from_where_it_was_read_is_the_same_wherever_the_socket_stops() {
        let whole = written_in_whole();
        let (mut copied, messages) = (Outbox::default(), outbox().1);
        for json in &messages {
            copied.relay_only_copy(client(7), Message { offset: Offset(1), seq: Seq(1), json });
        }
        assert!(whole == copied.untaken());
        for taken in (0..=whole.len()).step_by(61).chain([whole.len()]) {
            let (mut outbox, messages) = outbox();
            assert_eq!((outbox.is_spliced(), outbox.len()), (true, whole.len()));
            let mut written = Vec::new();
            outbox.write_spliced(
                |_, _| unreachable!("nothing is kept in a lane"),
                |pieces| {
                    written = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                    taken
                },
            );
            assert!(written == whole);
            assert_eq!((outbox.sent, outbox.is_drained()), (taken as u32, taken == whole.len()));
            assert!(*outbox.untaken() == whole[taken..]);
            assert_eq!(outbox.numbered().count(), messages.len());
            let mut back = Vec::new();
            outbox.give_back(|sender, message| {
                assert_eq!(sender, client(7));
                back.push((message.offset.0, message.json.to_vec()));
            });
            back.reverse();
            // Those of which the last byte was not taken.
            let ends = [1, 2, 3].map(|count| frames_of(&messages[..count]).len());
            let expected: Vec<_> = (1..)
                .zip(messages)
                .zip(ends)
                .filter(|(_, end)| *end > taken)
                .map(|(message, _)| message)
                .collect();
            assert!(back == expected, "{taken} of {}", whole.len());
        }
    }

    fn frames_of(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut frames = Vec::new();
        messages.iter().for_each(|json| encode::relay(client(7), None, json, &mut frames));
        frames
    }

    #[test]
    fn what_is_written_behind_comes_behind() {
        let whole = written_in_whole();
        let (mut outbox, _) = outbox();
        outbox.write(frame::ping);
        outbox.settle();
        assert!(*outbox.untaken() == [&whole, &[0x89, 0][..]].concat());
    }

    #[test]
    fn no_more_is_left_where_it_was_read_than_the_system_takes_at_once() {
        let json = vec![b'x'; LONG_MESSAGE_BYTES];
        let mut outbox = Outbox::default();
        for number in 1..=3 * MAX_SPLICES as u64 {
            let message = Message { offset: Offset(number), seq: Seq(0), json: &json };
            outbox.relay_lent(client(7), message, || Some(read(b'x')));
        }
        outbox.write_spliced(
            |_, _| unreachable!("nothing is kept in a lane"),
            |pieces| {
                assert_eq!(pieces.len(), 2 * MAX_SPLICES + 1);
                0
            },
        );
        let expected = frames_of(&vec![json; 3 * MAX_SPLICES]);
        assert!(*outbox.untaken() == expected);
    }
}
