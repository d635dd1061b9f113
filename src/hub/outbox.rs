//! What is to be written to one connection.

mod send_buffer;

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::take;
use std::task::{Poll, ready};

use smallvec::SmallVec;

use super::accepted::Accepted;
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::model::{ChunkPosition, LONG_MESSAGE_BYTES, Message, Notices};
use crate::protocol::encode::{self, MessageNumber, Notice};
use crate::read_buffer::ReadSlice;

use send_buffer::{MAX_SPLICES, Piece, SendBuffer};

/// Buffers that a thread keeps for the next connection that writes, and the bytes of the largest that it keeps.
const SPARE_BUFFERS: usize = 16;
const SPARE_BYTES: usize = 512 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<(SendBuffer, Vec<SoleCopy>)>> = const { RefCell::new(Vec::new()) };
}

/// The frames on their way to one socket, and the messages among them that go back to their lanes if they do not get there.
/// `maxWriteAhead` bounds it, plus one message; bytes that the socket does not take at once count against the total bound. An
/// idle connection keeps no buffer.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: SendBuffer,
    /// The messages that are kept nowhere else.
    sole_copies: Vec<SoleCopy>,
    /// Acceptances of the client's own messages. They are written with whatever is written next.
    accepted: Accepted,
    /// Whether some of them have waited since the sender's task looked last.
    pub is_overdue: bool,
}

// Every connection has one: each byte of it is a byte of an idle connection.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Outbox>() <= 112);

/// A message whose frame in the outbox is the only copy.
#[derive(Clone, Copy, Debug)]
struct SoleCopy {
    sender: ClientId,
    offset: Offset,
    session: SessionId,
    seq: Seq,
    /// Where its frame ends.
    end: u32,
    /// Bytes of its JSON string.
    length: u32,
}

/// Long messages that were appended in this turn, in the buffer that they were read into: they are better written from there
/// than from their lanes, which no processor cache holds.
#[derive(Debug, Default)]
pub(super) struct ReadSlices(SmallVec<[(ClientId, Offset, ReadSlice); 2]>);

impl ReadSlices {
    pub fn add(&mut self, recipient: ClientId, offset: Offset, slice: ReadSlice) {
        self.0.push((recipient, offset, slice));
    }

    /// Takes out the message with this offset in the recipient's mailbox.
    pub fn take(&mut self, recipient: ClientId, offset: Offset) -> Option<ReadSlice> {
        let at = self.0.iter().position(|(of, at, _)| (*of, *at) == (recipient, offset))?;
        Some(self.0.swap_remove(at).2)
    }
}

impl Outbox {
    /// Whether the socket has taken everything.
    pub fn is_written(&self) -> bool {
        self.buffer.is_written()
    }

    /// Returns the bytes of all frames since the outbox was last cleared.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was added since the outbox was last cleared.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The low bits of the number of bytes that the socket has ever taken. Only compared for change.
    pub fn bytes_written(&self) -> u32 {
        self.buffer.bytes_written
    }

    /// Lets `write` append frames.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.buffer.capacity() == 0 {
            let bytes_written = self.buffer.bytes_written;
            (self.buffer, self.sole_copies) = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
            self.buffer.bytes_written = bytes_written;
        }
        write(&mut self.buffer.frames);
        if self.buffer.is_empty() {
            self.clear();
        }
    }

    /// Adds an acceptance of the client's messages to `target` up to `seq`.
    pub fn accept(&mut self, target: ClientId, seq: Seq) {
        if self.accepted.add(target, seq) {
            self.write_accepted();
        }
    }

    /// Whether there are acceptances that are not among the frames yet.
    pub fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// Writes the acceptances.
    pub fn write_accepted(&mut self) {
        self.is_overdue = false;
        if self.has_accepted() {
            let mut accepted = take(&mut self.accepted);
            self.write(|frames| accepted.write(frames));
        }
    }

    /// Writes notices of expired and of delivered messages until there are `max` bytes. The numbers of the former begin above
    /// `era`: the client acts on each number once, in whichever life of the server it was told.
    pub(super) fn write_notices(&mut self, notices: &mut Notices, era: Offset, max: usize) {
        if notices.has_message_notices() {
            // What was delivered was accepted, and the client has to know that first.
            self.write_accepted();
        }
        while self.len() < max
            && let Some((number, expiry)) = notices.next_expired()
        {
            let (target, first, last) = (expiry.target, expiry.first, expiry.last);
            let number = era.0 + number;
            self.write(|frames| {
                // Expired messages were accepted, and the client has to know that first.
                encode::notice(&Notice::Accepted { target, seq: last }, frames);
                encode::notice(&Notice::Expired { target, first, last, number }, frames);
            });
        }
        while self.len() < max
            && let Some((target, seq)) = notices.next_delivered()
        {
            self.write(|frames| encode::notice(&Notice::Delivered { target, seq }, frames));
        }
    }

    /// Writes a message that its lane keeps until the recipient acknowledges it.
    pub fn relay(&mut self, sender: ClientId, number: MessageNumber, json: &[u8]) {
        self.write(|frames| encode::relay(sender, Some(number), json, frames));
    }

    /// The same, but a long message is not copied: [`Outbox::write_spliced`] takes it from its position in the lane, or from
    /// the buffer that it was read into.
    pub fn splice(
        &mut self,
        sender: ClientId,
        number: MessageNumber,
        position: ChunkPosition,
        json: &[u8],
        read_slice: Option<ReadSlice>,
    ) {
        if !self.may_splice(json) {
            return self.relay(sender, number, json);
        }
        let piece = read_slice.map_or(Piece::Lane(sender, position), Piece::ReadBuffer);
        self.insert(sender, Some(number), piece);
    }

    /// Writes a message for a recipient that does not acknowledge. From here on this is the only copy.
    pub fn relay_sole_copy(&mut self, sender: ClientId, message: Message<'_>) {
        self.write(|frames| encode::relay(sender, None, message.json, frames));
        self.add_sole_copy(sender, message);
    }

    /// The same, but a long message is not copied if it is still in the buffer that it was read into.
    pub fn relay_read_slice(
        &mut self,
        sender: ClientId,
        message: Message<'_>,
        read_slice: impl FnOnce() -> Option<ReadSlice>,
    ) {
        let Some(slice) = self.may_splice(message.json).then(read_slice).flatten() else {
            return self.relay_sole_copy(sender, message);
        };
        self.insert(sender, None, Piece::ReadBuffer(slice));
        self.add_sole_copy(sender, message);
    }

    fn may_splice(&self, json: &[u8]) -> bool {
        json.len() >= LONG_MESSAGE_BYTES && self.buffer.splices() < MAX_SPLICES
    }

    fn insert(&mut self, sender: ClientId, number: Option<MessageNumber>, piece: Piece) {
        let mut at = 0;
        self.write(|frames| {
            encode::relay_head(sender, number, piece.len(), frames);
            at = frames.len();
            encode::relay_tail(frames);
        });
        self.buffer.splice(at, piece);
    }

    fn add_sole_copy(&mut self, sender: ClientId, message: Message<'_>) {
        let Message { offset, session, seq, json } = message;
        let (end, length) = (self.len() as u32, json.len() as u32);
        self.sole_copies.push(SoleCopy { sender, offset, session, seq, end, length });
    }

    /// Whether some message among the frames is to be written from elsewhere.
    pub fn is_spliced(&self) -> bool {
        self.buffer.splices() > 0
    }

    /// Passes all pieces to `write` at once, and those that lie in lanes come from `json`. Copies what `write` does not take.
    pub fn write_spliced<'a>(
        &mut self,
        json: impl Fn(ClientId, ChunkPosition) -> &'a [u8],
        write: impl FnOnce(&[IoSlice<'_>]) -> usize,
    ) {
        self.buffer.write_spliced(json, write);
        if self.buffer.is_written() {
            // They ended behind bytes that were never copied here.
            let end = self.buffer.len() as u32;
            self.sole_copies.iter_mut().for_each(|copy| copy.end = copy.end.min(end));
        }
    }

    /// Copies the messages that are to be written from the buffer that they were read into. Called before anything but
    /// [`Outbox::write_spliced`] looks at what is to be written.
    pub fn copy_splices(&mut self) {
        if self.is_spliced() {
            self.write_spliced(
                |_, _| unreachable!("messages in lanes are written under the same lock"),
                |_| 0,
            );
        }
    }

    /// Passes the bytes that the socket has not taken to `write` until it has taken all or `write` is pending.
    ///
    /// # Errors
    /// Those of `write`, and [`io::ErrorKind::WriteZero`] when it takes nothing.
    pub fn write_to(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            match ready!(write(self.unwritten()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.advance(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the bytes that the socket has not taken.
    pub fn unwritten(&self) -> &[u8] {
        self.buffer.unwritten()
    }

    /// Notes that the socket has taken more bytes.
    pub fn advance(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
    }

    /// Returns the messages of which this is the only copy, and which were not written as a whole.
    pub fn unwritten_copies(&self) -> impl Iterator<Item = (ClientId, Message<'_>)> {
        let unwritten = self.sole_copies.iter().filter(|copy| copy.end as usize > self.buffer.written());
        unwritten.map(|copy| {
            let behind = copy.end as usize - encode::TAIL_LENGTH;
            let json = &self.buffer.frames[behind - copy.length as usize..behind];
            (copy.sender, Message { offset: copy.offset, session: copy.session, seq: copy.seq, json })
        })
    }

    /// Returns sender, offset, session and sequence number of the messages of which this was the only copy, and of which the
    /// socket has taken the whole frame.
    pub fn written_copies(&self) -> impl Iterator<Item = (ClientId, Offset, SessionId, Seq)> {
        let written = self.sole_copies.iter().take_while(|copy| copy.end as usize <= self.buffer.written());
        written.map(|copy| (copy.sender, copy.offset, copy.session, copy.seq))
    }

    /// Gives memory back that the content does not need: it may stay for long, and only its bytes are counted.
    pub fn shrink(&mut self) {
        let enough = LONG_MESSAGE_BYTES.max(4 * self.buffer.frames.len());
        self.buffer.shrink(enough);
        if self.sole_copies.capacity() * size_of::<SoleCopy>() > enough {
            self.sole_copies.shrink_to_fit();
        }
    }

    /// Forgets everything, written or not.
    pub fn clear(&mut self) {
        let bytes_written = self.buffer.bytes_written;
        let (mut buffer, mut sole_copies) = (take(&mut self.buffer), take(&mut self.sole_copies));
        self.buffer.bytes_written = bytes_written;
        if (1..=SPARE_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            sole_copies.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS {
                    spare.push((buffer, sole_copies));
                }
            });
        }
    }

    /// Passes the messages of which this is the only copy, and which were not written as a whole, to `to`, the last one
    /// first.
    pub fn return_unwritten(&mut self, mut to: impl FnMut(ClientId, Message<'_>)) {
        for copy in take(&mut self.sole_copies).into_iter().rev() {
            let SoleCopy { sender, offset, session, seq, end, length } = copy;
            let (end, length) = (end as usize, length as usize);
            if end <= self.buffer.written() {
                break;
            }
            let behind = end - encode::TAIL_LENGTH;
            let json = &self.buffer.frames[behind - length..behind];
            to(sender, Message { offset, session, seq, json });
        }
    }

    /// Drops the frames of which the socket has not taken a byte.
    pub fn drop_unwritten_frames(&mut self) {
        self.buffer.drop_unwritten_frames();
        self.sole_copies.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame;

    fn client(number: u64) -> ClientId {
        ClientId::new(number).expect("an id")
    }

    /// A long message in the read buffer.
    fn read(letter: u8) -> ReadSlice {
        crate::read_buffer::fill(|buffer| {
            let bytes = &mut buffer[100..100 + LONG_MESSAGE_BYTES];
            bytes.fill(letter);
            #[expect(unsafe_code, reason = "it is what is tested")]
            // SAFETY: it is not written to again.
            unsafe { crate::read_buffer::share(bytes) }.expect("in the buffer")
        })
    }

    /// An outbox with a long, a short and a long message for a plain client.
    fn long_short_long() -> (Outbox, [Vec<u8>; 3]) {
        let (mut outbox, messages) = (
            Outbox::default(),
            [vec![b'a'; LONG_MESSAGE_BYTES], b"b".to_vec(), vec![b'c'; LONG_MESSAGE_BYTES]],
        );
        for (json, number) in messages.iter().zip(1..) {
            let message =
                Message { offset: Offset(number), session: SessionId::default(), seq: Seq(number), json };
            outbox.relay_read_slice(client(7), message, || Some(read(json[0])));
        }
        (outbox, messages)
    }

    fn all_bytes() -> Vec<u8> {
        let (mut outbox, _) = long_short_long();
        outbox.copy_splices();
        outbox.unwritten().to_vec()
    }

    #[test]
    fn splices_are_written_whole_wherever_the_socket_stops() {
        let whole = all_bytes();
        let (mut copied, messages) = (Outbox::default(), long_short_long().1);
        for json in &messages {
            let message = Message { offset: Offset(1), session: SessionId::default(), seq: Seq(1), json };
            copied.relay_sole_copy(client(7), message);
        }
        assert!(whole == copied.unwritten());
        for taken in (0..=whole.len()).step_by(61).chain([whole.len()]) {
            let (mut outbox, messages) = long_short_long();
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
            assert_eq!((outbox.bytes_written(), outbox.is_written()), (taken as u32, taken == whole.len()));
            assert!(*outbox.unwritten() == whole[taken..]);
            let ends = [1, 2, 3].map(|count| frames_of(&messages[..count]).len());
            let is_written = |end: &&usize| **end <= taken;
            assert_eq!(outbox.written_copies().count(), ends.iter().filter(is_written).count());
            let mut back = Vec::new();
            outbox.return_unwritten(|sender, message| {
                assert_eq!(sender, client(7));
                back.push((message.offset.0, message.json.to_vec()));
            });
            back.reverse();
            // Those that were not written to their last byte.
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
    fn frames_behind_splices_are_written_behind_them() {
        let whole = all_bytes();
        let (mut outbox, _) = long_short_long();
        outbox.write(frame::ping);
        outbox.copy_splices();
        assert!(*outbox.unwritten() == [&whole, &[0x89, 0][..]].concat());
    }

    #[test]
    fn splices_at_most_as_many_messages_as_one_write_takes() {
        let json = vec![b'x'; LONG_MESSAGE_BYTES];
        let mut outbox = Outbox::default();
        for number in 1..=3 * MAX_SPLICES as u64 {
            let message =
                Message { offset: Offset(number), session: SessionId::default(), seq: Seq(0), json: &json };
            outbox.relay_read_slice(client(7), message, || Some(read(b'x')));
        }
        outbox.write_spliced(
            |_, _| unreachable!("nothing is kept in a lane"),
            |pieces| {
                assert_eq!(pieces.len(), 2 * MAX_SPLICES + 1);
                0
            },
        );
        let expected = frames_of(&vec![json; 3 * MAX_SPLICES]);
        assert!(*outbox.unwritten() == expected);
    }
}
