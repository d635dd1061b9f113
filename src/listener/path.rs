//! The path of a request's target, and the comparison of paths.

/// Returns the path of a request's target, without its query: `/path` of `/path?query` and of `http://host/path?query`, which
/// a server must accept as well (RFC 9112, section 3.2.2).
pub fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => rest.find('/').map_or("/", |start| &rest[start..]),
        _ => path,
    }
}

/// Returns whether two paths are equal once decoded, segment by segment: `/a%62c` and `/abc`, but not `/a%2Fb` and `/a/b`.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || {
        let segments = |path| str::split(path, '/');
        segments(one).count() == segments(other).count()
            && segments(one).zip(segments(other)).all(|(one, other)| decoded(one).eq(decoded(other)))
    }
}

fn is_scheme(text: &str) -> bool {
    ["http", "https", "ws", "wss"].iter().any(|scheme| scheme.eq_ignore_ascii_case(text))
}

/// Returns the decoded bytes of a segment. A `%` without two hex digits after it stands for itself.
fn decoded(segment: &str) -> impl Iterator<Item = u8> {
    let mut rest = segment.as_bytes();
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (digit(*high) << 4 | digit(*low), after)
            }
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

/// Returns the value of a hex digit.
fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_target_without_query_and_server() {
        for (target, path) in [
            ("/", "/"),
            ("/relay", "/relay"),
            ("/relay?a=/b", "/relay"),
            ("/relay#x", "/relay"),
            ("http://host/relay?a", "/relay"),
            ("WSS://user@host:80/relay", "/relay"),
            ("http://host", "/"),
            ("http://host?a=/b", "/"),
            ("/to/http://host/relay", "/to/http://host/relay"),
            ("*", "*"),
            ("host:443", "host:443"),
            ("", ""),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    #[test]
    fn compares_decoded_segments() {
        for (one, other) in [
            ("/relay", "/relay"),
            ("/rel%C3%A9", "/relé"),
            ("/rel%c3%a9", "/rel%C3%A9"),
            ("/%72elay", "/relay"),
            ("/a%20b", "/a b"),
            ("/a%2Fb", "/a%2fb"),
            ("/a%40b", "/a@b"),
            ("/50%", "/50%25"),
            ("/%zz", "/%25zz"),
            ("/", "/"),
        ] {
            assert!(is_same(one, other) && is_same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("/a%2Fb", "/a/b"),
            ("/relay", "/relay/"),
            ("/relay", "/Relay"),
            ("/relé", "/rele"),
            ("/rel%E9", "/relé"),
            ("/a%2", "/a%20"),
            ("/a%2520", "/a%20"),
            ("/", ""),
            ("/a", "/ab"),
        ] {
            assert!(!is_same(one, other) && !is_same(other, one), "{one} {other}");
        }
    }
}
