//! Tasks that the whole relay depends on.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::limits::Limits;
use crate::session::Shared;

/// Runs a task to its end, and starts it again after a panic.
pub async fn restart_on_panic<F: Future<Output = ()>>(context: &Shared, task: impl Fn() -> F) {
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        context.panicked();
        // A task that panics every time must not starve the others.
        tokio::time::sleep(Limits::RESTART_PAUSE).await;
    }
}
