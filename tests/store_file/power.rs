//! What was committed survives the death of the process, and a loss of power as far as its durability says; failures of the disk
//! are told, and lose nothing.
//!
//! `WEBSOCKET_RELAY_STORE_SEEDS` is the number of seeds that each test tries; a failure names its seed, and
//! `WEBSOCKET_RELAY_STORE_SEED` tries that one alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rusqlite::ffi;
use websocket_relay::error::StoreError;
use websocket_relay::ids::Epoch;
use websocket_relay::store::{Durability, Environment, PreviousEnd, Record};

use crate::disk::{Disk, Plan, Random};
use crate::support::{Directory, Opened, client_with, message, open_with, removed};

/// The seeds to try.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    match number("WEBSOCKET_RELAY_STORE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEBSOCKET_RELAY_STORE_SEEDS").unwrap_or(default),
    }
}

/// Runs a test with each seed.
fn with_seeds(default: u64, test: impl Fn(&mut Random) -> &'static str) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds(default) {
        let run =
            std::panic::AssertUnwindSafe(|| test(&mut Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))));
        let outcome = std::panic::catch_unwind(run).unwrap_or_else(|_| panic!("seed {seed}"));
        *counts.entry(outcome).or_default() += 1;
    }
    println!("{counts:?}");
}

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Expected {
    batches: u64,
    messages: BTreeMap<u64, String>,
}

impl Expected {
    fn records(&self) -> Vec<Record> {
        let client = |batches| client_with(0, "token", None, Some(&format!("[{batches}]")));
        let clients = Some(self.batches).filter(|batches| *batches > 0).map(client);
        let messages = self.messages.iter().map(|(offset, text)| message(0, 1, *offset, text));
        clients.into_iter().chain(messages).collect()
    }

    /// Returns a batch, and what the store should hold after it.
    fn next(&self, random: &mut Random) -> (Vec<Record>, Self) {
        let mut after = self.clone();
        after.batches += 1;
        let mut batch = vec![client_with(0, "token", None, Some(&format!("[{}]", after.batches)))];
        let last = self.messages.keys().next_back().copied().unwrap_or(0);
        if random.below(3) == 0 {
            let upto = last.saturating_sub(random.below(4));
            after.messages.retain(|offset, _| *offset > upto);
            batch.push(removed(0, 1, 0, upto));
        }
        // Above those that were removed, too: an offset is given once.
        let first = self.batches * 100 + 1;
        for offset in first..first + random.below(6) {
            let size = [3, 30, 300, 3000, 9000][random.below(5) as usize];
            let text = format!("{offset:0size$}");
            batch.push(message(0, 1, offset, &text));
            after.messages.insert(offset, text);
        }
        (batch, after)
    }
}

/// A store on such a disk, and what it may hold.
struct Scene<'a> {
    disk: &'static Disk,
    directory: Directory,
    random: &'a mut Random,
    durability: Durability,
    boots: u64,
    /// What the store may hold, ascending. The last `in_flight` were not accepted.
    states: Vec<Expected>,
    in_flight: usize,
    epoch: Option<Epoch>,
    /// What the file beside the store may be after a loss of power.
    locks: Vec<Vec<u8>>,
}

impl Scene<'_> {
    fn path(&self) -> PathBuf {
        self.directory.store()
    }

    fn lock(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("relay.db-lock")).unwrap_or_default()
    }

    fn open(&mut self) -> Result<Opened, StoreError> {
        let log_pages = [4, 20, 1000][self.random.below(3) as usize];
        let boot = Some(format!("boot {}", self.boots));
        let environment = Environment { vfs: Some(self.disk.name()), boot, log_pages };
        let opened = open_with(&self.path(), self.durability, &environment);
        if let Ok(opened) = &opened {
            self.locks = vec![self.lock()];
            self.check(opened);
        }
        opened
    }

    /// Asserts that what was opened is what it may be, and that clients are told what was lost.
    fn check(&mut self, opened: &Opened) {
        let found = self.states.iter().position(|state| state.records() == opened.records);
        let found = found.unwrap_or_else(|| panic!("this was never committed: {:?}", opened.records));
        let lost = (self.states.len() - self.in_flight).saturating_sub(found + 1);
        let is_same = self.epoch.is_none_or(|epoch| epoch == opened.life.epoch);
        assert!(lost == 0 || !is_same, "{lost} commits were lost silently");
        self.epoch = Some(opened.life.epoch);
        self.states = vec![self.states[found].clone()];
        self.in_flight = 0;
    }

    /// Writes a batch.
    fn write(&mut self, opened: &mut Opened) -> Result<(), StoreError> {
        let (batch, after) = self.states.last().unwrap().next(self.random);
        match opened.database.write(&batch) {
            Ok(()) => {
                self.states.push(after);
                self.locks.push(self.lock());
                Ok(())
            }
            Err(error) => {
                if !matches!(error, StoreError::Full { .. }) {
                    self.states.push(after);
                    self.in_flight = 1;
                }
                Err(error)
            }
        }
    }

    /// Loses power, once everything is closed.
    fn lose_power(&mut self) {
        self.disk.lose_power(self.random);
        let _ = fs::remove_file(self.directory.path().join("relay.db-shm"));
        self.boots += 1;
        if !self.locks.is_empty() {
            let lock = &self.locks[self.random.below(self.locks.len() as u64) as usize];
            fs::write(self.directory.path().join("relay.db-lock"), lock).unwrap();
            self.locks.clear();
        }
    }
}

fn scene<'a>(disk: &'static Disk, random: &'a mut Random) -> Scene<'a> {
    disk.clear();
    let durability = if random.below(2) == 0 { Durability::Written } else { Durability::Synced };
    let (states, directory) = (vec![Expected::default()], Directory::new());
    Scene {
        disk,
        directory,
        random,
        durability,
        boots: 0,
        states,
        in_flight: 0,
        epoch: None,
        locks: Vec::new(),
    }
}

#[test]
fn after_a_loss_of_power_or_a_kill_at_any_moment() {
    let disk = Disk::new("power");
    with_seeds(400, |random| {
        let mut scene = scene(disk, random);
        let mut outcome = "never opened";
        for _ in 0..4 {
            let is_power = scene.random.below(3) > 0;
            let moment = [15, 60, 200, 2000][scene.random.below(4) as usize];
            disk.plan(Plan::Stop(scene.random.below(moment)));
            scene.locks.clear();
            let epoch = scene.epoch;
            let (mut has_begun, mut has_closed) = (false, false);
            if let Ok(mut opened) = scene.open() {
                has_begun = true;
                outcome = "opened";
                let batches = scene.random.below(12);
                if (0..batches).all(|_| scene.write(&mut opened).is_ok()) && scene.random.below(2) == 0 {
                    has_closed = opened.database.close().is_ok();
                    scene.locks.clear();
                }
            }
            let epoch = if has_begun { scene.epoch } else { epoch };
            let durability = scene.durability;
            if is_power {
                scene.lose_power()
            } else {
                disk.restart()
            }
            disk.plan(Plan::Nothing);
            if scene.random.below(2) == 0 {
                let others = [Durability::Written, Durability::Synced];
                scene.durability = others[scene.random.below(2) as usize];
            }
            // A failure to open what is there again is one of the store.
            let (accepted, boots) = (scene.states.len() - scene.in_flight, scene.boots);
            let again =
                scene.open().unwrap_or_else(|error| panic!("power: {is_power}, boot {boots}: {error}"));
            let is_same = epoch.is_none_or(|epoch| epoch == again.life.epoch);
            let kept = !is_power || has_closed || durability == Durability::Synced;
            if !is_power || has_begun && kept {
                assert!(is_same, "nothing was lost, power: {is_power}, closed: {has_closed}, {durability:?}");
            }
            if has_begun && !kept && again.database.previous_end() != PreviousEnd::Clean {
                assert!(!is_same, "{accepted} commits may be lost");
            }
            if scene.random.below(2) == 0 {
                again.database.close().unwrap();
            } else {
                drop(again.database);
            }
            scene.locks.clear();
        }
        outcome
    });
}

#[test]
fn failures_of_the_disk_are_told_and_lose_nothing() {
    let disk = Disk::new("failures");
    with_seeds(400, |random| {
        let mut scene = scene(disk, random);
        let code = if scene.random.below(2) == 0 { ffi::SQLITE_IOERR } else { ffi::SQLITE_FULL };
        let moment = [30, 100, 300][scene.random.below(3) as usize];
        let plan =
            Plan::Fail(1 + scene.random.below(moment), code, [1, 3, 1000][scene.random.below(3) as usize]);
        disk.plan(plan);
        let mut outcome = "nothing failed";
        if let Ok(mut opened) = scene.open() {
            let mut is_usable = true;
            for _ in 0..15 {
                match scene.write(&mut opened) {
                    Ok(()) => (),
                    Err(StoreError::Full { .. }) => {
                        outcome = "full";
                        // There is room again, perhaps.
                        if scene.random.below(2) == 0 {
                            disk.plan(Plan::Nothing);
                            scene.write(&mut opened).unwrap_or_else(|error| panic!("{plan:?}: {error}"));
                        }
                    }
                    Err(error) => {
                        assert!(matches!(error, StoreError::Io { .. }), "{plan:?}: {error}");
                        (outcome, is_usable) = ("failed", false);
                        break;
                    }
                }
            }
            if is_usable && scene.random.below(2) == 0 && opened.database.close().is_err() {
                outcome = "not closed";
            }
        } else {
            outcome = "not opened";
        }
        disk.restart();
        let epoch = scene.epoch;
        let again = scene.open().unwrap_or_else(|error| panic!("{plan:?}, {outcome}: {error}"));
        assert!(epoch.is_none_or(|epoch| epoch == again.life.epoch), "{plan:?}, {outcome}: nothing was lost");
        outcome
    });
}

#[test]
fn another_program_may_copy_the_log() {
    let disk = Disk::new("copying");
    let mut random = Random(1);
    let mut scene = scene(disk, &mut random);
    let mut opened = scene.open().unwrap();
    disk.copy(true);
    (0..100).for_each(|_| scene.write(&mut opened).unwrap());
    opened.database.close().unwrap();
    disk.copy(false);
    let mut again = scene.open().unwrap();
    (0..100).for_each(|_| scene.write(&mut again).unwrap());
    again.database.close().unwrap();
    scene.open().unwrap();
    assert_eq!(scene.states.last().unwrap().batches, 200);
}
