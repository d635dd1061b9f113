//! What is found where on the port.

use httparse::Request;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::{self, HeaderName, HeaderValue};

use super::answer::{Answer, answer, text, value, with};

/// Where the client is found.
const SCRIPT: &str = "/websocket_relay.min.js";
/// Where whoever watches over servers asks how this one is.
const HEALTH: &str = "/health";
/// Where Prometheus asks what was counted.
const METRICS: &str = "/metrics";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What HTTP requests find.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The only path where WebSockets are opened; every one where there is none.
    pub path: Option<String>,
    /// The client for browsers; not found where there is none.
    pub script: Option<Script>,
    /// Whether what the relay counts is found.
    pub has_metrics: bool,
}

/// A script that browsers load.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its text.
    pub plain: Vec<u8>,
    /// Its text in gzip.
    pub gzip: Vec<u8>,
    /// What changes whenever the text does: letters, digits, `-` and `_`.
    pub hash: String,
}

impl Site {
    /// Whether WebSockets are opened at this target of a request.
    pub fn is_at(&self, target: &str) -> bool {
        self.path.as_ref().is_none_or(|path| path == path_of(target))
    }

    /// The answer to a request for something that is no WebSocket; `None` when there is no such thing.
    /// `metrics` tells what was counted.
    pub fn find(&self, request: &Request<'_, '_>, metrics: impl FnOnce() -> String) -> Option<Answer<'_>> {
        let is_read = matches!(request.method, Some("GET" | "HEAD"));
        match path_of(request.path.filter(|_| is_read)?) {
            HEALTH => Some(with(text(StatusCode::OK, "ok"), &NOT_KEPT)),
            METRICS if self.has_metrics => {
                Some(with(answer(StatusCode::OK, OPEN_METRICS, metrics().into_bytes()), &NOT_KEPT))
            }
            SCRIPT => self.script.as_ref().map(|script| script.answer(request)),
            _ => None,
        }
    }
}

impl Script {
    fn answer(&self, request: &Request<'_, '_>) -> Answer<'_> {
        let is_known = value(request, "if-none-match").is_some_and(|known| self.is_among(known));
        let in_gzip = value(request, "accept-encoding").is_some_and(takes_gzip);
        let (status, body) = match (is_known, in_gzip) {
            (true, _) => (StatusCode::NOT_MODIFIED, &[][..]),
            (false, true) => (StatusCode::OK, &*self.gzip),
            (false, false) => (StatusCode::OK, &*self.plain),
        };
        let mut answer = with(answer(status, "text/javascript; charset=utf-8", body), &REVALIDATED);
        if is_known {
            answer.headers_mut().remove(header::CONTENT_LENGTH);
        } else if in_gzip {
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Ok(tag) = HeaderValue::try_from(self.tag()) {
            answer.headers_mut().insert(header::ETAG, tag);
        }
        answer
    }

    /// Weak, for it is the same for the plain text and gzip.
    fn tag(&self) -> String {
        format!("W/\"{}\"", self.hash)
    }

    fn is_among(&self, tags: &str) -> bool {
        tags.split(',').map(str::trim).any(|tag| {
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            tag == "*" || quoted.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&*self.hash)
        })
    }
}

const NOT_KEPT: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

const REVALIDATED: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "accept-encoding"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Whether an `Accept-Encoding` lists gzip, and not to refuse it.
fn takes_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse);
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight: f32| weight > 0.0)
    })
}

/// A target without its query.
fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_goes_to_who_takes_it() {
        for taken in ["gzip", "gzip, deflate, br", "br;q=1.0, GZIP;q=0.5", "deflate,gzip ; q=1"] {
            assert!(takes_gzip(taken), "{taken}");
        }
        for not in ["", "br", "gzip;q=0", "gzip; q=0.0, br", "x-gzipped", "gzip;q=x"] {
            assert!(!takes_gzip(not), "{not}");
        }
    }

    #[test]
    fn a_tag_is_known_in_any_list_and_strength() {
        let script = Script { plain: Vec::new(), gzip: Vec::new(), hash: "abc".to_owned() };
        for known in ["W/\"abc\"", "\"abc\"", "\"x\", W/\"abc\"", "*"] {
            assert!(script.is_among(known), "{known}");
        }
        for other in ["", "abc", "\"ab\"", "W/abc", "\"x\",\"y\""] {
            assert!(!script.is_among(other), "{other}");
        }
    }

    #[test]
    fn a_path_is_the_whole_path_without_the_query() {
        let site = Site { path: Some("/relay".to_owned()), ..Site::default() };
        assert!(["/relay", "/relay?a=/b", "/relay#x"].iter().all(|target| site.is_at(target)));
        assert!(
            !["/", "/relay/", "/relays", "/a/relay", "/?/relay", "*"].iter().any(|target| site.is_at(target))
        );
        assert!(Site::default().is_at("/anything?at=all"));
    }
}
