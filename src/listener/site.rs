//! What is found where on the port.

use httparse::Request;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::answer::{Answer, answer, empty, text};
use super::header;
use super::path::{is_same, path_of};

/// Where the client is found.
const SCRIPT: &str = "/websocket_relay.min.js";
/// Where the client says that its source map is.
const SOURCE_MAP: &str = "/websocket_relay.min.js.map";
/// Where whoever watches over servers asks how this one is.
const HEALTH: &str = "/health";
/// Where Prometheus asks what was counted.
const METRICS: &str = "/metrics";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What HTTP requests find.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The only path where WebSockets are opened; every one where there is none. Characters may be percent-encoded.
    pub path: Option<String>,
    /// The client for browsers; not found where there is none.
    pub script: Option<Script>,
    /// What shows the client's source to its developer; not found where there is none.
    pub source_map: Option<Script>,
    /// Whether what the relay counts is found.
    pub has_metrics: bool,
}

/// A script, or its source map, that browsers load.
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
    pub fn upgrades_at(&self, target: &str) -> bool {
        self.path.as_ref().is_none_or(|path| is_same(path, path_of(target)))
    }

    /// The answer to a request for something that is no WebSocket; `None` when there is no such thing.
    /// `metrics` tells what was counted.
    pub fn find(&self, request: &Request<'_, '_>, metrics: impl FnOnce() -> String) -> Option<Answer<'_>> {
        let is_read = matches!(request.method, Some("GET" | "HEAD"));
        let path = path_of(request.path?);
        let file = match path {
            SCRIPT => self.script.as_ref().map(|script| (script, "text/javascript; charset=utf-8")),
            SOURCE_MAP => self.source_map.as_ref().map(|map| (map, "application/json")),
            _ => None,
        };
        match (path, file) {
            (HEALTH, _) if is_read => Some(text(StatusCode::OK, "ok").with(&NOT_KEPT)),
            (METRICS, _) if is_read && self.has_metrics => {
                Some(answer(StatusCode::OK, OPEN_METRICS, metrics().into_bytes()).with(&NOT_KEPT))
            }
            (_, Some((script, content_type))) if is_read => Some(script.answer(request, content_type)),
            (_, Some(_)) if request.method == Some("OPTIONS") => {
                Some(empty(StatusCode::NO_CONTENT).with(&METHODS).with(&FOR_ALL))
            }
            _ => None,
        }
    }
}

impl Script {
    fn answer(&self, request: &Request<'_, '_>, content_type: &'static str) -> Answer<'_> {
        let is_known = header::list(request, "if-none-match").any(|tag| self.has_tag(tag));
        let in_gzip = header::list(request, "accept-encoding").any(is_gzip);
        let mut answer = match (is_known, in_gzip) {
            (true, _) => empty(StatusCode::NOT_MODIFIED),
            (false, true) => {
                answer(StatusCode::OK, content_type, &*self.gzip).with(&[("Content-Encoding", "gzip")])
            }
            (false, false) => answer(StatusCode::OK, content_type, &*self.plain),
        };
        answer.set("ETag", self.tag().into_bytes());
        answer.with(&REVALIDATED).with(&FOR_ALL)
    }

    /// Weak, for it is the same for the plain text and gzip.
    fn tag(&self) -> String {
        format!("W/\"{}\"", self.hash)
    }

    fn has_tag(&self, tag: &[u8]) -> bool {
        let quoted = tag.strip_prefix(b"W/").unwrap_or(tag);
        let bare = quoted.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\""));
        tag == b"*" || bare == Some(self.hash.as_bytes())
    }
}

const NOT_KEPT: [(&str, &str); 1] = [("Cache-Control", "no-store")];

const REVALIDATED: [(&str, &str); 3] =
    [("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"), ("X-Content-Type-Options", "nosniff")];

const METHODS: [(&str, &str); 2] =
    [("Allow", "GET, HEAD, OPTIONS"), ("Access-Control-Allow-Methods", "GET, HEAD")];

/// Pages of every origin may load it, also those that are isolated from other origins (COEP), and may check what they load
/// (`integrity`). It is the same for everybody.
const FOR_ALL: [(&str, &str); 2] =
    [("Access-Control-Allow-Origin", "*"), ("Cross-Origin-Resource-Policy", "cross-origin")];

/// Whether a member of `Accept-Encoding` is gzip, and not to refuse it.
fn is_gzip(coding: &[u8]) -> bool {
    let Ok(coding) = str::from_utf8(coding) else { return false };
    let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
    let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse);
    name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight: f32| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::members;

    #[test]
    fn gzip_goes_to_who_takes_it() {
        let takes_gzip = |codings: &str| members(codings.as_bytes()).any(is_gzip);
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
            assert!(members(known.as_bytes()).any(|tag| script.has_tag(tag)), "{known}");
        }
        for other in ["", "abc", "\"ab\"", "W/abc", "\"x\",\"y\""] {
            assert!(!members(other.as_bytes()).any(|tag| script.has_tag(tag)), "{other}");
        }
    }

    #[test]
    fn a_path_is_the_whole_path_without_the_query() {
        let site = Site { path: Some("/relay".to_owned()), ..Site::default() };
        assert!(["/relay", "/relay?a=/b", "/relay#x"].iter().all(|target| site.upgrades_at(target)));
        assert!(
            !["/", "/relay/", "/relays", "/a/relay", "/?/relay", "*"]
                .iter()
                .any(|target| site.upgrades_at(target))
        );
        assert!(Site::default().upgrades_at("/anything?at=all"));
    }
}
