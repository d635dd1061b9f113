//! JavaScript functions that the relay's threads call, and what keeps Node alive.
//!
//! The functions that the relay calls are weak: they do not keep Node alive. Separate, empty, strong functions do, and
//! `ref()` and `unref()` create and drop those.

use std::sync::{Mutex, PoisonError};

use napi::Status;
use napi::bindgen_prelude::{Env, Function, Result};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use super::errors::{Code, system_error};

/// A JavaScript function without arguments, called to say that there is something to fetch. Weak.
pub struct Signal(ThreadsafeFunction<(), (), (), Status, true, true>);

impl Signal {
    /// Wraps a JavaScript function.
    pub fn new(function: &Function<'_, (), ()>) -> Result<Self, Code> {
        let function = function.build_threadsafe_function().callee_handled::<true>().weak::<true>().build();
        Ok(Self(function.map_err(system_error)?))
    }

    /// Calls the function from any thread.
    pub fn send(&self) {
        // An error means that Node is shutting down.
        self.0.call(Ok(()), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// An empty function that keeps Node alive while it exists.
pub struct KeepAlive {
    _function: ThreadsafeFunction<(), (), (), Status, true>,
}

impl KeepAlive {
    /// Keeps Node alive from now on.
    pub fn new(env: &Env) -> Result<Self> {
        let nothing = env.create_function_from_closure("keepAlive", |_| Ok(()))?;
        let _function = nothing.build_threadsafe_function().callee_handled::<true>().build()?;
        Ok(Self { _function })
    }
}

/// Shared by all adopted connections that Node no longer knows. Keeps Node alive while any of them is open, unless
/// `unref()` was called.
#[derive(Default)]
pub struct AdoptedConnections(Mutex<Option<KeepAlive>>);

impl AdoptedConnections {
    /// Replaces what keeps Node alive.
    pub fn set_keep_alive(&self, keep_alive: Option<KeepAlive>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keep_alive;
    }
}
