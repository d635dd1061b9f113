//! Tests of the queue, also against a plain list.

use proptest::prelude::*;

use super::*;

fn numbered(number: u64, json: &[u8]) -> Message<'_> {
    Message { offset: Offset(number), session: SessionId::from_u64(1), seq: Seq(number), json }
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    PutBack(usize),
    Read,
    Pop,
    Rewind,
    Forget(u64),
    Shrink,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 1..2000_usize, 1 => 16_000..70_000_usize];
    prop_oneof![
        8 => size.clone().prop_map(Step::Push),
        1 => size.prop_map(Step::PutBack),
        5 => Just(Step::Read),
        6 => Just(Step::Pop),
        1 => Just(Step::Rewind),
        1 => (0..40_u64).prop_map(Step::Forget),
        2 => Just(Step::Shrink),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_list_with_a_read_position(steps in prop::collection::vec(step(), 0..200)) {
        let (mut queue, mut model, mut read) = (Queue::default(), VecDeque::new(), 0);
        for (number, step) in (1..).zip(&steps) {
            let message = |size: usize| (Offset(number), Seq(number / 2), vec![number as u8; size]);
            let view = |message: &(Offset, Seq, Vec<u8>)| (message.0, message.1, message.2.clone());
            let seen = |message: Message<'_>| (message.offset, message.seq, message.json.to_vec());
            match *step {
                Step::Push(size) => {
                    let (offset, seq, json) = message(size);
                    queue.push_back(Message { offset, session: SessionId::default(), seq, json: &json });
                    model.push_back((offset, seq, json));
                }
                Step::PutBack(size) => {
                    let (offset, seq, json) = message(size);
                    queue.rewind();
                    queue.push_front(Message { offset, session: SessionId::default(), seq, json: &json });
                    model.push_front((offset, seq, json));
                    read = 0;
                }
                Step::Read => {
                    let position = queue.read().map(|(position, message)| (position, seen(message)));
                    let json = position.as_ref().map(|(position, _)| queue.json(*position));
                    prop_assert_eq!(json, model.get(read).map(|message| &message.2[..]));
                    prop_assert_eq!(position.map(|(_, message)| message), model.get(read).map(view));
                    read = (read + 1).min(model.len());
                }
                Step::Pop => {
                    prop_assert_eq!(queue.front().map(seen), model.pop_front());
                    queue.pop_front();
                    read = read.saturating_sub(1);
                }
                Step::Rewind => {
                    queue.rewind();
                    read = 0;
                }
                Step::Forget(back) => {
                    let upto = Offset(number.saturating_sub(back));
                    let mut forgotten = Vec::new();
                    queue.forget_unread(upto, |message, _| forgotten.push(seen(message)));
                    let kept = model.iter().skip(read).position(|message| message.0 > upto);
                    let dropped = model.drain(read..kept.map_or(model.len(), |kept| read + kept));
                    prop_assert_eq!(forgotten, dropped.collect::<Vec<_>>());
                }
                Step::Shrink => {
                    queue.shrink();
                    prop_assert!(queue.chunk_bytes <= MAX_CHUNK_BYTES_PER_COST * queue.cost(), "{} of {}", queue.chunk_bytes, queue.cost());
                }
            }
            prop_assert_eq!(queue.unread().map(seen), model.get(read).map(view));
            let size = |messages: &mut dyn Iterator<Item = &(Offset, Seq, Vec<u8>)>| {
                messages.map(|message| message.2.len()).sum::<usize>()
            };
            prop_assert_eq!(queue.chunk_bytes, queue.chunks.iter().map(Chunk::size).sum::<usize>());
            prop_assert_eq!((queue.len(), queue.bytes()), (model.len(), size(&mut model.iter())));
            prop_assert_eq!((queue.read_len(), queue.read_bytes()), (read, size(&mut model.iter().take(read))));
        }
    }
}

#[test]
fn shrinks_with_the_number_of_messages() {
    let room = |queue: &Queue| (queue.chunk_bytes, queue.heads.capacity(), queue.chunks.capacity());
    for read in [false, true] {
        let mut queue = Queue::default();
        let json = |number: u64| number.to_string().into_bytes();
        for number in 1..=10_000 {
            queue.push_back(numbered(number, &json(number)));
        }
        while read && queue.read().is_some() {}
        for left in (0..10_000).rev() {
            queue.pop_front();
            queue.shrink();
            let ((chunk_bytes, heads, chunks), few) = (room(&queue), |count: usize| 4 * count + 3);
            assert!(
                chunk_bytes <= MAX_CHUNK_BYTES_PER_COST * queue.cost(),
                "{chunk_bytes} bytes for {left} messages"
            );
            assert!(heads <= MIN_CAPACITY.max(few(queue.len())), "{heads} slots for {left} messages");
            assert!(chunks <= MIN_CHUNK_CAPACITY.max(few(queue.chunks.len())), "{chunks} slots for chunks");
            let last = queue.front().map(|first| (first.offset, first.json.to_vec()));
            assert_eq!(last, (left > 0).then(|| (Offset(10_001 - left), json(10_001 - left))));
        }
        assert_eq!(room(&queue), (0, 0, 0));
    }
}

#[test]
fn stays_within_bounds_while_it_grows() {
    let (mut queue, json) = (Queue::default(), [b'x'; 100]);
    for number in 1..=5000 {
        queue.push_back(numbered(number, &json));
        assert!(
            queue.chunk_bytes <= MAX_CHUNK_BYTES_PER_COST * queue.cost(),
            "{} bytes for {number} messages",
            queue.chunk_bytes
        );
    }
}

#[test]
fn overhead_per_message_is_small() {
    let mut queue = Queue::default();
    let json = [b'x'; 514];
    for _ in 0..5000 {
        queue.push_back(numbered(1, &json));
    }
    let chunks: usize = queue.chunks.iter().map(Chunk::size).sum();
    let total = chunks + queue.heads.capacity() * size_of::<Head>();
    assert!(total < 5000 * (512 + Limits::MESSAGE_OVERHEAD), "{total}");
}
