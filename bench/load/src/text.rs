//! Frames, built once for each client and then only numbered, so that sending and checking cost next to nothing.

use crate::plan::Dialect;

/// Hex digits of the number at the beginning of every message.
pub const DIGITS: usize = 16;

const FIN_TEXT: u8 = 0x81;
const PONG: u8 = 0x8A;
const MASKED: u8 = 0x80;

/// A frame from the server.
pub struct Frame {
    pub opcode: u8,
    pub start: usize,
    pub end: usize,
}

/// Parses the frame at the beginning of `input`, if it is complete.
pub fn parse(input: &[u8]) -> Option<Frame> {
    let &[first, second, ref rest @ ..] = input else { return None };
    let (length, header) = match (second & 0x7F, rest) {
        (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 4),
        (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10),
        (126 | 127, _) => return None,
        (short, _) => (u64::from(short), 2),
    };
    let start = header + if second & MASKED == 0 { 0 } else { 4 };
    let end = start + usize::try_from(length).ok()?;
    (input.len() >= end).then_some(Frame { opcode: first, start, end })
}

/// Appends a masked text frame.
pub fn write(text: &str, mask: [u8; 4], out: &mut Vec<u8>) {
    write_frame(FIN_TEXT, text.as_bytes(), mask, out);
}

/// Appends a pong frame.
pub fn write_pong(payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    write_frame(PONG, payload, mask, out);
}

fn write_frame(first: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        length @ 0..=125 => out.push(MASKED | length as u8),
        length @ 126..=0xFFFF => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(masked(payload, mask, 0));
}

fn masked(bytes: &[u8], mask: [u8; 4], from: usize) -> impl Iterator<Item = u8> {
    bytes.iter().zip(mask.into_iter().cycle().skip(from % 4)).map(|(byte, mask)| byte ^ mask)
}

/// Returns the mask of a client, which is not zero and differs from that of adjacent ids.
pub fn mask_of(client: usize) -> [u8; 4] {
    ((client as u32).wrapping_mul(0x9E37_79B9) ^ 0x37FA_213D | 1).to_be_bytes()
}

/// Returns what follows the number in a message of `size` bytes.
fn filler(size: usize) -> Vec<u8> {
    (b'a'..=b'z').chain(b'A'..=b'Z').chain(*b" .,:=-").cycle().take(size.saturating_sub(DIGITS)).collect()
}

fn hex(number: u64) -> [u8; DIGITS] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (4 * (DIGITS - 1 - place)) & 0xF) as usize])
}

/// A client's messages to its partners, as frames.
pub struct Outgoing {
    mask: [u8; 4],
    dialect: Dialect,
    to: usize,
    before: String,
    size: usize,
    after: &'static str,
    /// Whether frames also have their number as a member, with generation 2.
    is_numbered: bool,
    /// The frame for numbers of a certain length, and the positions of its text, message and number.
    frame: Vec<u8>,
    places: usize,
    text_at: usize,
    message_at: usize,
    number_at: usize,
}

impl Outgoing {
    pub fn new(from: usize, dialect: Dialect, is_numbered: bool, size: usize) -> Self {
        let after = if dialect == Dialect::SocketIo { "}]" } else { "}}" };
        let (mask, to, before, frame) = (mask_of(from), from, String::new(), Vec::new());
        let (places, text_at, message_at, number_at) = (0, 0, 0, 0);
        Self {
            mask,
            dialect,
            to,
            before,
            size,
            after,
            is_numbered,
            frame,
            places,
            text_at,
            message_at,
            number_at,
        }
    }

    /// Appends the frame of message `number`, counted from 1, to client `to`.
    pub fn write(&mut self, to: usize, number: u64, out: &mut Vec<u8>) {
        let places = if self.is_numbered { number.ilog10() as usize + 1 } else { 1 };
        if places != self.places || to != self.to {
            self.build(to, places);
        }
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        self.patch(frame, self.message_at, &hex(number));
        if self.is_numbered {
            let mut rest = number;
            let mut digits = [0; 20];
            for digit in digits[..places].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            self.patch(frame, self.number_at, &digits[..places]);
        }
    }

    fn patch(&self, frame: &mut [u8], at: usize, bytes: &[u8]) {
        let masked = masked(bytes, self.mask, at - self.text_at);
        frame[at..].iter_mut().zip(masked).for_each(|(place, byte)| *place = byte);
    }

    /// Returns the text of message `number` to client `to`, as the first after the server refused some. Only with generation 2.
    pub fn first(&self, to: usize, number: u64) -> String {
        let message = [&hex(number)[..], &filler(self.size)].concat();
        let message = String::from_utf8(message).expect("hex and ASCII");
        format!(r#"{{"relay":{{"targetId":{to},"message":"{message}","seq":{number},"first":true}}}}"#)
    }

    fn build(&mut self, to: usize, places: usize) {
        self.before = match self.dialect {
            Dialect::Relay | Dialect::Verbatim => format!(r#"{{"relay":{{"targetId":{to},"message":""#),
            Dialect::SocketIo => format!(r#"42["relay",{{"targetId":{to},"message":""#),
        };
        self.to = to;
        let message = [&hex(0)[..], &filler(self.size)].concat();
        let message = String::from_utf8(message).expect("hex and ASCII");
        let number =
            if self.is_numbered { format!(r#","seq":{}"#, "0".repeat(places)) } else { String::new() };
        let text = format!(r#"{}{message}"{number}{}"#, self.before, self.after);
        self.frame.clear();
        write(&text, self.mask, &mut self.frame);
        self.places = places;
        self.text_at = self.frame.len() - text.len();
        self.message_at = self.text_at + self.before.len();
        self.number_at = self.frame.len() - self.after.len() - places;
    }
}

/// Returns the sender of the relayed message in `payload`, if it is one as this relay writes it.
pub fn sender_of(payload: &[u8]) -> Option<usize> {
    let rest = payload.strip_prefix(RELAYED)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// The longest member between sender and message.
const MEMBER: usize = 40;

const RELAYED: &[u8] = br#"{"relay":{"senderId":"#;

/// The expected messages of a client's partner.
pub struct Incoming {
    from: usize,
    sender: Vec<u8>,
    message: Vec<u8>,
    filler: Vec<u8>,
    after: Vec<u8>,
    mask: [u8; 4],
}

impl Incoming {
    pub fn new(to: usize, dialect: Dialect, size: usize) -> Self {
        let from = to ^ 1;
        let (sender, after) = match dialect {
            Dialect::Relay => (format!(r#"{{"relay":{{"senderId":{from}"#), "}}"),
            Dialect::Verbatim => (format!(r#"{{"relay":{{"targetId":{to}"#), "}}"),
            Dialect::SocketIo => (format!(r#"42["relay",{{"senderId":{from}"#), "}]"),
        };
        let mask = if dialect == Dialect::Verbatim { mask_of(from) } else { [0; 4] };
        let mut length = 0;
        let mut next = |part: &[u8]| {
            let part_masked = masked(part, mask, length).collect();
            length += part.len();
            part_masked
        };
        let (sender, message) = (next(sender.as_bytes()), next(br#","message":""#));
        next(&[0; DIGITS]);
        Self {
            from,
            sender,
            message,
            filler: next(&filler(size)),
            after: next(format!("\"{after}").as_bytes()),
            mask,
        }
    }

    /// Expects the next message from another partner. Only for unmasked frames.
    pub fn expect_from(&mut self, from: usize) {
        if from != self.from {
            self.from = from;
            self.sender.truncate(RELAYED.len());
            self.sender.extend_from_slice(from.to_string().as_bytes());
        }
    }

    /// Returns the members between sender and message (empty if there are none) if `payload` is exactly message
    /// `number`.
    pub fn check<'a>(&self, payload: &'a [u8], number: u64) -> Option<&'a [u8]> {
        let members = payload.strip_prefix(&self.sender[..])?;
        let (mut length, mut rest) = (0, members);
        while !rest.starts_with(&self.message[..]) {
            // Each member begins with a comma, and there is none within.
            length += 1 + rest.get(1..)?.iter().take(MEMBER).position(|byte| *byte == b',')?;
            rest = &members[length..];
        }
        let (members, rest) = (&members[..length], &rest[self.message.len()..]);
        let at = payload.len() - rest.len();
        let (digits, rest) = rest.split_at_checked(DIGITS)?;
        let wanted = hex(number);
        let is_next = (0..DIGITS).all(|place| digits[place] ^ self.mask[(at + place) % 4] == wanted[place]);
        let rest = rest.strip_prefix(&self.filler[..])?;
        (is_next && rest == self.after).then_some(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(from: usize, dialect: Dialect, is_numbered: bool, number: u64) -> Vec<u8> {
        let mut out = b"before".to_vec();
        Outgoing::new(from, dialect, is_numbered, 200).write(from ^ 1, number, &mut out);
        out.split_off(6)
    }

    #[test]
    fn sends_a_masked_frame_with_its_number() {
        let frame = sent(7, Dialect::Relay, true, 1234);
        let Frame { opcode, start, end } = parse(&frame).expect("complete");
        assert_eq!((opcode, end), (FIN_TEXT, frame.len()));
        let text: Vec<u8> = masked(&frame[start..], mask_of(7), 0).collect();
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with(r#"{"relay":{"targetId":6,"message":"00000000000004d2ab"#), "{text}");
        assert!(text.ends_with(r#"","seq":1234}}"#), "{text}");
    }

    #[test]
    fn accepts_only_the_next_message() {
        let frame = sent(6, Dialect::Verbatim, false, 17);
        let payload = &frame[parse(&frame).expect("complete").start..];
        let incoming = Incoming::new(7, Dialect::Verbatim, 200);
        assert_eq!(incoming.check(payload, 17), Some(&b""[..]));
        assert_eq!(incoming.check(payload, 16), None);
        assert_eq!(incoming.check(payload, 18), None);
        assert_eq!(Incoming::new(7, Dialect::Verbatim, 201).check(payload, 17), None);
        let mut bent = payload.to_vec();
        bent[150] ^= 1;
        assert_eq!(incoming.check(&bent, 17), None);
    }

    #[test]
    fn sends_to_several_partners() {
        let mut outgoing = Outgoing::new(7, Dialect::Relay, true, 20);
        for (to, number) in [(6, 9), (6, 10), (5, 10), (1000, 10)] {
            let mut frame = Vec::new();
            outgoing.write(to, number, &mut frame);
            let text = masked(&frame[parse(&frame).expect("complete").start..], mask_of(7), 0).collect();
            let text = String::from_utf8(text).expect("text");
            let wanted =
                format!(r#"{{"relay":{{"targetId":{to},"message":"{number:016x}abcd","seq":{number}}}}}"#);
            assert_eq!(text, wanted);
        }
        let mut incoming = Incoming::new(7, Dialect::Relay, 16);
        for from in [6, 1000, 5] {
            let text = format!(r#"{{"relay":{{"senderId":{from},"message":"{:016x}"}}}}"#, 3);
            assert_eq!(sender_of(text.as_bytes()), Some(from));
            assert_eq!(incoming.check(text.as_bytes(), 3).is_some(), from == 6);
            incoming.expect_from(from);
            assert_eq!(incoming.check(text.as_bytes(), 3), Some(&b""[..]));
        }
    }

    #[test]
    fn returns_what_names_a_message() {
        for members in
            ["", r#","offset":9"#, r#","offset":9,"seq":3"#, r#","offset":9,"seq":3,"session":"00ff""#]
        {
            let text = format!(r#"{{"relay":{{"senderId":0{members},"message":"{:016x}"}}}}"#, 3);
            let found = Incoming::new(1, Dialect::Relay, 16).check(text.as_bytes(), 3);
            assert_eq!(found, Some(members.as_bytes()));
        }
    }

    #[test]
    fn sends_a_message_again_as_the_first() {
        let text = Outgoing::new(7, Dialect::Relay, true, 18).first(6, 12);
        assert_eq!(text, r#"{"relay":{"targetId":6,"message":"000000000000000cab","seq":12,"first":true}}"#);
    }
}
