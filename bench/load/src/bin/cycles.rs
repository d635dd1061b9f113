//! Repeatedly connects to a relay, authenticates, relays a message to itself, and closes. Prints a line for each hundred
//! thousand cycles. Reads its plan from stdin, as one line of JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

const STEP: u64 = 100_000;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[derive(Deserialize)]
struct Plan {
    port: u16,
    /// Each client has a thread, and a channel to itself.
    clients: Vec<Client>,
    cycles: u64,
}

#[derive(Deserialize)]
struct Client {
    id: u64,
    token: String,
}

fn main() -> Result<()> {
    let plan: Plan = serde_json::from_reader(std::io::stdin().lock()).context("the plan")?;
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> =
            plan.clients.iter().map(|client| scope.spawn(|| work(&plan, client, &done))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })
}

fn work(plan: &Plan, client: &Client, done: &AtomicU64) -> Result<()> {
    for number in 1..=plan.cycles / plan.clients.len() as u64 {
        // The generations alternate.
        cycle(plan.port, client, number, number % 2 == 0).with_context(|| format!("cycle {number}"))?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(STEP) {
            println!("{done}");
        }
    }
    Ok(())
}

fn cycle(port: u16, Client { id, token }: &Client, number: u64, is_reliable: bool) -> Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    reset_when_dropped(&stream)?;
    let (more, seq) = match is_reliable {
        true => (format!(r#","version":2,"session":"{number:016x}""#), r#","seq":1"#),
        false => (String::new(), ""),
    };
    let mut output = UPGRADE.as_bytes().to_vec();
    write_frame(
        0x81,
        &format!(r#"{{"authentication":{{"clientId":{id},"token":"{token}"{more}}}}}"#),
        &mut output,
    );
    write_frame(0x81, &format!(r#"{{"relay":{{"targetId":{id},"message":"{number}"{seq}}}}}"#), &mut output);
    (&stream).write_all(&output)?;
    let mut input = BufReader::new(&stream);
    read_head(&mut input)?;
    let message = format!(r#""message":"{number}""#);
    let offset = loop {
        let (first, text) = read_frame(&mut input)?;
        ensure!(first == 0x81, "a frame that begins with {first:#x}: {text}");
        if text.contains(&message) {
            break text
                .split(r#""offset":"#)
                .nth(1)
                .and_then(|rest| rest.split([',', '}']).next())
                .map(str::to_owned);
        }
    };
    let mut output = Vec::new();
    if let Some(offset) = offset {
        write_frame(0x81, &format!(r#"{{"received":{{"senderId":{id},"offset":{offset}}}}}"#), &mut output);
    }
    write_frame(0x88, "", &mut output);
    (&stream).write_all(&output)?;
    while read_frame(&mut input)?.0 != 0x88 {}
    Ok(())
}

/// Resets the connection when dropped, so that its port can be reused at once.
fn reset_when_dropped(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the pointer is to a value of this size, which is only read.
    let failed = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
    if failed != 0 { bail!(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Appends a short frame, masked with zeros.
fn write_frame(first: u8, text: &str, output: &mut Vec<u8>) {
    output.push(first);
    match text.len() {
        length @ 0..=125 => output.push(0x80 | length as u8),
        length => {
            output.push(0x80 | 126);
            output.extend((length as u16).to_be_bytes());
        }
    }
    output.extend([0; 4]);
    output.extend(text.as_bytes());
}

fn read_head(input: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 101 "), "not upgraded: {line}");
    while line != "\r\n" {
        line.clear();
        input.read_line(&mut line)?;
    }
    Ok(())
}

fn read_frame(input: &mut impl Read) -> Result<(u8, String)> {
    let mut head = [0; 2];
    input.read_exact(&mut head)?;
    let mut length = usize::from(head[1]);
    if length == 126 {
        let mut long = [0; 2];
        input.read_exact(&mut long)?;
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    Ok((head[0], String::from_utf8_lossy(&payload).into_owned()))
}
