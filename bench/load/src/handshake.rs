//! The WebSocket handshake of the floors: the response to an upgrade, and the id in an authentication.

use anyhow::{Context, Result};

/// The response, for any key: the load generator does not check it.
pub const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Returns the client id in an authentication, from the mask and payload of its frame.
pub fn client(mask: &[u8], payload: &[u8]) -> Result<usize> {
    let text = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let text = String::from_utf8(text)?;
    let (_, number) = text.split_once("\"clientId\":").context("no client")?;
    let digits = number.split(|next: char| !next.is_ascii_digit()).next().context("no number")?;
    Ok(digits.parse()?)
}
