//! The thread of a store on disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::{Error, StoreError};
use crate::events::Event;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::session::Shared;
use crate::store::{Database, StoreOptions};

/// The longest time that clients are asked to wait before they reconnect to a server whose store has failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Creates the hub, and opens the store that it goes on with, if there is one.
///
/// # Errors
/// [`Error::Store`], [`Error::System`].
pub fn open(
    limits: &Limits,
    authorize_all_channels: bool,
    options: Option<&StoreOptions>,
) -> Result<(Hub, Option<Database>), Error> {
    let Some(options) = options else {
        return Ok((Hub::new(limits.clone(), authorize_all_channels)?, None));
    };
    let (hub, database) = Hub::restored(limits.clone(), authorize_all_channels, &options.path, |load| {
        Database::open(options, load)
    })?;
    Ok((hub, Some(database)))
}

/// Runs the store until it is closed.
#[derive(Debug)]
pub struct StoreThread {
    context: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

impl StoreThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn start(context: &Arc<Shared>, database: Option<Database>) -> Result<Self, Error> {
        let run = |database| {
            let context = Arc::clone(context);
            let thread = Builder::new().name("websocket-relay-store".to_owned());
            thread.spawn(move || run(&context, database)).map_err(Error::System)
        };
        let handle = database.map(run).transpose()?;
        Ok(Self { context: Arc::clone(context), handle: Mutex::new(handle) })
    }

    /// Commits everything, closes the file, and waits for that. Nothing more can be registered then.
    ///
    /// # Errors
    /// Why the store has failed.
    pub fn close(&self) -> Result<(), StoreError> {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.context.hub.store_queue().into_iter().for_each(|queue| queue.close());
        // The thread catches its panics.
        handle.and_then(|handle| handle.join().ok()).unwrap_or(Ok(()))
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.close().ok();
    }
}

fn run(context: &Shared, mut database: Database) -> Result<(), StoreError> {
    let report = |error| context.events.emit(Event::StoreFailed(error));
    let result = catch_unwind(AssertUnwindSafe(|| {
        context.hub.run_store(&mut database, report)?;
        database.close()
    }));
    let error = match result {
        Ok(Ok(())) => StoreError::Closed,
        Ok(Err(error)) => error,
        Err(_) => {
            context.panicked();
            StoreError::Io { path: String::new(), detail: "a bug in websocket-relay".to_owned() }
        }
    };
    context.hub.store_queue().into_iter().for_each(|queue| queue.fail(error.clone()));
    if error == StoreError::Closed {
        return Ok(());
    }
    context.events.emit(Event::StoreFailed(error.clone()));
    // What was not accepted goes to the next server, or to this one once its disk is well again.
    context.drain(RETRY_AFTER);
    context.hurry.cancel();
    Err(error)
}
