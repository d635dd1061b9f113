//! Connections whose sockets JavaScript holds: their bytes go through it, a bounded number at a time.

use std::sync::{Arc, Mutex, PoisonError};

use napi::Status;
use napi::bindgen_prelude::Buffer;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

use crate::stream::bridge::{self, Bridge, SocketCommand, SocketEnd};

/// The JavaScript function that has commands fetched. Weak: it does not keep Node alive.
pub type CommandCallback = ThreadsafeFunction<(), (), (), Status, true, true>;

/// Which bridges have an errand. One function for all of them: each one more is looked at whenever any is called.
pub struct BridgeRegistry {
    waiting: Mutex<Vec<u32>>,
    callback: CommandCallback,
}

impl BridgeRegistry {
    /// None yet.
    pub fn new(callback: CommandCallback) -> Self {
        Self { waiting: Mutex::default(), callback }
    }

    /// The bridges that have an errand.
    pub fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, bridge: u32) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(bridge);
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first {
            // An error means that JavaScript is gone.
            self.callback.call(Ok(()), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// Both ends of a bridge that rings with this number.
pub fn open(number: u32, registry: &Arc<BridgeRegistry>) -> (Bridge, NativeBridge) {
    let registry = Arc::clone(registry);
    let (bridge, socket) = bridge::bridge(move || registry.add(number));
    (bridge, NativeBridge { number, socket })
}

/// What is to be done with a socket.
#[napi(object)]
pub struct NativeSocketCommand {
    /// To be written to it.
    pub bytes: Option<Buffer>,
    /// To be read from again.
    pub resume: bool,
    /// To be ended, behind the bytes.
    pub end: bool,
    /// To be closed, behind the bytes.
    pub close: bool,
}

/// A connection whose socket JavaScript holds.
#[napi]
pub struct NativeBridge {
    number: u32,
    socket: SocketEnd,
}

#[napi]
impl NativeBridge {
    /// By which it is called.
    #[napi(getter, catch_unwind)]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes that the socket brought. False when it is to pause.
    #[napi(catch_unwind)]
    pub fn push(&self, bytes: &[u8]) -> bool {
        self.socket.push(bytes)
    }

    /// The socket brings nothing more.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.socket.end();
    }

    /// The socket is gone.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.socket.break_off();
    }

    /// What is to be done with the socket, which `is_writable` when it has written what it was given.
    #[napi(catch_unwind)]
    pub fn fetch(&self, is_writable: bool) -> NativeSocketCommand {
        let SocketCommand { bytes, resume, end, close } = self.socket.fetch(is_writable);
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty()).map(Buffer::from);
        NativeSocketCommand { bytes, resume, end, close }
    }
}
