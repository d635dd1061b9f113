//! The frames that a page reads.

use std::collections::BTreeMap;

use super::{Arrived, Page, State, parse};
use crate::ledger::Ledger;
use crate::link::{self, Frame};
use crate::world;

/// Returns the number that follows `name` in a frame.
fn number(frame: &str, name: &str) -> u64 {
    let at = frame.find(name).unwrap_or_else(|| panic!("no {name} in {frame}")) + name.len();
    let digits =
        frame[at..].split(|letter: char| !letter.is_ascii_digit()).next().expect("at least one part");
    digits.parse().unwrap_or_else(|_| panic!("no number {name} in {frame}"))
}

/// Returns the string that follows `name` in a frame.
fn string<'a>(frame: &'a str, name: &str) -> &'a str {
    let at = frame.find(name).unwrap_or_else(|| panic!("no {name} in {frame}")) + name.len();
    frame[at..].split('"').next().expect("at least one part")
}

impl Page {
    /// Reads the frames that have arrived, or only the first of them.
    pub fn read(&mut self, all: bool, now: u64, ledger: &mut Ledger) {
        while let Some(link) = self.link.clone() {
            let frame = link::read_frame(&mut link::lock(&link).down.arrived);
            match frame {
                Some(Frame::Text(text)) => {
                    world::note(self.trace.as_ref(), || format!("{:?} reads {text:.120}", self.id));
                    self.on_frame(&text, now, ledger);
                    self.last_frame_at = now;
                }
                Some(Frame::Ping) => {
                    link::write_frame(0x8A, &[], &mut link::lock(&link).up.sent);
                    self.last_frame_at = now;
                }
                Some(Frame::Close(code)) => {
                    let mut link = link::lock(&link);
                    link::write_frame(0x88, &code.to_be_bytes(), &mut link.up.sent);
                    link.end_up();
                    link.abandon();
                    drop(link);
                    return self.disconnected(code, now);
                }
                None if link::lock(&link).down.is_at_end() => {
                    // Part of a frame may be left.
                    link::lock(&link).abandon();
                    link::lock(&link).end_up();
                    return self.disconnected(1006, now);
                }
                None => return,
            }
            if !all {
                return;
            }
        }
    }

    fn on_frame(&mut self, frame: &str, now: u64, ledger: &mut Ledger) {
        let kind = string(frame, "{\"");
        assert!(self.is_reliable || kind == "relay", "{:?} is plain and gets {frame}", self.id);
        if kind == "authenticated" && self.state == State::Authenticating {
            return self.authenticated(frame, ledger);
        }
        assert!(kind != "error", "{:?} did nothing wrong: {frame}", self.id);
        assert_eq!(self.state, State::Open, "a frame before the authentication has succeeded: {frame}");
        match kind {
            "ping" => self.write(r#"{"pong":{}}"#),
            "relay" if !self.is_reliable => {
                let (from, seq) = parse(string(frame, "\"message\":\""));
                assert_eq!(number(frame, "\"senderId\":"), from.client);
                ledger.received(self.id, from, seq);
            }
            "relay" => self.on_relay(frame, now, ledger),
            "accepted" => self.on_accepted(frame, ledger),
            "hold" => {
                let target = self.on_refused(frame);
                self.peer(target).retry_at = Some(now + number(frame, "\"retryAfter\":"));
            }
            "rejected" => self.on_rejected(frame, ledger),
            "delivered" => self.on_delivered(frame, ledger),
            "presence" => {
                let is_online = frame.contains("\"online\":true");
                self.peer(number(frame, "\"clientId\":")).is_online = is_online;
            }
            "pong" => {}
            _ => panic!("unknown frame: {frame}"),
        }
    }

    fn on_relay(&mut self, frame: &str, now: u64, ledger: &mut Ledger) {
        let (sender, offset) = (number(frame, "\"senderId\":"), number(frame, "\"offset\":"));
        let (message, seq) = (string(frame, "\"message\":\"").to_owned(), number(frame, "\"seq\":"));
        let peer = self.peer(sender);
        if frame.contains("\"session\":") {
            string(frame, "\"session\":\"").clone_into(&mut peer.session);
        }
        assert!(!peer.session.is_empty(), "the first message of a connection names its session: {frame}");
        let session = peer.session.clone();
        let last = |numbers: &BTreeMap<String, u64>| numbers.get(&session).copied().unwrap_or_default();
        if seq > last(&peer.arrived) {
            peer.arrived.insert(session.clone(), seq);
            peer.buffered.push_back(Arrived { message, offset, session, seq });
        } else if seq <= last(&peer.handled) {
            self.note_received(sender, offset, now);
        }
        if self.is_listening {
            self.hand_over(sender, now, ledger);
        }
    }

    fn on_accepted(&mut self, frame: &str, ledger: &mut Ledger) {
        let (id, target, seq) = (self.id, number(frame, "\"targetId\":"), number(frame, "\"seq\":"));
        let peer = self.peer(target);
        if seq <= peer.sent_seq && seq >= peer.oldest {
            ledger.accepted(id, target, peer.oldest..=seq);
            peer.oldest = seq + 1;
        }
    }

    /// Notes that a message was refused. Returns its target.
    fn on_refused(&mut self, frame: &str) -> u64 {
        let (target, seq) = (number(frame, "\"targetId\":"), number(frame, "\"seq\":"));
        let peer = self.peer(target);
        assert_eq!(seq, peer.oldest, "a refusal names the oldest outstanding message");
        assert!(seq <= peer.sent_seq, "a refusal names a message that was sent");
        peer.is_refused = true;
        target
    }

    fn on_rejected(&mut self, frame: &str, ledger: &mut Ledger) {
        let (id, target) = (self.id, self.on_refused(frame));
        let peer = self.peer(target);
        ledger.rejected(id, target, peer.oldest..=peer.last_seq);
        (peer.oldest, peer.retry_at, peer.is_rejected) = (peer.last_seq + 1, None, true);
        self.rejections += 1;
    }

    fn on_delivered(&mut self, frame: &str, ledger: &mut Ledger) {
        let (id, target, seq) = (self.id, number(frame, "\"targetId\":"), number(frame, "\"seq\":"));
        let peer = self.peer(target);
        assert!(seq <= peer.last_seq, "{target} cannot have received a message that was not sent");
        if seq > peer.delivered_seq {
            peer.delivered_seq = seq;
            ledger.delivered(id, target, seq);
        }
    }

    fn authenticated(&mut self, frame: &str, ledger: &Ledger) {
        let epoch = string(frame, "\"epoch\":\"").to_owned();
        if let Some(known) = self.epoch.replace(epoch.clone()) {
            assert!(known == epoch || ledger.losses > 0, "the epoch has changed, but no message was lost");
        }
        self.state = State::Open;
        self.timeout = number(frame, "\"pingInterval\":") + number(frame, "\"pingTimeout\":");
        for peer in self.peers.values_mut() {
            // The server sends messages that were not acknowledged again.
            peer.buffered.clear();
            peer.session.clear();
            peer.arrived.clone_from(&peer.handled);
        }
    }
}
