//! Cases for `npm run bench:instructions`, which checks that their cost is proportional: texts that make a careless parser
//! superlinear and fragmented messages, each at two sizes, and authentications with right and wrong tokens.

mod support;

use std::hint::black_box;
use std::time::Instant;

use serde_json::Value;
use support::{Case, case};
use websocket_relay::ids::TokenHash;
use websocket_relay::model::Registry;
use websocket_relay::protocol::frame::Decoder;
use websocket_relay::protocol::{Generation, decode};
use websocket_relay::{ClientId, Token};

/// The two sizes of a text, in bytes. The larger one may take 2.2 times as many instructions as the smaller one.
const SIZES: [(usize, &str); 2] = [(64 * 1024, "once"), (128 * 1024, "twice")];

fn main() {
    let mut cases = Vec::new();
    let vectors: Value = serde_json::from_str(include_str!("../__test__/vectors/shapes.json")).expect("JSON");
    for shape in vectors["shapes"].as_array().expect("a list") {
        let text = |member: &str| shape[member].as_str().expect("text");
        for (size, title) in SIZES {
            let repeat = text("repeat");
            let long = [text("before"), &repeat.repeat(size / repeat.len()), text("after")].concat();
            cases.push(case(format!("decode {}, {title}", text("name")), move || {
                black_box(decode(black_box(&long), Generation::Plain).ok());
            }));
        }
    }
    for length in [0, 1] {
        for (size, title) in SIZES {
            cases.push(fragments(format!("fragments of {length} B, {title}"), length, size / 8));
        }
    }
    cases.extend(tokens());
    support::run(cases);
}

/// A message in `count` fragments of `length` bytes.
fn fragments(name: String, length: usize, count: usize) -> Case {
    // A mask of zeros leaves the bytes as they are, so that they can be decoded repeatedly.
    let fragment = |first: u8| [&[first, 0x80 | length as u8, 0, 0, 0, 0][..], &b"x"[..length]].concat();
    let mut bytes = fragment(0x01);
    bytes.extend(fragment(0x00).repeat(count));
    bytes.extend(fragment(0x80));
    let mut decoder = Decoder::new(1 << 20);
    case(name, move || {
        let mut used = 0;
        while used < bytes.len() {
            let decoded = decoder.decode(black_box(&mut &mut bytes[used..])).expect("frames");
            used += black_box(decoded.expect("a complete frame")).1;
        }
    })
}

/// Authentications with right and wrong tokens.
fn tokens() -> Vec<Case> {
    let token = || Token::random().expect("randomness");
    let own = token();
    let with_wrong_digit = |index: usize| {
        let mut text = own.reveal().to_owned();
        let wrong = if text.as_bytes()[index] == b'0' { "1" } else { "0" };
        text.replace_range(index..=index, wrong);
        text
    };
    let attempts = [
        ("right", 500, own.reveal().to_owned()),
        ("wrong in its first digit", 500, with_wrong_digit(0)),
        ("wrong in its last digit", 500, with_wrong_digit(31)),
        ("of another", 501, own.reveal().to_owned()),
        ("of an unknown id", 5_000, own.reveal().to_owned()),
    ];
    let attempt = |(name, id, text): (&str, u64, String)| {
        let hash = |token: Token| TokenHash::of(token.reveal());
        let mut registry = Registry::new(hash(token()));
        for number in 0..1_000 {
            let token = if number == 500 { own.clone() } else { token() };
            registry.register(None, hash(token), (), None, Instant::now()).expect("a free id");
        }
        let id = ClientId::new(id).expect("a small number");
        case(format!("token {name}"), move || {
            for _ in 0..1_000 {
                black_box(registry.authenticate(black_box(id), black_box(&text)));
            }
        })
    };
    attempts.into_iter().map(attempt).collect()
}
