//! The bell loses no ring, in any order of two threads that ring and one that waits.
//!
//! This compiles `bell.rs` a second time, with loom's primitives in place of those that `sync.rs` names.

use std::future::poll_fn;

use loom::future::block_on;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;

mod error {
    pub use websocket_relay::CloseReason;
}

mod sync {
    use std::task::Waker;

    pub use loom::sync::atomic::{AtomicBool, Ordering};

    /// Has the interface of the waker in futures-util.
    #[derive(Debug)]
    pub struct AtomicWaker(loom::future::AtomicWaker);

    impl Default for AtomicWaker {
        fn default() -> Self {
            Self(loom::future::AtomicWaker::new())
        }
    }

    impl AtomicWaker {
        pub fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        pub fn wake(&self) {
            self.0.wake();
        }
    }
}

#[path = "../src/hub/bell.rs"]
mod bell;

use bell::Bell;
use error::CloseReason;
use sync::Ordering;

/// Runs all interleavings with at most two preemptions. Three would take minutes.
fn explore(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}

#[test]
fn wakes_the_session_for_every_message() {
    explore(|| {
        let (bell, messages) = (Arc::new(Bell::default()), Arc::new(AtomicUsize::new(0)));
        let senders = [(); 2].map(|()| {
            let (bell, messages) = (Arc::clone(&bell), Arc::clone(&messages));
            thread::spawn(move || {
                messages.fetch_add(1, Ordering::Relaxed);
                bell.ring();
            })
        });
        // A lost ring would block here for ever, which loom reports.
        block_on(async {
            while messages.load(Ordering::Relaxed) < 2 {
                poll_fn(|cx| bell.poll_rung(cx)).await;
            }
        });
        for sender in senders {
            sender.join().expect("no panic");
        }
    });
}

#[test]
fn sets_the_close_reason_before_ringing() {
    explore(|| {
        let bell = Arc::new(Bell::default());
        let other = Arc::clone(&bell);
        let newer = thread::spawn(move || {
            other.end(CloseReason::Replaced, Box::default());
            other.ring();
        });
        block_on(poll_fn(|cx| bell.poll_rung(cx)));
        let ending = bell.ending().expect("it was set before the ring");
        assert_eq!((&ending.reason, ending.rest.len()), (&CloseReason::Replaced, 0));
        newer.join().expect("no panic");
    });
}
