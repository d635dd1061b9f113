//! The store's thread when the disk is full, fails, or is closed.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, spawn};

use websocket_relay::ClientId;
use websocket_relay::error::{Error, StoreError};
use websocket_relay::hub::{
    AppendError, Appended, Bell, Claim, ClaimOutcome, ClaimRequest, Hub, Outbox, SessionInfo,
};
use websocket_relay::ids::{Epoch, Seq, SessionId};
use websocket_relay::store::{Commit, Life, Record};
use websocket_relay::{CloseReason, Limits};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Works,
    Full,
    Fails,
}

/// A disk whose state the test decides.
#[derive(Clone)]
struct Disk(Arc<(Mutex<State>, Condvar)>);

struct State {
    mode: Mode,
    written: Vec<Record>,
    reports: Vec<StoreError>,
}

impl Commit for Disk {
    fn write<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) -> Result<(), StoreError> {
        let mut state = self.0.0.lock().unwrap();
        let path = "simulated".to_owned();
        match state.mode {
            Mode::Full if !records.clone().all(Record::frees_room) => Err(StoreError::Full { path }),
            Mode::Fails => Err(StoreError::Io { path, detail: "broken".to_owned() }),
            Mode::Works | Mode::Full => {
                state.written.extend(records.cloned());
                self.0.1.notify_all();
                Ok(())
            }
        }
    }
}

impl Disk {
    fn set(&self, mode: Mode) {
        self.0.0.lock().unwrap().mode = mode;
    }

    /// Waits until the disk has what is wanted.
    fn wait_for(&self, is_wanted: impl Fn(&State) -> bool) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| !is_wanted(state)).unwrap());
    }

    fn messages(state: &State) -> usize {
        state.written.iter().filter(|record| matches!(record, Record::Message(_))).count()
    }
}

struct World {
    hub: Arc<Hub>,
    disk: Disk,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl World {
    fn new() -> Self {
        let state = State { mode: Mode::Works, written: Vec::new(), reports: Vec::new() };
        let disk = Disk(Arc::new((Mutex::new(state), Condvar::new())));
        let life = Life { epoch: Epoch::from_u32(1), starts: 1, next_id: 0, unregistered: 0 };
        let (hub, ()) =
            Hub::restored(Limits::default(), true, Path::new("simulated"), |_| Ok(((), life))).unwrap();
        let hub = Arc::new(hub);
        let thread = spawn({
            let (hub, mut disk) = (Arc::clone(&hub), disk.clone());
            move || {
                let reported = disk.clone();
                hub.run_store(&mut disk, |error| {
                    reported.0.0.lock().unwrap().reports.push(error);
                    reported.0.1.notify_all();
                })
            }
        });
        Self { hub, disk, thread }
    }

    fn register(&self) -> ClientId {
        self.hub.register(None).unwrap().id
    }

    /// Connects a reliable client.
    fn connect(&self, client: ClientId) -> Claim {
        let id = SessionId::from_u64(client.get());
        let session = SessionInfo { id, connection: 0, knows_epoch: false, receipts: false, presence: false };
        let (bell, outbox, writer) = (Arc::new(Bell::default()), &mut Outbox::default(), &mut None);
        let request = ClaimRequest { bell: &bell, outbox, writer, session: Some(session) };
        let ClaimOutcome::Claimed(claim) = self.hub.claim(client, request, |_, _| {}) else { panic!() };
        claim
    }

    fn append(&self, claim: &mut Claim, target: ClientId, seq: u64) -> Result<Appended, AppendError> {
        self.hub.append(&mut self.hub.batch(), claim, target, Some(Seq(seq)), "\"text\"")
    }

    fn close(self) -> Result<(), StoreError> {
        self.hub.store_queue().unwrap().close();
        self.thread.join().unwrap()
    }
}

#[test]
fn a_full_disk_holds_what_has_to_be_stored_and_goes_on_when_there_is_room() {
    let world = World::new();
    let [ada, bob, gone] = [(); 3].map(|()| world.register());
    let mut sender = world.connect(ada);
    world.append(&mut sender, gone, 1).unwrap();
    world.disk.wait_for(|state| Disk::messages(state) == 1);
    world.disk.set(Mode::Full);
    assert!(world.append(&mut sender, bob, 1).is_ok(), "it is not known yet");
    world.disk.wait_for(|state| state.reports.len() == 1);
    assert_eq!(world.append(&mut sender, bob, 2), Err(AppendError::Full));
    let reader = world.connect(bob);
    assert!(world.append(&mut sender, bob, 2).is_ok(), "to one that is there");
    assert!(matches!(world.hub.register(None), Err(Error::Store(StoreError::Full { .. }))));
    assert_eq!(world.hub.totals().registered, 3, "nothing is left of it");
    world.hub.unregister(gone, CloseReason::Unregistered).unwrap();
    world.disk.wait_for(|state| state.written.contains(&Record::ClientRemoved(gone)));
    world.disk.set(Mode::Works);
    world.disk.wait_for(|state| Disk::messages(state) >= 2);
    world.hub.release(&reader, false, || {}).unwrap();
    while world.append(&mut sender, bob, 3).is_err() {
        std::thread::yield_now();
    }
    let disk = world.disk.clone();
    world.close().unwrap();
    let state = disk.0.0.lock().unwrap();
    assert_eq!((Disk::messages(&state), state.reports.len()), (4, 1), "told once, and all are stored");
}

#[test]
fn a_disk_that_fails_is_never_written_to_again() {
    let world = World::new();
    let ada = world.register();
    world.disk.set(Mode::Fails);
    assert_eq!(world.hub.register(None).unwrap_err().code(), "ERR_STORE_IO");
    world.disk.set(Mode::Works);
    assert_eq!(world.hub.register(None).unwrap_err().code(), "ERR_STORE_IO");
    assert_eq!(world.hub.open_channel(ada, ada).unwrap_err().code(), "ERR_STORE_IO");
    let disk = world.disk.clone();
    assert!(matches!(world.close(), Err(StoreError::Io { .. })));
    assert_eq!(disk.0.0.lock().unwrap().written.len(), 1, "the first client");
}

#[test]
fn everything_is_committed_when_the_store_is_closed() {
    let world = World::new();
    let [ada, bob] = [(); 2].map(|()| world.register());
    let (mut sender, _reader) = (world.connect(ada), world.connect(bob));
    for seq in 1..=10 {
        world.append(&mut sender, bob, seq).unwrap();
    }
    let disk = world.disk.clone();
    world.close().unwrap();
    assert_eq!(Disk::messages(&disk.0.0.lock().unwrap()), 10);
}
