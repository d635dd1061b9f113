//! The fast path of decoding: relay and `received` frames as `JSON.stringify` writes them, read in one pass without a JSON
//! parser. A text that is written in another way is left to the JSON reader.

use multiversion::multiversion;

use super::client_frame::{Generation, ReceivedFrame, RelayFrame};
use crate::ids::{ClientId, Offset, Seq};

/// Reads a relay frame that is written without white space, with its members in the usual order and no others. `None` does
/// not mean that the text is invalid: the JSON reader decides.
pub fn relay(text: &str, generation: Generation) -> Option<RelayFrame<'_>> {
    let rest = text.strip_prefix("{\"relay\":{\"targetId\":")?;
    let (target, rest) = integer(rest)?;
    let rest = rest.strip_prefix(",\"message\":")?;
    let (message, rest) = rest.split_at(string_end(rest)?);
    let (seq, first, rest) = match generation {
        Generation::Plain => (None, false, rest),
        Generation::Reliable => {
            let (seq, rest) = integer(rest.strip_prefix(",\"seq\":")?)?;
            let rest_if_first = rest.strip_prefix(",\"first\":true");
            (Some(Seq(seq)), rest_if_first.is_some(), rest_if_first.unwrap_or(rest))
        }
    };
    let is_whole = rest == "}}" && seq != Some(Seq(0));
    is_whole.then_some(RelayFrame { target_id: ClientId::new(target)?, message, seq, first })
}

/// Reads a `received` frame that is written without white space, with its members in the usual order. `None` means the same
/// as for [`relay`].
pub fn received(text: &str) -> Option<ReceivedFrame> {
    let rest = text.strip_prefix("{\"received\":{\"senderId\":")?;
    let (sender, rest) = integer(rest)?;
    let (offset, rest) = integer(rest.strip_prefix(",\"offset\":")?)?;
    let frame = ReceivedFrame { sender_id: ClientId::new(sender)?, offset: Offset(offset) };
    (rest == "}}").then_some(frame)
}

/// Reads an integer of at most 15 digits. Returns it with the text after it.
fn integer(text: &str) -> Option<(u64, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    let is_plain = (1..=15).contains(&length) && (length == 1 || !digits.starts_with('0'));
    if is_plain { digits.parse().ok().map(|number| (number, rest)) } else { None }
}

/// Returns the length of the JSON string that `text` begins with, quotes included.
fn string_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1 + plain_run(&bytes[1..]);
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape_length(&bytes[at + 1..])? + 1,
            // A control character is not allowed in JSON.
            _ => return None,
        }
        // After one escape another one is likely to be near.
        let near = &bytes[at..bytes.len().min(at + BLOCK)];
        let run = short_run(near);
        at += run;
        if run == near.len() {
            at += plain_run(&bytes[at..]);
        }
    }
}

/// Bytes that are checked without a branch in between, in a long text and in the rest of it.
const LARGE_BLOCK: usize = 512;
const BLOCK: usize = 64;

/// Returns how many bytes from the first on are plain: neither quotes, backslashes nor control characters. Blocks without a
/// branch inside compile to vector instructions.
#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
fn plain_run(bytes: &[u8]) -> usize {
    let start = plain_blocks::<LARGE_BLOCK>(bytes);
    let start = start + plain_blocks::<BLOCK>(&bytes[start..]);
    start + short_run(&bytes[start..])
}

/// Returns the bytes of the leading blocks that are entirely plain.
#[inline]
fn plain_blocks<const SIZE: usize>(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<SIZE>();
    let is_plain =
        |block: &&[u8; SIZE]| !block.iter().fold(false, |special, byte| special | is_special(*byte));
    blocks.iter().take_while(is_plain).count() * SIZE
}

/// Does the same as [`plain_run`], a word at a time, for few bytes or if a special one is near.
#[inline]
fn short_run(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + tail.iter().take_while(|byte| !is_special(**byte)).count()
}

/// Returns whether a byte does not stand for itself in a JSON string.
fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Sets the highest bit of the first special byte of `word`, counted from the lowest, and perhaps those of later bytes.
/// Returns 0 if all bytes are plain.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * ONES;
    // Subtracting sets the highest bit of a byte below `bound`, and borrows from the bytes after it only then.
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) & HIGHEST
}

/// Returns the length of the escape sequence after a backslash, or `None` if it is invalid.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(1),
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_run_ends_at_the_first_special_byte() {
        let check = |length: usize, at: usize, byte: u8| {
            let mut bytes = vec![b'x'; length];
            bytes.extend([byte, 0, b'"', byte]);
            bytes.swap(at, length);
            let expected = if is_special(byte) { at } else { length + 1 };
            assert_eq!(plain_run(&bytes), expected, "{byte} at {at} of {length}");
        };
        for length in 0..150 {
            (0..=length).for_each(|at| (0..=u8::MAX).for_each(|byte| check(length, at, byte)));
        }
        for length in [LARGE_BLOCK - 4, LARGE_BLOCK, LARGE_BLOCK + 1, 2 * LARGE_BLOCK + BLOCK + 9] {
            (0..=length).for_each(|at| {
                [0x1F, b' ', b'"', b'\\', 0xFF].iter().for_each(|byte| check(length, at, *byte))
            });
        }
    }

    #[test]
    fn reads_frames_as_json_stringify_writes_them() {
        let read = received(r#"{"received":{"senderId":12,"offset":7}}"#).expect("an acknowledgement");
        assert_eq!((read.sender_id.get(), read.offset), (12, Offset(7)));
        for other in
            [r#"{"received":{"offset":7,"senderId":12}}"#, r#"{"received":{"senderId":12,"offset":07}}"#]
        {
            assert_eq!(received(other), None);
        }
        for (message, generation, tail) in [
            ("", Generation::Plain, ""),
            (&*"x".repeat(1000), Generation::Plain, ""),
            (r#"\"\\\u2028 ü\ud800"#, Generation::Plain, ""),
            ("y", Generation::Reliable, r#","seq":7"#),
            (r#"\n"#, Generation::Reliable, r#","seq":123456789012345,"first":true"#),
        ] {
            let text = format!(r#"{{"relay":{{"targetId":12,"message":"{message}"{tail}}}}}"#);
            let frame = relay(&text, generation).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(frame.message, format!("\"{message}\""));
            assert_eq!((frame.target_id.get(), frame.first), (12, tail.contains("first")));
        }
    }
}
