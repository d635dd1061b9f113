//! Sessions under everything that can go wrong between them and their clients, as a seed decides: connections break at any
//! byte or are half open, bytes come late, tasks wake in any order, lanes are full, pages reload and fight, channels come
//! and go. What each application hears is held against what was sent and accepted: once, and in order.
//!
//! `npm run torture:simulation -- --seeds 100000` runs many seeds, `--from 7 --seeds 1` one of them.

mod ledger;
mod link;
mod page;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Counts, Trace};

/// Lines of a run that are shown when it fails.
const SHOWN: u64 = 150;

/// Runs a seed; when it fails, runs it again and returns how it went.
fn run(seed: u64) -> Result<Counts, String> {
    let attempt = |trace: Option<&Trace>| {
        catch_unwind(AssertUnwindSafe(|| world::run(seed, trace))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        })
    };
    attempt(None).map_err(|problem| {
        let trace = Trace::default();
        attempt(Some(&trace)).err();
        let lines = trace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shown = variable("SIMULATION_LINES", SHOWN) as usize;
        let lines = &lines[lines.len().saturating_sub(shown)..];
        format!("seed {seed}: {problem}\n{}", lines.join("\n"))
    })
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn every_message_arrives_once_and_in_order_whatever_happens() {
    for seed in 0..variable("SIMULATION_QUICK_SEEDS", 1000) {
        if let Err(problem) = run(seed) {
            panic!("{problem}");
        }
    }
}

/// What `npm run torture:simulation` runs.
#[test]
#[ignore = "takes long"]
fn torture() {
    let (from, seeds) = (variable("SIMULATION_FROM", 0), variable("SIMULATION_SEEDS", 100_000));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // What is wrong is shown below, once.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, failed, started) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let work = || {
        let mut sum = Counts::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds {
                return sum;
            }
            match run(from + number) {
                Ok(Counts { messages, faults, connections }) => {
                    sum.messages += messages;
                    sum.faults += faults;
                    sum.connections += connections;
                }
                Err(problem) if failed.fetch_add(1, Ordering::Relaxed) == 0 => println!("{problem}\n"),
                Err(problem) => println!("{}", problem.lines().next().unwrap_or_default()),
            }
            if number % 10_000 == 9_999 {
                println!("{} seeds in {:.0?}", number + 1, started.elapsed());
            }
        }
    };
    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let all = workers.into_iter().map(|worker| worker.join().expect("it caught all panics"));
        all.fold(Counts::default(), |sum, counts| Counts {
            messages: sum.messages + counts.messages,
            faults: sum.faults + counts.faults,
            connections: sum.connections + counts.connections,
        })
    });
    let (failed, rate) = (failed.into_inner(), seeds as f64 / started.elapsed().as_secs_f64());
    let Counts { messages, faults, connections } = counts;
    println!(
        "{seeds} seeds from {from} on, {rate:.0} in a second: {connections} connections, {faults} faults, {messages} messages heard, {failed} violations"
    );
    let _ = std::panic::take_hook();
    assert_eq!(failed, 0, "violations");
}
