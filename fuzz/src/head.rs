//! Sends the bytes of a connection to the HTTP listener at once, in pieces, and as a request that another server has read, and
//! compares the responses with each other and with tungstenite.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use httparse::{EMPTY_HEADER, ParserConfig, Request, Response, Status};
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::http;
use websocket_relay::hub::Hub;
use websocket_relay::listener::{Acceptor, Admission, Rules};
use websocket_relay::metrics::Rejection;
use websocket_relay::session::Shared;
use websocket_relay::{
    HostAddress, Limits, Network, Script, Site, TrustedProxies, Verdict, Verifier, events,
};

use super::feed::Feed;

const PEER: &str = "10.0.0.1";

thread_local! {
    static TARGET: Target = Target::new();
}

/// Runs the target. The input: a byte that selects the server, a byte for the size of the pieces, and the bytes of the
/// connection.
pub fn run(input: &[u8]) {
    let [server, size, bytes @ ..] = input else { return };
    TARGET.with(|target| {
        let server = &target.servers[usize::from(*server) % target.servers.len()];
        target.check(server, bytes, usize::from(*size) + 1);
    });
}

struct Target {
    runtime: Runtime,
    servers: Vec<Server>,
}

/// A listener with options of its own.
struct Server {
    acceptor: Arc<Acceptor>,
    trust: TrustedProxies,
    /// The client address of the last request verified.
    verified: Arc<Mutex<Option<HostAddress>>>,
}

impl Target {
    fn new() -> Self {
        let networks = ["10.0.0.0/8", "::ffff:127.0.0.0/104", "2001:db8::/32"];
        let networks = networks.into_iter().filter_map(Network::parse).collect();
        let script = Script { plain: b"script".to_vec(), gzip: b"gzip".to_vec(), hash: "abc".to_owned() };
        let path = Some("/relay".to_owned());
        let site = Site { path, script: Some(script.clone()), source_map: Some(script), has_metrics: true };
        let origins = Some(vec!["https://example.com".to_owned()]);
        let servers = vec![
            Server::new(Site::default(), None, TrustedProxies::None),
            Server::new(site.clone(), None, TrustedProxies::All),
            Server::new(Site::default(), origins, TrustedProxies::Hops(2)),
            Server::new(site, None, TrustedProxies::Networks(networks)),
        ];
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        Self { runtime: runtime.expect("a runtime"), servers }
    }

    fn check(&self, server: &Server, bytes: &[u8], size: usize) {
        let peer: HostAddress = PEER.parse().expect("an address");
        let whole = self.response(server, bytes, usize::MAX);
        let pieces = self.response(server, bytes, size);
        // An invalid request may be detected earlier or later.
        if !is_error(&whole) || !is_error(&pieces) {
            assert_eq!(text(&whole), text(&pieces), "in pieces of {size}");
        }
        let mut headers = [EMPTY_HEADER; 2000];
        let mut request = Request::new(&mut headers);
        let mut config = ParserConfig::default();
        config.allow_multiple_spaces_in_request_line_delimiters(true);
        let is_complete = matches!(config.parse_request(&mut request, bytes), Ok(Status::Complete(_)));
        let adopted = server.acceptor.accept_request(bytes, Some(peer));
        assert!(is_complete || adopted.is_err());
        let status = status(&whole);
        if status == Some(101) {
            assert!(is_complete, "an incomplete request was upgraded");
            let (response, guest, _) = adopted.expect("accepted over the port too");
            assert_eq!(text(&response), text(&whole));
            check_upgrade(&request, &whole);
            check_address(server, peer, guest.address, &request);
        } else if adopted.is_ok() {
            // The other server checks the path, and verifies the request, itself.
            assert!(matches!(status, Some(404 | 401 | 200 | 304)), "{}", text(&whole));
        }
    }

    /// Returns the response to these bytes; only the head if it is an upgrade.
    fn response(&self, server: &Server, bytes: &[u8], size: usize) -> Vec<u8> {
        let feed = Feed::new(bytes, size);
        let written = feed.written();
        let admission = Admission::BehindProxy(PEER.parse().expect("an address"));
        server.acceptor.spawn(std::future::ready(Some(feed)), admission, self.runtime.handle());
        self.runtime.block_on(server.acceptor.wait_until_idle());
        let mut response = std::mem::take(&mut *written.lock().expect("no panic before"));
        let end = response.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |end| end + 4);
        assert!(end > 0 || response.is_empty(), "an incomplete response: {}", text(&response));
        if status(&response) == Some(101) {
            response.truncate(end);
        }
        response
    }
}

impl Server {
    fn new(site: Site, origins: Option<Vec<String>>, trust: TrustedProxies) -> Self {
        let limits = Limits::default();
        let hub = Hub::new(limits.clone(), false).expect("randomness");
        let shared = Arc::new(Shared::new(limits, hub, events::channel(16).0));
        let verified = Arc::new(Mutex::new(None));
        let last = Arc::clone(&verified);
        let ask = Verifier::each(move |request| {
            *last.lock().expect("no panic before") = request.address;
            // The word in the corpus.
            let is_rejected = request.target.contains("refused");
            let headers = request.headers.clone();
            request.answer(match is_rejected {
                true => Verdict::Rejected { why: Rejection::VerifyClient, status: 401, text: None, headers },
                false => Verdict::Admitted,
            });
        });
        let rules = Rules { origins, trusted_proxies: trust.clone(), verifier: Some(ask) };
        Self { acceptor: Arc::new(Acceptor::new(shared, Vec::new(), site, None, rules)), trust, verified }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the status of a response, and panics if it is invalid.
fn status(response: &[u8]) -> Option<u16> {
    let mut headers = [EMPTY_HEADER; 200];
    let mut parsed = Response::new(&mut headers);
    match parsed.parse(response) {
        Ok(Status::Complete(_)) => parsed.code,
        _ if response.is_empty() => None,
        other => panic!("{other:?}: {}", text(response)),
    }
}

/// Returns whether the response says that the request was invalid.
fn is_error(response: &[u8]) -> bool {
    matches!(status(response), None | Some(400 | 431))
}

/// Checks that tungstenite would upgrade the request too, with the same accept key.
fn check_upgrade(request: &Request<'_, '_>, response: &[u8]) {
    let mut theirs = http::Request::builder().method(request.method.expect("a method")).uri("/");
    for header in request.headers.iter() {
        theirs = match &*header.name.to_ascii_lowercase() {
            // Tungstenite does not support lists over several lines, or tabs.
            "connection" | "upgrade" => theirs,
            _ => theirs.header(header.name, header.value),
        };
    }
    for (name, option) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        let lines = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let texts: Vec<_> = lines.map(|header| text(header.value).replace('\t', " ")).collect();
        let list = texts.join(",");
        let is_listed = list.split(',').any(|listed| listed.trim_matches(' ').eq_ignore_ascii_case(option));
        assert!(is_listed, "{option} is not in {name}: {list}");
        theirs = theirs.header(name, option);
    }
    for name in ["sec-websocket-key", "sec-websocket-version", "host", "origin"] {
        let lines = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        assert!(lines.count() <= 1, "{name}");
    }
    let theirs = theirs.body(()).expect("a request");
    let key = theirs.headers()["sec-websocket-key"].as_bytes();
    if !b"AQgw".contains(&key[21]) {
        // Four bits of the last digit are unused. Tungstenite requires them to be 0.
        return;
    }
    if !request.headers.iter().all(|header| header.value.is_ascii()) {
        // The relay allows UTF-8 in headers, tungstenite does not.
        return;
    }
    let expected = create_response(&theirs).unwrap_or_else(|error| panic!("{error}: {request:?}"));
    let accept = expected.headers()["sec-websocket-accept"].to_str().expect("base64");
    let line = format!("\r\nSec-WebSocket-Accept: {accept}\r\n");
    assert!(text(response).contains(&line), "{}", text(response));
}

/// Checks that the client address is the same everywhere, and is the peer or an address that the request names.
fn check_address(
    server: &Server,
    peer: HostAddress,
    address: Option<HostAddress>,
    request: &Request<'_, '_>,
) {
    assert_eq!(address, *server.verified.lock().expect("no panic before"));
    let forwarded =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("x-forwarded-for"));
    let values: Vec<&[u8]> = forwarded.map(|header| header.value).collect();
    let client = |trust: &TrustedProxies| trust.client(Some(peer), values.iter().copied());
    assert_eq!(address, client(&server.trust));
    assert_eq!([client(&TrustedProxies::None), client(&TrustedProxies::Hops(0))], [Some(peer); 2]);
    let address = address.expect("an address");
    let list = text(&values.join(&b","[..])).to_ascii_lowercase();
    let is_named = |text: &str| {
        let text = text.trim();
        let bare = text
            .trim_start_matches('[')
            .rsplit_once(']')
            .map_or(text.trim_start_matches('['), |(bare, _)| bare);
        let without_port = bare.rsplit_once(':').map_or(bare, |(bare, _)| bare);
        [text, bare, without_port]
            .into_iter()
            .filter_map(|text| text.split('%').next()?.parse::<IpAddr>().ok())
            .any(|named| named.to_canonical() == address.ip())
    };
    assert!(address == peer || list.split(',').any(is_named), "{address} of {values:?}");
    for value in &values {
        // Must not panic: options are parsed the same way.
        Network::parse(&text(value));
    }
}
