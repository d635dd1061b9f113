//! The scenarios. Each returns its figures by name; times in microseconds, sizes in bytes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::clock;
use crate::crowd::{Crowd, LONG};
use crate::plan::{Plan, Scenario};

/// Until nothing was received for so long, nothing more is taken to come.
const SILENCE: Duration = Duration::from_millis(50);

type Figures = Map<String, Value>;

pub fn measure(plan: &Plan) -> Result<Figures> {
    match plan.scenario {
        Scenario::Relay { clients, idle, partners, size, window, warm_up, messages } => {
            let crowd = Crowd::with_partners(plan, clients + idle, size, partners)?;
            relay(crowd, Traffic { clients, partners, window }, warm_up, messages)
        }
        Scenario::Latency { clients, size, per_second, warm_up, messages } => {
            latency(Crowd::new(plan, clients, size)?, per_second, warm_up, messages)
        }
        Scenario::Connect { clients, warm_up } => connect(Crowd::new(plan, clients, 16)?, warm_up),
        Scenario::Idle { clients, warm_up, size, used } => {
            idle(Crowd::new(plan, clients, size)?, warm_up, used)
        }
        Scenario::Queue { clients, size, messages } => queue(Crowd::new(plan, clients, size)?, messages),
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

    /// What was used since `earlier` for each of `count`.
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

/// Who of the crowd sends, and to how many; the rest is idle.
#[derive(Clone, Copy)]
struct Traffic {
    clients: usize,
    partners: usize,
    window: u64,
}

fn relay(mut crowd: Crowd, traffic: Traffic, warm_up: u64, messages: u64) -> Result<Figures> {
    let pid = crowd.pid;
    crowd.connect(0..crowd.clients.len())?;
    crowd.greet()?;
    let start = crowd.received + warm_up;
    (0..traffic.clients).for_each(|id| crowd.send(id, traffic.window));
    keep_up(&mut crowd, traffic, start)?;
    let (before, first) = (Reading::take(pid)?, crowd.received);
    keep_up(&mut crowd, traffic, first + messages)?;
    let (after, last) = (Reading::take(pid)?, crowd.received);
    drain(&mut crowd)?;
    Ok(after.since(&before, last - first))
}

/// For each message that arrives its sender sends another, until `total` have arrived. Where it has many partners it
/// is the recipient who does: that keeps as many on their way.
fn keep_up(crowd: &mut Crowd, traffic: Traffic, total: u64) -> Result<()> {
    let other = if traffic.partners == 1 { 1 } else { 0 };
    while crowd.received < total {
        crowd.turn(LONG)?;
        for at in 0..crowd.arrivals.len() {
            let (id, count) = crowd.arrivals[at];
            crowd.send(id ^ other, count);
        }
    }
    Ok(())
}

/// What is on its way arrives, once, and nothing else does.
fn drain(crowd: &mut Crowd) -> Result<()> {
    let sent = crowd.clients.iter().map(|client| client.sent).sum();
    crowd.finish(sent)?;
    let until = Instant::now() + SILENCE;
    while Instant::now() < until {
        crowd.turn(SILENCE)?;
    }
    ensure!(crowd.received == sent, "{} messages arrived of {sent}", crowd.received);
    Ok(())
}

fn latency(mut crowd: Crowd, per_second: u64, warm_up: u64, messages: u64) -> Result<Figures> {
    let clients = crowd.clients.len() as u64;
    crowd.connect(0..crowd.clients.len())?;
    crowd.greet()?;
    let (total, greetings) = (warm_up + messages, crowd.received);
    let mut times = Vec::with_capacity(total as usize);
    let mut latencies = Vec::with_capacity(total as usize);
    let pause = Duration::from_secs(1) / u32::try_from(per_second)?;
    let start = Instant::now();
    let mut before = Reading::take(crowd.pid)?;
    while crowd.received - greetings < total {
        // By the clock, whatever the server does.
        let next = times.len() as u64;
        let due = start + pause * u32::try_from(next)?;
        if next < total && Instant::now() >= due {
            if next == warm_up {
                before = Reading::take(crowd.pid)?;
            }
            times.push(Instant::now());
            crowd.send((next % clients) as usize, 1);
            crowd.flush()?;
            continue;
        }
        crowd.turn_until(if next < total { due } else { Instant::now() + pause })?;
        let now = Instant::now();
        for (id, count) in &crowd.arrivals {
            let sender = *id as u64 ^ 1;
            // All have sent a greeting first, and then one message in each round.
            let rounds = crowd.clients[*id].received - 1;
            let numbers = (rounds - count..rounds).map(|round| round * clients + sender);
            let measured = numbers.filter(|number| *number >= warm_up);
            latencies.extend(measured.map(|number| (now - times[number as usize]).as_secs_f64() * 1e6));
        }
    }
    let after = Reading::take(crowd.pid)?;
    drain(&mut crowd)?;
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let mut found = figures([("p50", at(0.5)), ("p99", at(0.99)), ("p999", at(0.999)), ("max", at(1.0))]);
    found.extend(after.since(&before, messages));
    Ok(found)
}

fn connect(mut crowd: Crowd, warm_up: usize) -> Result<Figures> {
    let pid = crowd.pid;
    crowd.connect(0..warm_up)?;
    crowd.rest(false)?;
    let before = Reading::take(pid)?;
    crowd.connect(warm_up..crowd.clients.len())?;
    // A plain server does not answer to authentication: what it does, it has done when it rests.
    crowd.rest(false)?;
    let after = Reading::take(pid)?;
    crowd.greet()?;
    Ok(after.since(&before, (crowd.clients.len() - warm_up) as u64))
}

fn idle(mut crowd: Crowd, warm_up: usize, used: u64) -> Result<Figures> {
    let (pid, clients) = (crowd.pid, crowd.clients.len());
    // What is needed once, however many connections there are, is not to be counted.
    crowd.connect(0..warm_up)?;
    crowd.rest(true)?;
    let before = clock::resident(pid)?;
    crowd.connect(warm_up..clients)?;
    crowd.rest(true)?;
    let idle = clock::resident(pid)?;
    crowd.greet()?;
    for _ in 1..used {
        crowd.greet()?;
    }
    crowd.settle()?;
    let after = clock::resident(pid)?;
    let each = |bytes: u64| (bytes as f64 - before as f64) / (clients - warm_up) as f64;
    Ok(figures([("idle", each(idle)), ("used", each(after)), ("before", before as f64)]))
}

fn queue(mut crowd: Crowd, messages: u64) -> Result<Figures> {
    let (pid, clients) = (crowd.pid, crowd.clients.len());
    let each = messages / (clients as u64 / 2);
    let senders = (0..clients).step_by(2);
    crowd.connect(senders.clone())?;
    crowd.rest(true)?;
    let before = clock::resident(pid)?;
    let start = Reading::take(pid)?;
    // In parts, for the sake of this process's own buffers.
    for part in 0..each.div_ceil(100) {
        let count = (each - part * 100).min(100);
        senders.clone().for_each(|id| crowd.send(id, count));
        while !crowd.clients.iter().all(Client::is_drained) {
            crowd.turn(LONG)?;
        }
    }
    crowd.rest(false)?;
    let stored = Reading::take(pid)?;
    crowd.rest(true)?;
    let full = clock::resident(pid)?;
    let first = crowd.received;
    let begin = Reading::take(pid)?;
    crowd.connect((1..clients).step_by(2))?;
    drain(&mut crowd)?;
    crowd.rest(false)?;
    let end = Reading::take(pid)?;
    let count = crowd.received - first;
    crowd.rest(true)?;
    let empty = clock::resident(pid)?;
    let growth = |bytes: u64| bytes as f64 - before as f64;
    let mut found = figures([
        ("bytes", growth(full) / count as f64),
        ("left", growth(empty) / count as f64),
        ("store", (stored.server - start.server).as_secs_f64() * 1e6 / count as f64),
    ]);
    found.extend(end.since(&begin, count));
    Ok(found)
}
