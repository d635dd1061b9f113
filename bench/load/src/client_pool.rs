//! All clients, on one thread with one edge-triggered epoll.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mio::{Events, Poll};

use crate::client::Client;
use crate::clock;
use crate::plan::Plan;
use crate::timer::Timer;

const READ_BUFFER: usize = 256 * 1024;

/// Longest wait before the deadline is checked.
pub const LONG: Duration = Duration::from_millis(100);

/// Connections opened at a time.
const CONNECTING: usize = 64;

/// A server is idle when it has used less than `REST_CPU` in each of `REST_LOOKS` pauses.
const REST_PAUSE: Duration = Duration::from_millis(20);
const REST_LOOKS: u32 = 8;
const REST_CPU: Duration = Duration::from_micros(500);
/// Time for a server to release memory.
const SETTLING: Duration = Duration::from_secs(12);

pub struct ClientPool {
    poll: Poll,
    timer: Timer,
    events: Events,
    buffer: Box<[u8]>,
    pub clients: Vec<Client>,
    address: SocketAddr,
    pub pid: i32,
    collects_garbage: bool,
    /// ClientPool with output.
    dirty: Vec<usize>,
    /// When something that the server had no room for is sent again, if there is something.
    resend: Option<Instant>,
    /// ClientPool that received messages in the last turn, and how many.
    pub arrivals: Vec<(usize, u64)>,
    /// Total number of messages received.
    pub received: u64,
    deadline: Instant,
}

impl ClientPool {
    /// Creates `count` unconnected clients with one partner each and messages of `size` bytes.
    pub fn new(plan: &Plan, count: usize, size: usize) -> Result<Self> {
        Self::with_partners(plan, count, size, 1)
    }

    /// Creates clients with several partners.
    pub fn with_partners(plan: &Plan, count: usize, size: usize, partners: usize) -> Result<Self> {
        let is_even = partners == 1 || count.is_power_of_two() && partners < count;
        ensure!(is_even, "{count} clients cannot have {partners} partners each");
        ensure!(
            count.is_multiple_of(2) && count <= plan.server.tokens.len(),
            "{count} clients are not there"
        );
        let poll = Poll::new()?;
        Ok(Self {
            timer: Timer::new(poll.registry())?,
            poll,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ_BUFFER].into(),
            clients: (0..count).map(|id| Client::new(id, plan, size, partners)).collect(),
            address: (Ipv4Addr::LOCALHOST, plan.server.port).into(),
            pid: plan.server.pid,
            collects_garbage: plan.server.collects_garbage,
            dirty: Vec::new(),
            resend: None,
            arrivals: Vec::new(),
            received: 0,
            deadline: Instant::now() + Duration::from_secs(plan.max_seconds),
        })
    }

    /// Connects and authenticates clients, a limited number at a time.
    pub fn connect(&mut self, ids: impl Iterator<Item = usize>) -> Result<()> {
        let mut ids = ids.peekable();
        let mut waiting = Vec::new();
        while ids.peek().is_some() || !waiting.is_empty() {
            while waiting.len() < CONNECTING
                && let Some(id) = ids.next()
            {
                self.clients[id].connect(self.poll.registry(), self.address)?;
                waiting.push(id);
            }
            self.turn(LONG)?;
            waiting.retain(|id| !self.clients[*id].is_open());
        }
        Ok(())
    }

    /// Makes a client send messages at the end of the turn.
    pub fn send(&mut self, id: usize, count: u64) {
        (0..count).for_each(|_| self.clients[id].send());
        self.dirty.push(id);
    }

    /// Writes all output, then waits for the sockets and reads.
    pub fn turn(&mut self, wait: Duration) -> Result<()> {
        let now = Instant::now();
        if self.resend.is_some_and(|due| due <= now) {
            self.dirty.extend(0..self.clients.len());
            self.resend = self.clients.iter_mut().filter_map(|client| client.resend(now)).min();
        }
        self.flush()?;
        ensure!(now < self.deadline, "not done in time; {} messages arrived", self.received);
        let wait = self.resend.map_or(wait, |due| wait.min(due.saturating_duration_since(now)));
        self.poll.poll(&mut self.events, Some(wait))?;
        self.arrivals.clear();
        for event in self.events.iter().filter(|event| event.token() != Timer::TOKEN) {
            let id = event.token().0;
            if event.is_readable() {
                let holds = self.clients[id].holds;
                let count = self.clients[id].read(&mut self.buffer)?;
                if self.clients[id].holds > holds {
                    self.resend = self.clients[id].resend(now).into_iter().chain(self.resend).min();
                }
                if count > 0 {
                    self.arrivals.push((id, count));
                }
                self.received += count;
            }
            self.dirty.push(id);
        }
        Ok(())
    }

    /// Runs turns until `time`, or until something arrives.
    pub fn turn_until(&mut self, time: Instant) -> Result<()> {
        self.flush()?;
        self.timer.set(time.saturating_duration_since(Instant::now()))?;
        self.turn(LONG)
    }

    /// Writes all output.
    pub fn flush(&mut self) -> Result<()> {
        while let Some(id) = self.dirty.pop() {
            self.clients[id].flush()?;
        }
        Ok(())
    }

    /// Runs turns until `total` messages have been received and everything is sent. ClientPool with nothing left to send
    /// acknowledge at once.
    pub fn finish(&mut self, total: u64) -> Result<()> {
        self.acknowledge();
        while self.received < total || !self.clients.iter().all(Client::is_drained) {
            self.turn(LONG)?;
            self.acknowledge();
        }
        self.flush()
    }

    fn acknowledge(&mut self) {
        for (id, client) in self.clients.iter_mut().enumerate().filter(|(_, client)| client.is_open()) {
            client.acknowledge();
            self.dirty.push(id);
        }
    }

    /// Has every client send one message. When all have arrived, all clients are authenticated.
    pub fn greet(&mut self) -> Result<()> {
        let total = self.received + self.clients.len() as u64;
        (0..self.clients.len()).for_each(|id| self.send(id, 1));
        self.finish(total)
    }

    /// Waits until the server is idle. With `tidy` it collects its garbage first.
    pub fn rest(&mut self, tidy: bool) -> Result<()> {
        if tidy && self.collects_garbage {
            self.come_to_rest()?;
            clock::collect_garbage(self.pid);
        }
        self.come_to_rest()
    }

    /// Waits for the server to release memory, and until it is idle.
    pub fn settle(&mut self) -> Result<()> {
        self.turn_for(SETTLING)?;
        self.rest(true)
    }

    fn turn_for(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn_until(until)?;
        }
        Ok(())
    }

    fn come_to_rest(&mut self) -> Result<()> {
        let (mut used, mut looks) = (clock::of_process(self.pid)?, 0);
        while looks < REST_LOOKS {
            self.turn_for(REST_PAUSE)?;
            let now = clock::of_process(self.pid)?;
            looks = if now - used < REST_CPU { looks + 1 } else { 0 };
            used = now;
        }
        Ok(())
    }
}
