//! Whatever byte is flipped and wherever a file is cut off: the store opens with what was committed, or with what was committed
//! before some commit and another epoch, or is refused.

use std::collections::BTreeMap;
use std::fs;

use websocket_relay::ids::Epoch;
use websocket_relay::store::{Durability, PreviousEnd, Record};

use crate::support::{Directory, booted, channel, client_with, message, open, open_with, removed, session};

/// The content of a directory.
type Files = Vec<(String, Vec<u8>)>;

/// What may be read back: after each commit, the last one last.
struct Life {
    epoch: Epoch,
    states: Vec<Vec<Record>>,
}

fn batches() -> [Vec<Record>; 5] {
    let text = "some text that takes a little room";
    [
        vec![
            client_with(0, "a", None, Some("[1]")),
            client_with(7, "b", Some((60_000, 1_800_000_000_000)), None),
        ],
        vec![channel(0, 7, Some(7)), session(0, Some(5), 1), session(0, Some(6), 2), session(7, None, 3)],
        (1..20).map(|offset| message(7, 0, offset, text)).collect(),
        vec![removed(7, 0, 0, 15), message(7, 7, 30, &"long ".repeat(1000)), message(0, 7, 31, "")],
        vec![removed(7, 7, 30, 30), message(0, 7, 32, text)],
    ]
}

fn read(directory: &Directory) -> Files {
    let names = directory.files().into_iter().filter(|name| !name.ends_with("-shm"));
    names.map(|name| (name.clone(), fs::read(directory.path().join(name)).unwrap())).collect()
}

/// Lives through the batches, and returns what there may be to read, and the files.
fn live(durability: Durability, is_closed: bool) -> (Life, Files) {
    let states = (0..=batches().len()).map(|count| {
        let directory = Directory::new();
        let mut opened = open(&directory.store()).unwrap();
        batches()[..count].iter().for_each(|batch| opened.database.write(batch).unwrap());
        opened.database.close().unwrap();
        open(&directory.store()).unwrap().records
    });
    let states = states.collect();
    let directory = Directory::new();
    let mut opened = open_with(&directory.store(), durability, &booted("boot")).unwrap();
    batches().iter().for_each(|batch| opened.database.write(batch).unwrap());
    let epoch = opened.life.epoch;
    if is_closed {
        opened.database.close().unwrap();
    } else {
        drop(opened.database);
    }
    (Life { epoch, states }, read(&directory))
}

/// Opens the store that these files are, and returns what came of it.
fn outcome(life: &Life, files: &Files, directory: &Directory) -> &'static str {
    for name in directory.files() {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let mut opened = match open(&directory.store()) {
        Err(error) => {
            assert!(
                matches!(error.code(), "ERR_STORE_DAMAGED" | "ERR_STORE_FORMAT" | "ERR_STORE_VERSION"),
                "{error}"
            );
            let (_, before) = files.iter().find(|(name, _)| name == "relay.db").unwrap();
            assert!(fs::read(directory.store()).unwrap() == *before, "a refused store was changed: {error}");
            return error.code();
        }
        Ok(opened) => opened,
    };
    let found = life.states.iter().position(|state| *state == opened.records);
    let found = found.unwrap_or_else(|| panic!("this was never committed: {:?}", opened.records));
    let is_whole = found + 1 == life.states.len();
    let is_same = opened.life.epoch == life.epoch;
    assert!(is_whole || !is_same, "{} commits were lost silently", life.states.len() - 1 - found);
    // What was opened can be used, or says that it cannot.
    match opened.database.write(&[message(0, 0, 1 << 40, &"new ".repeat(4000))]) {
        Ok(()) => {
            let previous = opened.database.previous_end();
            opened.database.close().unwrap();
            let again = open(&directory.store()).unwrap();
            assert_eq!(again.records.len(), life.states[found].len() + 1);
            assert_eq!(again.life.epoch, opened.life.epoch, "after {previous:?}");
            assert_eq!(again.database.previous_end(), PreviousEnd::Clean);
        }
        Err(error) => panic!("opened, and then: {error}"),
    }
    match (is_whole, is_same) {
        (true, true) => "whole",
        (true, false) => "whole, with another epoch",
        _ => "before some commit",
    }
}

/// Damages one file in many ways, and counts the outcomes.
fn damage(
    life: &Life,
    files: &Files,
    name: &str,
    ways: impl Iterator<Item = Damage>,
) -> BTreeMap<&'static str, u32> {
    let directory = Directory::new();
    let place = files.iter().position(|(other, _)| other == name).expect("the file");
    let mut counts = BTreeMap::new();
    for way in ways {
        let mut files = files.clone();
        let content = &mut files[place].1;
        match way {
            Damage::Flip(at, mask) => content[at] ^= mask,
            Damage::Cut(length) => content.truncate(length),
        }
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| outcome(life, &files, &directory)));
        *counts.entry(result.unwrap_or_else(|_| panic!("{way:?} of {name}"))).or_default() += 1;
    }
    counts
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
}

/// Whether to try all there is, which takes a quarter of an hour.
fn all() -> bool {
    std::env::var_os("WEBSOCKET_RELAY_ALL_DAMAGE").is_some()
}

/// The first bytes of the file and of its pages, and a part of the others, each with another pattern.
fn flips(length: usize) -> impl Iterator<Item = Damage> {
    const PATTERNS: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 255];
    let tried = (0..length).filter(|at| all() || *at < 100 || at % 4096 < 10 || at.is_multiple_of(199));
    tried.flat_map(|at| {
        let patterns = if all() { &PATTERNS[..] } else { &PATTERNS[at % 9..][..1] };
        patterns.iter().map(move |mask| Damage::Flip(at, *mask))
    })
}

/// At each page and frame, beside it, and in between.
fn cuts(length: usize) -> impl Iterator<Item = Damage> {
    let is_near = |at: &usize| [4096, 4120].iter().any(|size| (at + 1) % size < 3) || at.is_multiple_of(1999);
    (0..length).filter(move |at| all() || is_near(at)).map(Damage::Cut)
}

fn length(files: &Files, name: &str) -> usize {
    files.iter().find(|(other, _)| other == name).map_or(0, |(_, content)| content.len())
}

#[test]
fn of_a_store_that_was_closed() {
    let (life, files) = live(Durability::Written, true);
    let length = length(&files, "relay.db");
    println!("{length} bytes: flips {:?}", damage(&life, &files, "relay.db", flips(length)));
    println!("cuts {:?}", damage(&life, &files, "relay.db", cuts(length)));
}

#[test]
fn of_the_log_of_a_store_that_was_killed() {
    for (durability, names) in [
        (Durability::Written, &["relay.db-wal", "relay.db", "relay.db-lock"][..]),
        (Durability::Synced, &["relay.db-wal"]),
    ] {
        let (life, files) = live(durability, false);
        for name in names {
            let length = length(&files, name);
            println!("{name}, {length} bytes: flips {:?}", damage(&life, &files, name, flips(length)));
            println!("cuts {:?}", damage(&life, &files, name, cuts(length)));
        }
    }
}
