//! An echo server for `npm run conformance`: the whole engine, built with the Cargo feature `conformance`.
//!
//! A session then sends back each message, binary ones too, instead of decoding and relaying it. Accepting, limits, reading,
//! control frames, closing and writing are those of the relay. The server prints its address, and ends when its input ends.
//!
//! No case fails. 6.4.3 and 6.4.4 are non-strict, since text is checked by the frame; 7.1.6, 7.13.1 and 7.13.2 are
//! informational.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::runtime::Builder;
use websocket_relay::{Address, Error, Event, Limits, Options, Relay};

/// The longest message of the test cases.
const MAX_PAYLOAD: usize = 16 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The test cases do not authenticate.
    let auth_timeout = Duration::from_secs(3600);
    let limits = Limits { max_unauthenticated_payload: MAX_PAYLOAD, auth_timeout, ..Limits::default() };
    let (mut relay, mut events) = Relay::new(Options { limits, ..Options::default() })?;
    relay.listen(Address { ip: Some(Ipv4Addr::LOCALHOST.into()), port: 0 })?;
    std::thread::spawn(move || {
        // The input is ignored; an error counts as its end.
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        relay.close();
    });
    Builder::new_current_thread().build()?.block_on(async {
        let mut batch = Vec::new();
        while events.recv_many(&mut batch, 64).await {
            for event in batch.drain(..) {
                match event {
                    Event::Listening(address) => println!("{address}"),
                    Event::ListenFailed(error) => return Err(Error::System(error).into()),
                    Event::Panicked => return Err("a session panicked".into()),
                    _ => {}
                }
            }
        }
        Ok(())
    })
}
