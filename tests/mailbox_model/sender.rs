//! One sender as the model sees it.

use std::collections::VecDeque;

use websocket_relay::model::{ExpiredRange, Notices};

/// What the server tells a sender about its messages.
pub enum Reply {
    Accepted(u64),
    Hold(u64),
    Rejected(u64),
}

/// A sender's page, and what is in transit between it and the server.
pub struct Sender {
    pub page: u64,
    pub sent: u64,
    /// The sequence numbers not known to be accepted.
    pub outstanding: VecDeque<u64>,
    /// Whether the next message is the first after a rejection.
    pub is_first: bool,
    /// Frames in transit: the sequence number, and whether it is the first after a hold or a rejection.
    pub frames: VecDeque<(u64, bool)>,
    /// Replies in transit.
    pub replies: VecDeque<Reply>,
    /// Whether the server ignores messages of this connection until one is the first.
    pub refusing: bool,
    /// The server's notices for this page.
    pub notices: Notices,
    /// Notices in transit; `None` is a ping.
    pub sent_notices: VecDeque<Option<(u64, ExpiredRange)>>,
    /// Pings without a pong.
    pub pings: usize,
    /// The number of the last notice received.
    pub last_notice: u64,
    /// The sequence numbers that notices named.
    pub expired: Vec<u64>,
}

impl Sender {
    pub fn new(page: u64) -> Self {
        Self {
            page,
            sent: 0,
            outstanding: VecDeque::new(),
            is_first: false,
            frames: VecDeque::new(),
            replies: VecDeque::new(),
            refusing: false,
            notices: Notices::default(),
            sent_notices: VecDeque::new(),
            pings: 0,
            last_notice: 0,
            expired: Vec::new(),
        }
    }

    pub fn resend(&mut self, first: bool) {
        let outstanding = self.outstanding.iter().enumerate();
        self.frames.extend(outstanding.map(|(place, seq)| (*seq, first && place == 0)));
    }

    pub fn send_notices(&mut self) {
        self.sent_notices.extend(std::iter::from_fn(|| self.notices.next_expired()).map(Some));
    }

    pub fn receive_notice(&mut self) {
        let Some(notice) = self.sent_notices.pop_front() else { return };
        let Some((number, ExpiredRange { target, first, last })) = notice else {
            self.pings += 1;
            return;
        };
        assert_eq!(target, super::id(super::RECIPIENT));
        assert!(number <= self.last_notice + 1, "notice {number} after {}", self.last_notice);
        if number > self.last_notice {
            self.last_notice = number;
            self.expired.extend(first.0..=last.0);
        }
    }
}
