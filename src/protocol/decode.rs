//! Text of a client → the frame it means.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json;
use crate::error::Offence;
use crate::ids::ClientId;
use crate::limits::Limits;

/// Characters of an unrecognised frame that its error shows.
const EXCERPT: usize = 200;

/// A frame that a client may send.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// Who it says it is.
    Authentication(Authentication<'a>),
    /// A message for another client.
    Relay(RelayFrame<'a>),
}

/// `{"authentication":{"clientId":0,"token":"…"}}`
pub struct Authentication<'a> {
    /// Who it says it is.
    pub client_id: ClientId,
    /// How it proves it. Empty for what no token can be.
    pub token: Cow<'a, str>,
}

impl std::fmt::Debug for Authentication<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// `{"relay":{"targetId":1,"message":"…"}}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayFrame<'a> {
    /// The recipient.
    pub target_id: ClientId,
    /// The message as the JSON string that it came in, quotes included. Never unescaped, so that every string of
    /// JavaScript arrives as it was sent.
    pub message: &'a str,
}

/// Reads a text frame.
///
/// # Errors
/// [`Offence::InvalidJson`] or [`Offence::Unrecognized`].
pub fn decode(text: &str) -> Result<ClientFrame<'_>, Offence> {
    let frame = json::parse(text, Limits::MAX_NESTING).ok_or(Offence::InvalidJson)?;
    recognize(frame).ok_or_else(|| Offence::Unrecognized { excerpt: json::excerpt(text, EXCERPT) })
}

fn recognize(frame: &RawValue) -> Option<ClientFrame<'_>> {
    let [authentication, relay] = json::members(frame, ["authentication", "relay"])?;
    // A frame with both is an authentication, as for the 0.3.3 server.
    if let Some(frame) = authentication.and_then(authenticate) {
        return Some(ClientFrame::Authentication(frame));
    }
    relay.and_then(relay_frame).map(ClientFrame::Relay)
}

fn authenticate(value: &RawValue) -> Option<Authentication<'_>> {
    let [client_id, token] = json::members(value, ["clientId", "token"])?;
    let (client_id, token) = (json::client_id(client_id?)?, token?);
    if !token.get().starts_with('"') {
        return None;
    }
    Some(Authentication { client_id, token: json::string(token).unwrap_or_default() })
}

fn relay_frame(value: &RawValue) -> Option<RelayFrame<'_>> {
    let [target_id, message] = json::members(value, ["targetId", "message"])?;
    let (target_id, message) = (json::client_id(target_id?)?, message?.get());
    message.starts_with('"').then_some(RelayFrame { target_id, message })
}
