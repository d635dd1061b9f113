//! Bytes of a connection → the answer to its HTTP request: all at once, in pieces of any size, as another server hands
//! them over, and as tungstenite would.

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

use super::stream::Feed;

const PEER: &str = "10.0.0.1";

thread_local! {
    static WORLD: World = World::new();
}

/// The first byte says which acceptor it is, the second of how many bytes each piece is; the rest is what came.
pub fn run(input: &[u8]) {
    let [acceptor, size, bytes @ ..] = input else { return };
    WORLD.with(|world| {
        let place = &world.places[usize::from(*acceptor) % world.places.len()];
        world.check(place, bytes, usize::from(*size) + 1);
    });
}

struct World {
    runtime: Runtime,
    places: Vec<Place>,
}

struct Place {
    acceptor: Arc<Acceptor>,
    trust: TrustedProxies,
    /// The address of whom it was asked about last.
    asked: Arc<Mutex<Option<HostAddress>>>,
}

impl World {
    fn new() -> Self {
        let networks = ["10.0.0.0/8", "::ffff:127.0.0.0/104", "2001:db8::/32"];
        let networks = networks.into_iter().filter_map(Network::parse).collect();
        let script = Script { plain: b"script".to_vec(), gzip: b"gzip".to_vec(), hash: "abc".to_owned() };
        let path = Some("/relay".to_owned());
        let site = Site { path, script: Some(script.clone()), source_map: Some(script), has_metrics: true };
        let origins = Some(vec!["https://example.com".to_owned()]);
        let places = vec![
            Place::new(Site::default(), None, TrustedProxies::None),
            Place::new(site.clone(), None, TrustedProxies::All),
            Place::new(Site::default(), origins, TrustedProxies::Hops(2)),
            Place::new(site, None, TrustedProxies::Networks(networks)),
        ];
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        Self { runtime: runtime.expect("a runtime"), places }
    }

    fn check(&self, place: &Place, bytes: &[u8], size: usize) {
        let peer: HostAddress = PEER.parse().expect("an address");
        let whole = self.answer(place, bytes, usize::MAX);
        let pieces = self.answer(place, bytes, size);
        // What is no request is known sooner or later.
        if !is_fault(&whole) || !is_fault(&pieces) {
            assert_eq!(shown(&whole), shown(&pieces), "in pieces of {size}");
        }
        let mut headers = [EMPTY_HEADER; 2000];
        let mut request = Request::new(&mut headers);
        let mut config = ParserConfig::default();
        config.allow_multiple_spaces_in_request_line_delimiters(true);
        let is_whole = matches!(config.parse_request(&mut request, bytes), Ok(Status::Complete(_)));
        let handed_over = place.acceptor.accept_request(bytes, Some(peer));
        assert!(is_whole || handed_over.is_err());
        let status = status(&whole);
        if status == Some(101) {
            assert!(is_whole, "no request was upgraded");
            let (answer, guest, _) = handed_over.expect("the same by another way");
            assert_eq!(shown(&answer), shown(&whole));
            check_upgrade(&request, &whole);
            check_guest(place, peer, guest.address, &request);
        } else if handed_over.is_ok() {
            // The one who hands it over has looked at the path, and asks.
            assert!(matches!(status, Some(404 | 401 | 200 | 304)), "{}", shown(&whole));
        }
    }

    /// What is answered: of an upgrade the head alone.
    fn answer(&self, place: &Place, bytes: &[u8], size: usize) -> Vec<u8> {
        let feed = Feed::new(bytes, size);
        let written = feed.written();
        let admission = Admission::BehindProxy(PEER.parse().expect("an address"));
        place.acceptor.spawn(std::future::ready(Some(feed)), admission, self.runtime.handle());
        self.runtime.block_on(place.acceptor.wait_until_idle());
        let mut answer = std::mem::take(&mut *written.lock().expect("no panic before"));
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |end| end + 4);
        assert!(end > 0 || answer.is_empty(), "half an answer: {}", shown(&answer));
        if status(&answer) == Some(101) {
            answer.truncate(end);
        }
        answer
    }
}

impl Place {
    fn new(site: Site, origins: Option<Vec<String>>, trust: TrustedProxies) -> Self {
        let limits = Limits::default();
        let hub = Hub::new(limits.clone(), false).expect("randomness");
        let shared = Arc::new(Shared::new(limits, hub, events::channel(16).0));
        let asked = Arc::new(Mutex::new(None));
        let asks = Arc::clone(&asked);
        let ask = Verifier::each(move |inquiry| {
            *asks.lock().expect("no panic before") = inquiry.address;
            let is_refused = inquiry.target.contains("refused");
            let headers = inquiry.headers.clone();
            inquiry.answer(match is_refused {
                true => Verdict::Rejected { why: Rejection::VerifyClient, status: 401, text: None, headers },
                false => Verdict::Admitted,
            });
        });
        let rules = Rules { origins, trusted_proxies: trust.clone(), verifier: Some(ask) };
        Self { acceptor: Arc::new(Acceptor::new(shared, Vec::new(), site, None, rules)), trust, asked }
    }
}

fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}

/// The status of an answer, which must be one.
fn status(answer: &[u8]) -> Option<u16> {
    let mut headers = [EMPTY_HEADER; 200];
    let mut response = Response::new(&mut headers);
    match response.parse(answer) {
        Ok(Status::Complete(_)) => response.code,
        _ if answer.is_empty() => None,
        other => panic!("{other:?}: {}", shown(answer)),
    }
}

/// Whether no request was found in what came.
fn is_fault(answer: &[u8]) -> bool {
    matches!(status(answer), None | Some(400 | 431))
}

/// Whatever is upgraded tungstenite would upgrade too, and with the same proof.
fn check_upgrade(request: &Request<'_, '_>, answer: &[u8]) {
    let mut theirs = http::Request::builder().method(request.method.expect("a method")).uri("/");
    for header in request.headers.iter() {
        theirs = match &*header.name.to_ascii_lowercase() {
            // Tungstenite knows no lists over several lines, and no tabs.
            "connection" | "upgrade" => theirs,
            _ => theirs.header(header.name, header.value),
        };
    }
    for (name, option) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        let lines = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let texts: Vec<_> = lines.map(|header| shown(header.value).replace('\t', " ")).collect();
        let list = texts.join(",");
        let is_there = list.split(',').any(|listed| listed.trim_matches(' ').eq_ignore_ascii_case(option));
        assert!(is_there, "{option} is not in {name}: {list}");
        theirs = theirs.header(name, option);
    }
    for name in ["sec-websocket-key", "sec-websocket-version", "host", "origin"] {
        let lines = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        assert!(lines.count() <= 1, "{name}");
    }
    let theirs = theirs.body(()).expect("a request");
    let key = theirs.headers()["sec-websocket-key"].as_bytes();
    if !b"AQgw".contains(&key[21]) {
        // Four bits of the last digit mean nothing. Tungstenite wants them to be 0, as few others do.
        return;
    }
    if !request.headers.iter().all(|header| header.value.is_ascii()) {
        // UTF-8 is text here, and none to tungstenite.
        return;
    }
    let expected = create_response(&theirs).unwrap_or_else(|error| panic!("{error}: {request:?}"));
    let proof = expected.headers()["sec-websocket-accept"].to_str().expect("base64");
    let line = format!("\r\nSec-WebSocket-Accept: {proof}\r\n");
    assert!(shown(answer).contains(&line), "{}", shown(answer));
}

/// Whose it is counts the same everywhere, and is the peer or somebody whom the request names.
fn check_guest(place: &Place, peer: HostAddress, address: Option<HostAddress>, request: &Request<'_, '_>) {
    assert_eq!(address, *place.asked.lock().expect("no panic before"));
    let forwarded =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("x-forwarded-for"));
    let values: Vec<&[u8]> = forwarded.map(|header| header.value).collect();
    let client = |trust: &TrustedProxies| trust.client(Some(peer), values.iter().copied());
    assert_eq!(address, client(&place.trust));
    assert_eq!([client(&TrustedProxies::None), client(&TrustedProxies::Hops(0))], [Some(peer); 2]);
    let address = address.expect("an address");
    let list = shown(&values.join(&b","[..])).to_ascii_lowercase();
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
        // Networks are read from options, but in the same manner.
        Network::parse(&shown(value));
    }
}
