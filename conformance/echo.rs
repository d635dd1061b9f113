//! A relay that sends every message back: the engine from the port to the frames, for `npm run conformance`. It prints its
//! address, and ends with its input.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::runtime::Builder;
use websocket_relay::{Address, Error, Event, Limits, Options, Relay};

/// The longest message of the cases.
const LONGEST: usize = 16 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Nobody authenticates here.
    let auth_timeout = Duration::from_secs(3600);
    let limits = Limits { max_unauthenticated_payload: LONGEST, auth_timeout, ..Limits::default() };
    let (mut relay, mut events) = Relay::new(Options { limits, ..Options::default() })?;
    relay.listen(Address { ip: Some(Ipv4Addr::LOCALHOST.into()), port: 0 })?;
    std::thread::spawn(move || {
        // What it holds means nothing, and an error is an end as well.
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
