//! Cases of the protocol layer, for `npm run bench:instructions`: decoding and encoding of single frames.

mod support;

use std::hint::black_box;

use support::{Case, case};
use websocket_relay::ClientId;
use websocket_relay::ids::{Offset, Seq};
use websocket_relay::protocol::encode::{self, MessageNumber, Notice};
use websocket_relay::protocol::frame::{Decoder, text_header};
use websocket_relay::protocol::{Generation, decode};

const SIZES: [(usize, &str); 3] = [(16, "16 B"), (512, "512 B"), (16_384, "16 KiB")];

fn main() {
    let mut cases = Vec::new();
    for (size, title) in SIZES {
        cases.push(unframe(format!("unframe {title}"), &"x".repeat(size)));
    }
    cases.push(unframe("unframe 512 B, not ASCII".to_owned(), &"é".repeat(256)));
    for (size, title) in SIZES {
        cases.push(parse(format!("decode relay {title}"), Generation::Plain, &relay_text(&plain(size), "")));
    }
    for (size, title) in SIZES {
        let text = relay_text(&escaped(size), "");
        cases.push(parse(format!("decode relay {title}, with escapes"), Generation::Plain, &text));
    }
    for (size, title) in SIZES {
        let text = relay_text(&plain(size), r#","seq":12345"#);
        cases.push(parse(format!("decode relay {title}, generation 2"), Generation::Reliable, &text));
    }
    for (size, title) in SIZES {
        let text = relay_text(&escaped(size), r#","seq":12345"#);
        let name = format!("decode relay {title}, with escapes, generation 2");
        cases.push(parse(name, Generation::Reliable, &text));
    }
    let spaced = relay_text(&plain(512), "").replace(':', ": ");
    cases.push(parse("decode relay 512 B, with white space".to_owned(), Generation::Plain, &spaced));
    let received = r#"{"received":{"senderId":17,"offset":12345}}"#;
    cases.push(parse("decode received".to_owned(), Generation::Reliable, received));
    for (offset, title) in [(None, ""), (Some(Offset(12_345)), ", generation 2")] {
        for (size, size_title) in SIZES {
            cases.push(write(format!("encode relay {size_title}{title}"), offset, size));
        }
    }
    let (target, mut out) = (client(17), Vec::new());
    cases.push(case("encode accepted", move || {
        out.clear();
        encode::notice(black_box(&Notice::Accepted { target, seq: Seq(12_345) }), &mut out);
        black_box(&out);
    }));
    support::run(cases);
}

fn client(number: u64) -> ClientId {
    ClientId::new(number).expect("a small number")
}

fn plain(size: usize) -> String {
    "a message ".chars().cycle().take(size).collect()
}

/// Returns text with an escape in every sixteen characters.
fn escaped(size: usize) -> String {
    r#"lines of text \n"#.chars().cycle().take(size).collect()
}

fn relay_text(message: &str, members: &str) -> String {
    format!(r#"{{"relay":{{"targetId":17,"message":"{message}"{members}}}}}"#)
}

/// From a frame to its text.
fn unframe(name: String, text: &str) -> Case {
    // Frames are unmasked in place. This mask turns text to text and back, so the buffer can be decoded repeatedly.
    const MASK: [u8; 4] = [1; 4];
    let mut frame = Vec::new();
    text_header(text.len(), &mut frame);
    frame[1] |= 0x80;
    frame.extend_from_slice(&MASK);
    frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    let mut decoder = Decoder::new(1 << 20);
    case(name, move || {
        let decoded = decoder.decode(black_box(&mut &mut frame[..])).expect("a frame");
        black_box(decoded.expect("a complete frame"));
    })
}

/// From a text to a client's frame.
fn parse(name: String, generation: Generation, text: &str) -> Case {
    let text = text.to_owned();
    case(name, move || {
        black_box(decode(black_box(&text), generation).expect("a valid frame"));
    })
}

/// From a message to its frame.
fn write(name: String, offset: Option<Offset>, size: usize) -> Case {
    let number = offset.map(|offset| MessageNumber { offset, seq: Seq(offset.0), session: None });
    let (sender, message, mut out) = (client(17), format!("\"{}\"", plain(size)), Vec::new());
    case(name, move || {
        out.clear();
        encode::relay(black_box(sender), black_box(number), black_box(message.as_bytes()), &mut out);
        black_box(&out);
    })
}
