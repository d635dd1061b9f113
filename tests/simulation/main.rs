//! Runs real sessions over simulated sockets. The test polls the sessions by hand, in an order that a seed decides, on a clock
//! that stands still, so the same seed is always the same run.
//!
//! Pages that behave like `client/` are at the other end of links that break at any byte, stall, or deliver late. Sessions wake
//! in any order, lanes fill up, pages reload and replace each other, channels open and close. Half of the runs have a store on a
//! simulated disk: the server is killed, or loses power, at any step, and goes on with what the disk has kept. A ledger compares
//! what each application receives with what was sent and accepted: every accepted message arrives once and in order, and no
//! message is accepted before it is committed or received. A failing seed is printed with its run.
//!
//! The feature `faults` provides the simulated sockets for other sessions (`shared_writer.rs`).
//!
//! `npm run torture:simulation -- --seeds 100000` runs many seeds, `--from 7 --seeds 1` one of them.

mod disk;
mod ledger;
mod link;
mod page;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Counts, Trace};

/// Lines of a failed run that are shown.
const SHOWN_LINES: u64 = 150;

/// Runs a seed. If it fails, runs it again and returns its trace.
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
        let shown = variable("SIMULATION_LINES", SHOWN_LINES) as usize;
        let lines = &lines[lines.len().saturating_sub(shown)..];
        format!("seed {seed}: {problem}\n{}", lines.join("\n"))
    })
}

/// Returns the number in an environment variable.
fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn delivers_every_message_once_in_order() {
    for seed in 0..variable("SIMULATION_QUICK_SEEDS", 1000) {
        if let Err(problem) = run(seed) {
            panic!("{problem}");
        }
    }
}

/// Run by `npm run torture:simulation`.
#[test]
#[ignore = "takes long"]
fn torture() {
    let (from, seeds) = (variable("SIMULATION_FROM", 0), variable("SIMULATION_SEEDS", 100_000));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Failures are printed below.
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
        let all = workers.into_iter().map(|worker| worker.join().expect("runs do not panic"));
        all.fold(Counts::default(), |sum, counts| Counts {
            messages: sum.messages + counts.messages,
            faults: sum.faults + counts.faults,
            connections: sum.connections + counts.connections,
        })
    });
    let (failed, rate) = (failed.into_inner(), seeds as f64 / started.elapsed().as_secs_f64());
    let Counts { messages, faults, connections } = counts;
    println!(
        "{seeds} seeds from {from} on, {rate:.0} per second: {connections} connections, {faults} faults, {messages} messages received, {failed} failures"
    );
    let _ = std::panic::take_hook();
    assert_eq!(failed, 0, "failed seeds");
}
