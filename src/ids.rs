//! Identifiers: clients and their tokens, sessions, sequence numbers, offsets, epochs and claims.

use std::fmt;

use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A client's number: given by the server, 0 for the first client, then 1, and so on, or named by the application. At most
/// 2^53 − 1, the largest integer that every JavaScript number holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// The largest id: 2^53 − 1.
    pub const MAX: u64 = (1 << 53) - 1;

    /// Returns the id with this number, or `None` above [`ClientId::MAX`].
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// Converts a JavaScript number to an id. Returns `None` for fractions, negative numbers, NaN and numbers above
    /// [`ClientId::MAX`].
    pub fn from_f64(number: f64) -> Option<Self> {
        // NaN and the infinities are outside the range.
        let is_id = (0.0..=Self::MAX as f64).contains(&number) && number.fract() == 0.0;
        is_id.then_some(Self(number as u64))
    }

    /// Returns the id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client's secret: 128 bits as 32 lower-case hex digits, from the system's CSPRNG or from the application. It is never
/// printed, and kept as its [`TokenHash`] only.
#[derive(Clone)]
pub struct Token([u8; Token::DIGITS]);

impl Token {
    /// Hex digits in a token.
    pub const DIGITS: usize = 32;

    /// Replaces a token in a text that is shown.
    pub(crate) const REDACTED: &str = "[redacted]";

    /// Returns a new random token.
    ///
    /// # Errors
    /// The system's random number generator failed.
    pub fn random() -> Result<Self, rand::rngs::SysError> {
        let mut bytes = [0; Self::DIGITS / 2];
        SysRng.try_fill_bytes(&mut bytes)?;
        let mut digits = [0; Self::DIGITS];
        hex::encode_to_slice(bytes, &mut digits).expect("two digits per byte");
        Ok(Self(digits))
    }

    /// Returns the token with these digits: 32 hex digits in lower case. Upper-case digits would be another text, and clients
    /// send texts.
    pub fn parse(digits: &str) -> Option<Self> {
        let is_token = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        digits.as_bytes().try_into().ok().filter(|_| is_token).map(Self)
    }

    /// Returns `text` with everything that may be a token replaced: every run of 32 or more hex digits.
    pub(crate) fn redact(text: &str) -> String {
        let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
        loop {
            let run = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
            shown.push_str(if run < Self::DIGITS { &rest[..run] } else { Self::REDACTED });
            let mut following = rest[run..].chars();
            let Some(character) = following.next() else { return shown };
            shown.push(character);
            rest = following.as_str();
        }
    }

    /// Returns the 32 digits. Only for the client that the token belongs to.
    pub fn reveal(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The SHA-256 of a token: what is kept of it. A token has 128 bits from a CSPRNG, or is as good: it needs no salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash([u8; TokenHash::BYTES]);

impl TokenHash {
    /// Bytes of a hash.
    pub const BYTES: usize = 32;

    /// Returns the hash of a token, or of a text that is none.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Returns the hash with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Returns whether this is the hash of `token`. The time it takes does not depend on where the two differ, nor on the
    /// length of a text that is no token.
    pub fn matches(&self, token: &str) -> bool {
        let text = if token.len() == Token::DIGITS { token } else { "" };
        self.0.ct_eq(&Self::of(text).0).into()
    }
}

/// One page, or other user of the client library, across its reconnections: 16 hex digits that it chose at random. The
/// default stands for no session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// Parses 16 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Self)
    }

    /// Returns a new random session.
    ///
    /// # Errors
    /// The system's random number generator failed.
    pub fn random() -> Result<Self, rand::rngs::SysError> {
        SysRng.try_next_u64().map(Self)
    }

    /// Returns the session with this number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Returns the session as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A message's sequence number among those that its sender's session sends to one target. Counts up from 1, with gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// A message's position in its recipient's mailbox. Counts up from 1; within a lane it grows, with gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub u64);

/// One lifetime of the store, as 8 hex digits. An offset has a meaning only within its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u32);

impl Epoch {
    /// Returns a new random epoch.
    ///
    /// # Errors
    /// The system's random number generator failed.
    pub fn random() -> Result<Self, rand::rngs::SysError> {
        SysRng.try_next_u32().map(Self)
    }

    /// Returns the epoch with this number.
    pub const fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// Returns the epoch as a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The number of a connection's claim on its client's mailbox. Each connection that takes the mailbox over gets the
/// next number; only the highest one is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimNumber(pub(crate) u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_non_negative_safe_integers_as_ids() {
        let max = ClientId::MAX as f64;
        for number in [0.0, -0.0, 1.0, max] {
            assert_eq!(ClientId::from_f64(number).map(|id| id.get() as f64), Some(number.abs()));
        }
        for number in [-1.0, 1.5, max + 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(ClientId::from_f64(number), None, "{number}");
        }
        assert_eq!(ClientId::new(ClientId::MAX + 1), None);
    }

    #[test]
    fn token_has_32_digits_and_is_not_printed() {
        let token = Token::random().expect("randomness");
        assert_eq!(token.reveal().len(), 32);
        assert!(token.reveal().bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!(Token::parse(token.reveal()).expect("a token").reveal(), token.reveal());
        assert!(!format!("{token:?}").contains(token.reveal()));
        assert_ne!(token.reveal(), Token::random().expect("randomness").reveal());
    }

    #[test]
    fn parses_32_lower_case_hex_digits() {
        let token = "0123456789abcdef0123456789abcdef";
        assert_eq!(Token::parse(token).expect("a token").reveal(), token);
        let others = [&token[1..], &format!("{token}0"), &token.replace('a', "A"), &token.replace('b', "g")];
        for other in others.into_iter().chain(["", &token.replace("ab", "é")]) {
            assert!(Token::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn hash_matches_its_token_only() {
        let token = Token::random().expect("randomness");
        let hash = TokenHash::of(token.reveal());
        assert!(hash.matches(token.reveal()));
        for other in ["", "x", &"0".repeat(32), &token.reveal()[1..], &"x".repeat(100_000)] {
            assert!(!hash.matches(other));
        }
    }

    #[test]
    fn redacts_tokens() {
        let token = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(Token::redact(token), "[redacted]");
        assert_eq!(Token::redact(&format!("ü{token}{token}, 12é{token}g")), "ü[redacted], 12é[redacted]g");
        for other in ["", "bye", "é", &token[1..], "the server is closing"] {
            assert_eq!(Token::redact(other), other);
        }
    }
}
