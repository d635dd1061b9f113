//! The floor: a relay that only copies bytes between the two sockets of a pair. It reads the upgrade request and the
//! authentication, and nothing afterwards: no frames, no JSON, no limits. No relay with one read and one write per batch
//! can be cheaper.

use std::io::{Error, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use libc::c_int;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

#[path = "../handshake.rs"]
mod handshake;

const LISTENER: Token = Token(usize::MAX);
const READ_BUFFER: usize = 256 * 1024;

struct Connection {
    stream: TcpStream,
    /// Until it has authenticated: whether it was upgraded, and the bytes received.
    client: Option<usize>,
    is_upgraded: bool,
    input: Vec<u8>,
}

#[derive(Default)]
struct Floor {
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// The connection of each client, and the bytes that wait for it.
    clients: Vec<Client>,
}

#[derive(Default)]
struct Client {
    connection: Option<usize>,
    waiting: Vec<u8>,
}

fn main() -> Result<()> {
    let count = std::env::args().nth(1).context("how many clients?")?.parse()?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    // Accepted sockets inherit the first option; with the second they come with their request. Neither costs a call.
    set(&listener, libc::TCP_NODELAY, 1)?;
    set(&listener, libc::TCP_DEFER_ACCEPT, 1)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (pid, port) = (std::process::id(), listener.local_addr()?.port());
    let tokens = vec![""; count];
    let introduction =
        json!({"pid": pid, "port": port, "tokens": tokens, "dialect": "verbatim", "collectsGarbage": false});
    println!("{introduction}");
    let mut floor = Floor::default();
    floor.clients.resize_with(count, Client::default);
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    let id = floor.accept(stream, &poll)?;
                    if floor.read(id, &mut buffer).is_err() {
                        floor.close(id);
                    }
                }
                continue;
            }
            let id = event.token().0;
            if event.is_readable() && floor.read(id, &mut buffer).is_err() {
                floor.close(id);
            } else if event.is_writable() {
                floor.write(id);
            }
        }
    }
}

fn set(listener: &TcpListener, option: c_int, value: c_int) -> Result<()> {
    let (value, size) = ((&raw const value).cast(), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: reads one integer that outlives the call.
    let failed = unsafe { libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, option, value, size) };
    ensure!(failed == 0, Error::last_os_error());
    Ok(())
}

impl Floor {
    fn accept(&mut self, mut stream: TcpStream, poll: &Poll) -> Result<usize> {
        let id = self.free.pop().unwrap_or(self.connections.len());
        poll.registry().register(&mut stream, Token(id), Interest::READABLE | Interest::WRITABLE)?;
        if id == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[id] =
            Some(Connection { stream, client: None, is_upgraded: false, input: Vec::new() });
        Ok(id)
    }

    fn close(&mut self, id: usize) {
        if let Some(client) = self.connections[id].take().and_then(|connection| connection.client) {
            self.clients[client].connection = None;
        }
        self.free.push(id);
    }

    fn read(&mut self, id: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let Some(connection) = &mut self.connections[id] else { return Ok(()) };
            let size = match connection.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                size => size?,
            };
            ensure!(size > 0, "ended");
            match connection.client {
                Some(client) => self.pass(client, &buffer[..size]),
                None => self.greet(id, &buffer[..size])?,
            }
            if size < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Writes a client's bytes to its partner, or keeps them.
    fn pass(&mut self, client: usize, bytes: &[u8]) {
        let partner = &mut self.clients[client ^ 1];
        let mut rest = bytes;
        if let Some(id) = partner.connection
            && partner.waiting.is_empty()
            && let Some(connection) = &mut self.connections[id]
            && let Ok(taken) = connection.stream.write(rest)
        {
            rest = &rest[taken..];
        }
        partner.waiting.extend_from_slice(rest);
    }

    /// Writes the bytes that wait for a connection's client.
    fn write(&mut self, id: usize) {
        let Some(connection) = &mut self.connections[id] else { return };
        let Some(client) = connection.client else { return };
        let waiting = &mut self.clients[client].waiting;
        if waiting.is_empty() {
            return;
        }
        let mut written = 0;
        while written < waiting.len()
            && let Ok(taken) = connection.stream.write(&waiting[written..])
        {
            written += taken;
        }
        waiting.drain(..written);
        if waiting.is_empty() {
            *waiting = Vec::new();
        }
    }

    /// Handles the upgrade, then the authentication.
    fn greet(&mut self, id: usize, bytes: &[u8]) -> Result<()> {
        let Some(connection) = &mut self.connections[id] else { return Ok(()) };
        connection.input.extend_from_slice(bytes);
        if !connection.is_upgraded {
            let Some(end) = connection.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return Ok(());
            };
            connection.input.drain(..end + 4);
            connection.is_upgraded = true;
            connection.stream.write_all(handshake::UPGRADED.as_bytes())?;
        }
        let &[_, length, a, b, c, d, ref rest @ ..] = &connection.input[..] else { return Ok(()) };
        let size = usize::from(length & 0x7F);
        ensure!(size < 126, "an authentication is short");
        let Some((text, behind)) = rest.split_at_checked(size) else { return Ok(()) };
        let client = handshake::client(&[a, b, c, d], text)?;
        ensure!(client < self.clients.len(), "unknown client");
        let behind = behind.to_vec();
        connection.input = Vec::new();
        connection.client = Some(client);
        self.clients[client].connection = Some(id);
        if !behind.is_empty() {
            self.pass(client, &behind);
        }
        self.write(id);
        Ok(())
    }
}
