//! What the port serves over HTTP beside WebSockets.

use httparse::Request;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::header;
use super::path::{is_same, path_of};
use super::response::Response;

/// The path of the client for browsers.
const SCRIPT: &str = "/websocket_relay.min.js";
/// The path of its source map, which the client names.
const SOURCE_MAP: &str = "/websocket_relay.min.js.map";
/// The path of the health check.
const HEALTH: &str = "/health";
/// The path that Prometheus scrapes.
const METRICS: &str = "/metrics";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The paths that the port serves.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The only path where WebSockets open, `None` for every path. May be percent-encoded.
    pub path: Option<String>,
    /// The client for browsers, if it is served.
    pub script: Option<Script>,
    /// The client's source map, if it is served.
    pub source_map: Option<Script>,
    /// Whether metrics are served.
    pub has_metrics: bool,
}

/// A script or source map that browsers load.
#[derive(Clone, Debug)]
pub struct Script {
    /// The text.
    pub plain: Vec<u8>,
    /// The text in gzip.
    pub gzip: Vec<u8>,
    /// A hash of the text: letters, digits, `-` and `_`.
    pub hash: String,
}

impl Site {
    /// Returns whether WebSockets open at this request target.
    pub fn upgrades_at(&self, target: &str) -> bool {
        self.path.as_ref().is_none_or(|path| is_same(path, path_of(target)))
    }

    /// Returns the response to a request that is not for a WebSocket, `None` if nothing is served there.
    pub fn find(&self, request: &Request<'_, '_>, metrics: impl FnOnce() -> String) -> Option<Response<'_>> {
        let is_read = matches!(request.method, Some("GET" | "HEAD"));
        let path = path_of(request.path?);
        let file = match path {
            SCRIPT => self.script.as_ref().map(|script| (script, "text/javascript; charset=utf-8")),
            SOURCE_MAP => self.source_map.as_ref().map(|map| (map, "application/json")),
            _ => None,
        };
        match (path, file) {
            (HEALTH, _) if is_read => Some(Response::text(StatusCode::OK, "ok").with(&NOT_STORED)),
            (METRICS, _) if is_read && self.has_metrics => {
                Some(Response::new(StatusCode::OK, OPEN_METRICS, metrics().into_bytes()).with(&NOT_STORED))
            }
            (_, Some((script, content_type))) if is_read => Some(script.respond(request, content_type)),
            (_, Some(_)) if request.method == Some("OPTIONS") => {
                Some(Response::empty(StatusCode::NO_CONTENT).with(&METHODS).with(&ANY_ORIGIN))
            }
            _ => None,
        }
    }
}

impl Script {
    fn respond(&self, request: &Request<'_, '_>, content_type: &'static str) -> Response<'_> {
        let is_cached = header::list(request, "if-none-match").any(|tag| self.has_tag(tag));
        let accepts_gzip = header::list(request, "accept-encoding").any(is_gzip);
        let mut response = match (is_cached, accepts_gzip) {
            (true, _) => Response::empty(StatusCode::NOT_MODIFIED),
            (false, true) => {
                Response::new(StatusCode::OK, content_type, &*self.gzip).with(&[("Content-Encoding", "gzip")])
            }
            (false, false) => Response::new(StatusCode::OK, content_type, &*self.plain),
        };
        response.set("ETag", self.tag().into_bytes());
        response.with(&REVALIDATED).with(&ANY_ORIGIN)
    }

    /// The entity tag: weak, because plain text and gzip share it.
    fn tag(&self) -> String {
        format!("W/\"{}\"", self.hash)
    }

    fn has_tag(&self, tag: &[u8]) -> bool {
        let quoted = tag.strip_prefix(b"W/").unwrap_or(tag);
        let bare = quoted.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\""));
        tag == b"*" || bare == Some(self.hash.as_bytes())
    }
}

const NOT_STORED: [(&str, &str); 1] = [("Cache-Control", "no-store")];

const REVALIDATED: [(&str, &str); 3] =
    [("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"), ("X-Content-Type-Options", "nosniff")];

const METHODS: [(&str, &str); 2] =
    [("Allow", "GET, HEAD, OPTIONS"), ("Access-Control-Allow-Methods", "GET, HEAD")];

/// Pages of any origin may load it, also cross-origin isolated ones (COEP), and may verify it (`integrity`).
const ANY_ORIGIN: [(&str, &str); 2] =
    [("Access-Control-Allow-Origin", "*"), ("Cross-Origin-Resource-Policy", "cross-origin")];

/// Returns whether a member of `Accept-Encoding` accepts gzip.
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
    fn detects_clients_that_accept_gzip() {
        let takes_gzip = |codings: &str| members(codings.as_bytes()).any(is_gzip);
        for taken in ["gzip", "gzip, deflate, br", "br;q=1.0, GZIP;q=0.5", "deflate,gzip ; q=1"] {
            assert!(takes_gzip(taken), "{taken}");
        }
        for not in ["", "br", "gzip;q=0", "gzip; q=0.0, br", "x-gzipped", "gzip;q=x"] {
            assert!(!takes_gzip(not), "{not}");
        }
    }

    #[test]
    fn matches_its_tag_in_lists_and_of_either_strength() {
        let script = Script { plain: Vec::new(), gzip: Vec::new(), hash: "abc".to_owned() };
        for known in ["W/\"abc\"", "\"abc\"", "\"x\", W/\"abc\"", "*"] {
            assert!(members(known.as_bytes()).any(|tag| script.has_tag(tag)), "{known}");
        }
        for other in ["", "abc", "\"ab\"", "W/abc", "\"x\",\"y\""] {
            assert!(!members(other.as_bytes()).any(|tag| script.has_tag(tag)), "{other}");
        }
    }

    #[test]
    fn opens_websockets_at_the_exact_path_only() {
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
