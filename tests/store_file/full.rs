//! A full disk: nothing is lost, and what frees room goes on.

use std::fs;
use std::path::Path;
use std::process::Command;

use websocket_relay::error::StoreError;
use websocket_relay::store::Record;

use crate::support::{Directory, Opened, client, message, open, removed};

/// A small disk, in memory.
struct SmallDisk(Directory);

impl SmallDisk {
    /// Mounts one, if that is allowed.
    fn mount(size: &str) -> Option<Self> {
        let directory = Directory::new();
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        println!("skipped: a disk of its own cannot be mounted here");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut size = 1 << 20;
        while size >= 512 {
            let name = self.path().join(format!("other-{size}-{}", self.0.files().len()));
            if fs::write(&name, vec![1; size]).is_err() {
                size /= 2;
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}

/// Writes messages until the disk is full. Returns the offset of the last one.
fn write_until_full(opened: &mut Opened, first: u64, kept: &mut Vec<Record>) -> u64 {
    for number in first.. {
        let batch: Vec<_> =
            (0..10).map(|place| message(0, 1, number * 10 + place, &"x".repeat(700))).collect();
        match opened.database.write(&batch) {
            Ok(()) => kept.extend(batch),
            Err(StoreError::Full { .. }) => return number,
            Err(error) => panic!("{error}"),
        }
        assert!(number < first + 10_000, "it is never full");
    }
    unreachable!("it is full")
}

/// Frees what is kept and writes again, several times over.
fn free_and_write(opened: &mut Opened, mut next: u64, kept: &mut Vec<Record>) {
    for _ in 0..5 {
        assert!(!kept.is_empty());
        opened.database.write(&[removed(0, 1, 0, next * 10)]).expect("freeing room needs none");
        kept.clear();
        let before = next;
        next = write_until_full(opened, next + 1, kept);
        assert!(next > before + 1, "there is room for some again");
    }
    opened.database.write(&[removed(0, 1, 0, (next - 1) * 10 + 4)]).expect("freeing room needs none");
    kept.retain(
        |record| matches!(record, Record::Message(message) if message.offset.0 > (next - 1) * 10 + 4),
    );
}

fn assert_kept(disk: &SmallDisk, opened: Opened, kept: Vec<Record>, is_closed: bool) {
    if is_closed {
        opened.database.close().unwrap();
    } else {
        drop(opened.database);
    }
    let again = open(&disk.path().join("relay.db")).unwrap();
    assert_eq!(again.life.epoch, opened.life.epoch);
    assert_eq!(again.records.len(), kept.len() + 2);
    assert!(again.records[2..] == kept);
}

#[test]
fn room_can_be_freed_when_the_store_has_filled_the_disk() {
    for is_closed in [true, false] {
        let Some(disk) = SmallDisk::mount("3m") else { return };
        let mut opened = open(&disk.path().join("relay.db")).unwrap();
        opened.database.write(&[client(0), client(1)]).unwrap();
        let mut kept = Vec::new();
        let next = write_until_full(&mut opened, 1, &mut kept);
        free_and_write(&mut opened, next, &mut kept);
        assert_kept(&disk, opened, kept, is_closed);
    }
}

#[test]
fn room_can_be_freed_when_others_have_filled_the_disk() {
    let Some(disk) = SmallDisk::mount("16m") else { return };
    let mut opened = open(&disk.path().join("relay.db")).unwrap();
    opened.database.write(&[client(0), client(1)]).unwrap();
    let mut kept = Vec::new();
    for number in 1..100 {
        let batch: Vec<_> =
            (0..10).map(|place| message(0, 1, number * 10 + place, &"x".repeat(700))).collect();
        opened.database.write(&batch).unwrap();
        kept.extend(batch);
    }
    disk.fill();
    let next = write_until_full(&mut opened, 100, &mut kept);
    free_and_write(&mut opened, next, &mut kept);
    assert_kept(&disk, opened, kept, true);
}

#[test]
fn a_store_is_closed_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    let mut opened = open(&disk.path().join("relay.db")).unwrap();
    opened.database.write(&[client(0), client(1)]).unwrap();
    let mut kept = Vec::new();
    write_until_full(&mut opened, 1, &mut kept);
    assert_kept(&disk, opened, kept, true);
}

#[test]
fn a_store_is_not_created_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount("1m") else { return };
    disk.fill();
    let error = open(&disk.path().join("relay.db")).expect_err("there is no room");
    assert_eq!(error.code(), "ERR_STORE_FULL", "{error}");
    for name in disk.0.files() {
        if name.starts_with("other") {
            fs::remove_file(disk.path().join(name)).unwrap();
        }
    }
    open(&disk.path().join("relay.db")).unwrap();
}
