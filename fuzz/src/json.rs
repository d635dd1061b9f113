//! Decodes the text of a client frame with the codec and with a plain JSON parser, and compares the results.

use websocket_relay::protocol::{ClientFrame, Generation, decode};
use websocket_relay::{Limits, Offence, Token};

/// The characters of an unrecognized frame that its error quotes.
const EXCERPT: usize = 200;

/// Runs the target. The input is the text, up to the first invalid UTF-8.
pub fn run(input: &[u8]) {
    let text = match std::str::from_utf8(input) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&input[..error.valid_up_to()]).expect("valid up to there"),
    };
    let value = parse(text);
    for generation in [Generation::Plain, Generation::Reliable] {
        match (decode(text, generation), &value) {
            (Err(Offence::InvalidJson), None) => {}
            (Err(Offence::Unrecognized { excerpt }), Some(value)) => {
                assert_eq!(recognize(value, generation), None, "{generation:?}");
                assert!(excerpt.chars().count() <= EXCERPT, "{excerpt}");
                assert!(!has_token(&excerpt), "{excerpt}");
            }
            (Ok(frame), Some(value)) => {
                assert_eq!(Some(describe(&frame)), recognize(value, generation), "{generation:?}");
            }
            (found, _) => panic!("{found:?} of {value:?}"),
        }
    }
}

/// Describes a frame completely.
fn describe(frame: &ClientFrame<'_>) -> String {
    match frame {
        ClientFrame::Authentication(frame) => {
            format!("authentication {} {:?} {:?}", frame.client_id, frame.token, frame.reliable)
        }
        frame => format!("{frame:?}"),
    }
}

/// Describes the frame that this value should decode to, as [`describe`] does.
fn recognize(value: &Value<'_>, generation: Generation) -> Option<String> {
    let reliable = generation == Generation::Reliable;
    authentication(value)
        .or_else(|| relay(value, reliable))
        .or_else(|| received(value).filter(|_| reliable))
        .or_else(|| value.member("ping").filter(|_| reliable)?.members().map(|_| "Ping".to_owned()))
        .or_else(|| value.member("pong").filter(|_| reliable)?.members().map(|_| "Pong".to_owned()))
}

fn authentication(value: &Value<'_>) -> Option<String> {
    let frame = value.member("authentication")?;
    let id = frame.member("clientId")?.integer()?;
    let Kind::String(token) = &frame.member("token")?.kind else { return None };
    let reliable = match frame.member("version").and_then(Value::integer) {
        Some(2) => {
            let session = frame.member("session")?.string()?;
            if session.len() != 16 || !session.chars().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            let session = u64::from_str_radix(session, 16).expect("16 digits");
            let connection = frame.member("connection").and_then(Value::integer).unwrap_or(0);
            let epoch = frame.member("epoch").and_then(Value::string);
            let [receipts, presence] = ["receipts", "presence"].map(|name| frame.is_true(name));
            Some(format!(
                "Reliable {{ session: SessionId({session}), connection: {connection}, epoch: {epoch:?}, \
                 receipts: {receipts}, presence: {presence} }}"
            ))
        }
        _ => None,
    };
    let reliable = reliable.map_or("None".to_owned(), |reliable| format!("Some({reliable})"));
    Some(format!("authentication {id} {:?} {reliable}", token.as_deref().unwrap_or_default()))
}

fn relay(value: &Value<'_>, reliable: bool) -> Option<String> {
    let frame = value.member("relay")?;
    let (target, message) = (frame.member("targetId")?.integer()?, frame.member("message")?);
    let Kind::String(_) = message.kind else { return None };
    let seq = match reliable {
        true => Some(frame.member("seq")?.integer().filter(|seq| *seq > 0)?),
        false => None,
    };
    let seq = seq.map_or("None".to_owned(), |seq| format!("Some(Seq({seq}))"));
    let first = frame.is_true("first");
    let raw = message.raw;
    Some(format!(
        "Relay(RelayFrame {{ target_id: ClientId({target}), message: {raw:?}, seq: {seq}, first: {first} }})"
    ))
}

fn received(value: &Value<'_>) -> Option<String> {
    let frame = value.member("received")?;
    let (sender, offset) = (frame.member("senderId")?.integer()?, frame.member("offset")?.integer()?);
    Some(format!("Received(ReceivedFrame {{ sender_id: ClientId({sender}), offset: Offset({offset}) }})"))
}

/// Returns whether a text has as many consecutive hex digits as a token, escaped or not.
fn has_token(excerpt: &str) -> bool {
    let (mut run, mut rest) = (0, excerpt);
    while let Some(first) = rest.chars().next() {
        let escape = rest.strip_prefix("\\u00").and_then(|digits| digits.get(..2));
        let escaped = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()).map(char::from);
        let (character, size) = match escaped {
            Some(character) => (character, 6),
            // The character after a backslash is neither a digit nor the start of another escape.
            None if first == '\\' => ('\\', 1 + rest[1..].chars().next().map_or(0, char::len_utf8)),
            None => (first, first.len_utf8()),
        };
        run = if character.is_ascii_hexdigit() { run + 1 } else { 0 };
        if run == Token::DIGITS {
            return true;
        }
        rest = &rest[size..];
    }
    false
}

/// A JSON value and its text.
#[derive(Debug)]
pub struct Value<'a> {
    raw: &'a str,
    kind: Kind<'a>,
}

/// The kinds of values that a frame can have.
#[derive(Debug)]
pub enum Kind<'a> {
    /// Names and values. A name is `None` if it is not valid Unicode.
    Object(Vec<(Option<String>, Value<'a>)>),
    /// A string; `None` if it is not valid Unicode.
    String(Option<String>),
    Number(f64),
    Other,
}

impl<'a> Value<'a> {
    fn members(&self) -> Option<&[(Option<String>, Value<'a>)]> {
        if let Kind::Object(members) = &self.kind { Some(members) } else { None }
    }

    /// Returns the last member with this name.
    pub fn member(&self, name: &str) -> Option<&Self> {
        let mut members = self.members()?.iter().rev();
        members.find(|(own, _)| own.as_deref() == Some(name)).map(|(_, value)| value)
    }

    /// Returns the integer value of a member.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.member(name)?.integer()
    }

    fn integer(&self) -> Option<u64> {
        let Kind::Number(number) = self.kind else { return None };
        (number >= 0.0 && number < 2_f64.powi(53) && number.trunc() == number).then_some(number as u64)
    }

    /// Returns the value of a string.
    pub fn string(&self) -> Option<&str> {
        if let Kind::String(text) = &self.kind { text.as_deref() } else { None }
    }

    /// Returns whether a member is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.member(name).is_some_and(|value| value.raw == "true")
    }
}

/// Parses a JSON text.
pub fn parse(text: &str) -> Option<Value<'_>> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.space();
        let start = self.at;
        let kind = match self.peek()? {
            b'{' => self.object(depth + 1)?,
            b'[' => self.array(depth + 1)?,
            b'"' => Kind::String(self.string()?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ => {
                let rest = &self.text[start..];
                let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word))?;
                self.at += word.len();
                Kind::Other
            }
        };
        Some(Value { raw: &self.text[start..self.at], kind })
    }

    fn object(&mut self, depth: usize) -> Option<Kind<'a>> {
        let mut members = Vec::new();
        self.list(b'}', depth, |reader| {
            reader.space();
            let name = if reader.peek() == Some(b'"') { reader.string()? } else { return None };
            reader.space();
            if !reader.takes(b':') {
                return None;
            }
            members.push((name, reader.value(depth)?));
            Some(())
        })?;
        Some(Kind::Object(members))
    }

    fn array(&mut self, depth: usize) -> Option<Kind<'a>> {
        self.list(b']', depth, |reader| reader.value(depth).map(|_| ()))?;
        Some(Kind::Other)
    }

    fn list(&mut self, end: u8, depth: usize, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if depth > Limits::MAX_JSON_DEPTH {
            return None;
        }
        self.at += 1;
        self.space();
        if self.takes(end) {
            return Some(());
        }
        loop {
            item(self)?;
            self.space();
            match self.next()? {
                b',' => {}
                last => return (last == end).then_some(()),
            }
        }
    }

    /// Reads a string. Returns `Some(None)` if it is not valid Unicode.
    fn string(&mut self) -> Option<Option<String>> {
        self.at += 1;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let character = self.text[self.at..].chars().next()?;
            self.at += character.len_utf8();
            match character {
                '"' => return Some(String::from_utf16(&units).ok()),
                '\\' => units.push(self.escape()?),
                '\0'..='\u{1f}' => return None,
                _ => units.extend(character.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        Some(match self.next()? {
            plain @ (b'"' | b'\\' | b'/') => plain.into(),
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)?
            }
            _ => return None,
        })
    }

    fn number(&mut self) -> Option<Kind<'a>> {
        let start = self.at;
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _ = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        self.text[start..self.at].parse().ok().map(Kind::Number)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}
