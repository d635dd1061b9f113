//! The scenarios. Each returns its figures by name; times in microseconds, sizes in bytes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::client_pool::{ClientPool, LONG};
use crate::clock;
use crate::plan::{Plan, Scenario};

/// Time without a message after which nothing more is expected.
const SILENCE: Duration = Duration::from_millis(50);

type Figures = Map<String, Value>;

pub fn measure(plan: &Plan) -> Result<Figures> {
    match plan.scenario {
        Scenario::Relay { clients, idle, partners, size, window, warm_up, messages } => {
            let pool = ClientPool::with_partners(plan, clients + idle, size, partners)?;
            relay(pool, Traffic { clients, partners, window }, warm_up, messages)
        }
        Scenario::Latency { clients, size, per_second, warm_up, messages } => {
            latency(ClientPool::new(plan, clients, size)?, per_second, warm_up, messages)
        }
        Scenario::Connect { clients, warm_up } => connect(ClientPool::new(plan, clients, 16)?, warm_up),
        Scenario::Idle { clients, warm_up, size, used } => {
            idle(ClientPool::new(plan, clients, size)?, warm_up, used)
        }
        Scenario::Queue { clients, size, messages } => queue(ClientPool::new(plan, clients, size)?, messages),
        Scenario::Fill { clients, size, messages } => {
            let mut pool = ClientPool::new(plan, clients, size)?;
            pool.connect((0..clients).step_by(2))?;
            fill(&mut pool, messages)
        }
    }
}

fn figures<const N: usize>(figures: [(&str, f64); N]) -> Figures {
    figures.into_iter().map(|(name, figure)| (name.to_owned(), json!(figure))).collect()
}

/// The clocks at one point of a measurement.
struct Reading {
    server: Duration,
    own: Duration,
    time: Instant,
}

impl Reading {
    fn take(pid: i32) -> Result<Self> {
        Ok(Self { server: clock::of_process(pid)?, own: clock::own()?, time: Instant::now() })
    }

    /// Returns what was used since `earlier`, divided by `count`.
    fn since(&self, earlier: &Self, count: u64) -> Figures {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        let elapsed = self.time - earlier.time;
        figures([
            ("server", each(self.server - earlier.server)),
            ("load", each(self.own - earlier.own)),
            ("perSecond", count as f64 / elapsed.as_secs_f64()),
            ("seconds", elapsed.as_secs_f64()),
            ("count", count as f64),
        ])
    }
}

/// The clients that send, and the number of their partners. The others are idle.
#[derive(Clone, Copy)]
struct Traffic {
    clients: usize,
    partners: usize,
    window: u64,
}

fn relay(mut pool: ClientPool, traffic: Traffic, warm_up: u64, messages: u64) -> Result<Figures> {
    let pid = pool.pid;
    pool.connect(0..pool.clients.len())?;
    pool.greet()?;
    let start = pool.received + warm_up;
    (0..traffic.clients).for_each(|id| pool.send(id, traffic.window));
    keep_up(&mut pool, traffic, start)?;
    let (before, first) = (Reading::take(pid)?, pool.received);
    keep_up(&mut pool, traffic, first + messages)?;
    let (after, last) = (Reading::take(pid)?, pool.received);
    drain(&mut pool)?;
    Ok(after.since(&before, last - first))
}

/// Sends another message for each that arrives, until `total` have arrived: from its sender or, with many partners, from
/// its recipient, which keeps the number in flight.
fn keep_up(pool: &mut ClientPool, traffic: Traffic, total: u64) -> Result<()> {
    let other = if traffic.partners == 1 { 1 } else { 0 };
    while pool.received < total {
        pool.turn(LONG)?;
        for at in 0..pool.arrivals.len() {
            let (id, count) = pool.arrivals[at];
            pool.send(id ^ other, count);
        }
    }
    Ok(())
}

/// Receives the messages in flight, and checks that nothing else arrives.
fn drain(pool: &mut ClientPool) -> Result<()> {
    let sent = pool.clients.iter().map(|client| client.sent).sum();
    pool.finish(sent)?;
    let until = Instant::now() + SILENCE;
    while Instant::now() < until {
        pool.turn(SILENCE)?;
    }
    ensure!(pool.received == sent, "{} messages arrived of {sent}", pool.received);
    Ok(())
}

fn latency(mut pool: ClientPool, per_second: u64, warm_up: u64, messages: u64) -> Result<Figures> {
    let clients = pool.clients.len() as u64;
    pool.connect(0..pool.clients.len())?;
    pool.greet()?;
    let (total, greetings) = (warm_up + messages, pool.received);
    let mut times = Vec::with_capacity(total as usize);
    let mut latencies = Vec::with_capacity(total as usize);
    let pause = Duration::from_secs(1) / u32::try_from(per_second)?;
    let start = Instant::now();
    let mut before = Reading::take(pool.pid)?;
    while pool.received - greetings < total {
        // On schedule, whatever the server does.
        let next = times.len() as u64;
        let due = start + pause * u32::try_from(next)?;
        if next < total && Instant::now() >= due {
            if next == warm_up {
                before = Reading::take(pool.pid)?;
            }
            times.push(Instant::now());
            pool.send((next % clients) as usize, 1);
            pool.flush()?;
            continue;
        }
        pool.turn_until(if next < total { due } else { Instant::now() + pause })?;
        let now = Instant::now();
        for (id, count) in &pool.arrivals {
            let sender = *id as u64 ^ 1;
            // Each client has sent a greeting, and then one message per round.
            let rounds = pool.clients[*id].received - 1;
            let numbers = (rounds - count..rounds).map(|round| round * clients + sender);
            let measured = numbers.filter(|number| *number >= warm_up);
            latencies.extend(measured.map(|number| (now - times[number as usize]).as_secs_f64() * 1e6));
        }
    }
    let after = Reading::take(pool.pid)?;
    drain(&mut pool)?;
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let mut found = figures([("p50", at(0.5)), ("p99", at(0.99)), ("p999", at(0.999)), ("max", at(1.0))]);
    found.extend(after.since(&before, messages));
    Ok(found)
}

fn connect(mut pool: ClientPool, warm_up: usize) -> Result<Figures> {
    let pid = pool.pid;
    pool.connect(0..warm_up)?;
    pool.rest(false)?;
    let before = Reading::take(pid)?;
    pool.connect(warm_up..pool.clients.len())?;
    // A plain server does not confirm authentication, but it has processed it when it is idle.
    pool.rest(false)?;
    let after = Reading::take(pid)?;
    pool.greet()?;
    Ok(after.since(&before, (pool.clients.len() - warm_up) as u64))
}

fn idle(mut pool: ClientPool, warm_up: usize, used: u64) -> Result<Figures> {
    let (pid, clients) = (pool.pid, pool.clients.len());
    // Memory that does not depend on the number of connections must not count.
    pool.connect(0..warm_up)?;
    pool.rest(true)?;
    let before = clock::resident(pid)?;
    pool.connect(warm_up..clients)?;
    pool.rest(true)?;
    let idle = clock::resident(pid)?;
    pool.greet()?;
    for _ in 1..used {
        pool.greet()?;
    }
    pool.settle()?;
    let after = clock::resident(pid)?;
    let each = |bytes: u64| (bytes as f64 - before as f64) / (clients - warm_up) as f64;
    Ok(figures([("idle", each(idle)), ("used", each(after)), ("before", before as f64)]))
}

fn queue(mut pool: ClientPool, messages: u64) -> Result<Figures> {
    let (pid, clients) = (pool.pid, pool.clients.len());
    pool.connect((0..clients).step_by(2))?;
    pool.rest(true)?;
    let before = clock::resident(pid)?;
    let mut found = fill(&mut pool, messages)?;
    pool.rest(true)?;
    let full = clock::resident(pid)?;
    let first = pool.received;
    let begin = Reading::take(pid)?;
    pool.connect((1..clients).step_by(2))?;
    drain(&mut pool)?;
    pool.rest(false)?;
    let end = Reading::take(pid)?;
    let count = pool.received - first;
    pool.rest(true)?;
    let empty = clock::resident(pid)?;
    let growth = |bytes: u64| bytes as f64 - before as f64;
    found.extend(figures([("bytes", growth(full) / count as f64), ("left", growth(empty) / count as f64)]));
    found.extend(end.since(&begin, count));
    Ok(found)
}

/// Has every other client, which is connected, send its share to its absent partner.
fn fill(pool: &mut ClientPool, messages: u64) -> Result<Figures> {
    let (pid, clients) = (pool.pid, pool.clients.len());
    let each = messages / (clients as u64 / 2);
    let count = (each * (clients as u64 / 2)) as f64;
    let (start, written) = (Reading::take(pid)?, clock::written(pid)?);
    // In parts, to bound the buffers of this process.
    for part in 0..each.div_ceil(100) {
        let count = (each - part * 100).min(100);
        (0..clients).step_by(2).for_each(|id| pool.send(id, count));
        while !pool.clients.iter().all(Client::is_drained) {
            pool.turn(LONG)?;
        }
    }
    let taken = Instant::now() - start.time;
    pool.rest(false)?;
    let stored = Reading::take(pid)?;
    let holds: u64 = pool.clients.iter().map(|client| client.holds).sum();
    Ok(figures([
        ("store", (stored.server - start.server).as_secs_f64() * 1e6 / count),
        ("storedPerSecond", count / taken.as_secs_f64()),
        ("holds", holds as f64 * 1e3 / count),
        ("written", (clock::written(pid)? - written) as f64 / count),
    ]))
}
