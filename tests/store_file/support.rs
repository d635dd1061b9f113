//! A store in a directory of its own, and records to put into it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use websocket_relay::ClientId;
use websocket_relay::error::StoreError;
use websocket_relay::ids::{Offset, Seq, SessionId, TokenHash};
use websocket_relay::store::{
    ChannelRecord, ClientRecord, Database, Durability, Environment, Life, MessageRecord, Record,
    SessionRecord, StoreOptions,
};

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Creates a directory, in memory if the system has such a place: the tests sync often.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory) } else { Self::within(&env::temp_dir()) }
    }

    /// Creates a directory within another one.
    pub fn within(parent: &Path) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("websocket-relay-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of the store in it.
    pub fn store(&self) -> PathBuf {
        self.0.join("relay.db")
    }

    /// Returns the names of the files in it.
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns an environment with this boot id.
pub fn booted(boot: &str) -> Environment {
    Environment { vfs: None, boot: Some(boot.to_owned()), log_pages: 1000 }
}

/// What a store was opened with.
#[derive(Debug)]
pub struct Opened {
    pub database: Database,
    pub life: Life,
    pub records: Vec<Record>,
}

/// Opens a store.
pub fn open_with(
    path: &Path,
    durability: Durability,
    environment: &Environment,
) -> Result<Opened, StoreError> {
    let mut records = Vec::new();
    let options = StoreOptions { path: path.to_owned(), durability };
    let (database, life) = Database::open_in(&options, environment, |record| {
        records.push(record);
        Ok(())
    })?;
    Ok(Opened { database, life, records })
}

/// Opens a store, whose durability is 'written', after the same boot.
pub fn open(path: &Path) -> Result<Opened, StoreError> {
    open_with(path, Durability::Written, &booted("boot"))
}

pub fn id(number: u64) -> ClientId {
    ClientId::new(number).unwrap()
}

pub fn client(number: u64) -> Record {
    let token = TokenHash::of(&format!("token {number}"));
    Record::Client(ClientRecord { id: id(number), token, lifetime: None, data: None })
}

pub fn client_with(number: u64, token: &str, lifetime: Option<(u64, u64)>, data: Option<&str>) -> Record {
    let lifetime = lifetime.map(|(length, end)| (Duration::from_millis(length), end));
    Record::Client(ClientRecord {
        id: id(number),
        token: TokenHash::of(token),
        lifetime,
        data: data.map(Into::into),
    })
}

pub fn channel(first: u64, second: u64, opened_by: Option<u64>) -> Record {
    Record::Channel(ChannelRecord { first: id(first), second: id(second), opened_by: opened_by.map(id) })
}

pub fn session(client: u64, session: Option<u64>, connection: u64) -> Record {
    Record::Session(SessionRecord {
        client: id(client),
        session: session.map(SessionId::from_u64),
        connection,
    })
}

pub fn message(recipient: u64, sender: u64, offset: u64, text: &str) -> Record {
    Record::Message(MessageRecord {
        recipient: id(recipient),
        sender: id(sender),
        offset: Offset(offset),
        session: SessionId::from_u64(0xfeed_0000_0000_0000 | sender),
        seq: Seq(offset),
        ends_at: None,
        json: format!("\"{text}\"").into_bytes().into(),
    })
}

pub fn removed(recipient: u64, sender: u64, from: u64, upto: u64) -> Record {
    let (from, upto) = (Offset(from), Offset(upto));
    Record::MessagesRemoved { recipient: id(recipient), sender: id(sender), from, upto }
}
