//! Reading of JSON with the semantics of `JSON.parse`, only as deep as a frame's own members. Other values are skipped
//! without recursion.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ids::{ClientId, Token};

/// Validates `text` as JSON. Returns `None` if it is not JSON or is nested deeper than `max_depth`.
pub fn parse(text: &str, max_depth: usize) -> Option<&RawValue> {
    if is_deeper_than(text, max_depth) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Returns the members of an object that have these names; of a repeated name, the last one. Returns `None` if `value` is
/// not an object.
pub fn members<'a, const N: usize>(
    value: &'a RawValue,
    names: [&'static str; N],
) -> Option<[Option<&'a RawValue>; N]> {
    if !value.get().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(value.get()).deserialize_map(Members(names)).ok()
}

struct Members<const N: usize>([&'static str; N]);

impl<'a, const N: usize> Visitor<'a> for Members<N> {
    type Value = [Option<&'a RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        // Keys are read raw: serde rejects one with a lone surrogate, and `JSON.parse` does not.
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let key = string(key);
            if let Some(index) = self.0.iter().position(|name| key.as_deref() == Some(*name)) {
                found[index] = Some(value);
            }
        }
        Ok(found)
    }
}

/// Returns the string that `value` is. Returns `None` if it is not a string, or has a lone surrogate, as no name and no
/// token has.
pub fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(value.get()).ok().map(Cow::Owned)
    } else {
        Some(inner.into())
    }
}

/// Returns the client id that `value` is, written as any JSON number.
pub fn client_id(value: &RawValue) -> Option<ClientId> {
    // The value is valid JSON, so other notations that Rust parses (`inf`, `+1`) cannot occur.
    ClientId::from_f64(value.get().parse().ok()?)
}

/// Returns the integer from 0 to 2^53 − 1 that `value` is.
pub fn integer(value: &RawValue) -> Option<u64> {
    client_id(value).map(ClientId::get)
}

/// Returns whether objects and arrays are nested deeper than `max`.
fn is_deeper_than(text: &str, max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > max {
                return true;
            }
        }
    }
    false
}

/// Returns an excerpt of JSON for an error's text: without white space, cut at `length` characters, and with every run of 32
/// or more hex digits, which may be a token, redacted, even if the digits are escaped.
pub fn excerpt(json: &str, length: usize) -> String {
    let mut shown = String::new();
    let (mut in_string, mut escaped) = (false, false);
    // The current run of hex digits: where it starts in `shown`, the characters before it, and its number of digits.
    let (mut run_start, mut before, mut run) = (0, 0, 0);
    let mut rest = json;
    // Only characters before the run count, so a token that begins before the cut is read to its end.
    while let Some(first) = rest.chars().next().filter(|_| before < length) {
        let (unit, digit) = match hex_escape(rest).filter(|_| in_string && !escaped) {
            Some(digit) => (6, digit),
            None => (first.len_utf8(), first),
        };
        let (text, following) = rest.split_at(unit);
        rest = following;
        if in_string {
            in_string = escaped || first != '"';
            escaped = !escaped && first == '\\' && unit == 1;
        } else if first.is_ascii_whitespace() {
            continue;
        } else {
            in_string = first == '"';
        }
        if digit.is_ascii_hexdigit() {
            run += 1;
            if run == Token::DIGITS {
                shown.truncate(run_start);
                shown.push_str(Token::REDACTED);
            } else if run < Token::DIGITS {
                shown.push_str(text);
            }
        } else {
            shown.push_str(text);
            before += shown[run_start..].chars().count();
            (run_start, run) = (shown.len(), 0);
        }
    }
    match shown.char_indices().nth(length) {
        Some((end, _)) => shown[..end].to_owned(),
        None => shown,
    }
}

/// Returns the character whose `\u00…` escape `text` begins with.
fn hex_escape(text: &str) -> Option<char> {
    let digits = text.strip_prefix("\\u00")?.get(..2)?;
    u8::from_str_radix(digits, 16).ok().map(char::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        parse(text, 128).expect("JSON")
    }

    #[test]
    fn last_of_a_repeated_member_counts_even_if_escaped() {
        let value = raw(r#" {"a":1,"b":{"a":9},"\ud800":0,"\u0061":2,"__proto__":3,"c":null} "#);
        let [a, b, d] = members(value, ["a", "b", "d"]).expect("an object");
        assert_eq!(a.map(RawValue::get), Some("2"));
        assert_eq!(b.map(RawValue::get), Some(r#"{"a":9}"#));
        assert!(d.is_none());
        for other in ["[]", "1", "null", "\"{}\"", "true"] {
            assert!(members(raw(other), ["a"]).is_none(), "{other}");
        }
    }

    #[test]
    fn reads_ids_as_javascript_reads_numbers() {
        for (text, id) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1e0", Some(1)),
            ("1.0", Some(1)),
            ("10E-1", Some(1)),
            ("9007199254740991", Some(ClientId::MAX)),
            ("9007199254740992", None),
            ("1e400", None),
            ("-1", None),
            ("1.5", None),
            ("\"1\"", None),
            ("true", None),
            ("null", None),
            ("[1]", None),
        ] {
            assert_eq!(client_id(raw(text)).map(ClientId::get), id, "{text}");
        }
    }

    #[test]
    fn bounds_nesting_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(128), 128).is_some());
        assert!(parse(&nested(129), 128).is_none());
        assert!(parse(&nested(1_000_000), 128).is_none());
        assert!(parse(&format!("\"\\\"{}\"", "[".repeat(1000)), 128).is_some(), "brackets in a string");
    }

    #[test]
    fn excerpt_is_short_and_contains_no_token() {
        let token = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(excerpt("{ \"a\" :\n[1, \" \\\" 2\"] }", 200), "{\"a\":[1,\" \\\" 2\"]}");
        assert_eq!(excerpt(&format!("{{\"token\":\"{token}0\"}}"), 200), "{\"token\":\"[redacted]\"}");
        assert_eq!(excerpt(&format!("[\"{}\"]", token.replace('3', "\\u0033")), 200), "[\"[redacted]\"]");
        for before in 0..220 {
            let text = excerpt(&format!("\"{}{token}\"", "é".repeat(before)), 200);
            assert!(!text.contains("0123"), "{text}");
            assert!(text.chars().count() <= 200);
        }
        assert_eq!(excerpt(&"x".repeat(1000), 200).len(), 200);
        assert_eq!(excerpt(&token[..31], 200), token[..31]);
    }
}
