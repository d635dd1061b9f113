//! Bridges to sockets that stay in JavaScript: it moves their bytes, a bounded number at a time.

use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use super::callback::Signal;
use crate::stream::bridge::{self, Bridge, SocketCommand, SocketEnd};

/// The bridges that have commands for their sockets.
///
/// All bridges share one JavaScript function, since Node looks at every such function whenever any of them is called.
pub struct BridgeRegistry {
    waiting: Mutex<Vec<u32>>,
    on_commands: Signal,
}

impl BridgeRegistry {
    /// Creates a registry. `on_commands` is called when [`BridgeRegistry::take`] has something to return.
    pub fn new(on_commands: Signal) -> Self {
        Self { waiting: Mutex::default(), on_commands }
    }

    /// Takes the numbers of the bridges that have commands.
    pub fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, bridge: u32) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(bridge);
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first {
            self.on_commands.send();
        }
    }
}

/// Opens a bridge with this number. Returns the engine's end and the socket's end.
pub fn open(number: u32, registry: &Arc<BridgeRegistry>) -> (Bridge, NativeBridge) {
    let registry = Arc::clone(registry);
    let (bridge, socket) = bridge::pair(move || registry.add(number));
    (bridge, NativeBridge { number, socket })
}

/// What to do with a socket.
#[napi(object)]
pub struct NativeSocketCommand {
    /// Bytes to write.
    pub bytes: Option<Buffer>,
    /// Whether to resume reading.
    pub resume: bool,
    /// Whether to end it after the bytes.
    pub end: bool,
    /// Whether to close it after the bytes.
    pub close: bool,
}

/// The socket's end of a bridge.
#[napi]
pub struct NativeBridge {
    number: u32,
    socket: SocketEnd,
}

#[napi]
impl NativeBridge {
    /// The number that `bridgesWithCommands()` returns for it.
    #[napi(getter, catch_unwind)]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Passes on bytes that were read from the socket. Returns false if reading is to pause.
    #[napi(catch_unwind)]
    pub fn push(&self, bytes: &[u8]) -> bool {
        self.socket.push(bytes)
    }

    /// Says that the socket has ended.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.socket.end();
    }

    /// Says that the socket has closed.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.socket.reset();
    }

    /// Returns what to do with the socket. `is_writable` says whether it has written all that it was given.
    #[napi(catch_unwind)]
    pub fn fetch(&self, is_writable: bool) -> NativeSocketCommand {
        let SocketCommand { bytes, resume, end, close } = self.socket.fetch(is_writable);
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty()).map(Buffer::from);
        NativeSocketCommand { bytes, resume, end, close }
    }
}
