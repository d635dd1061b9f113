//! Copying long byte strings at the speed that the processor has.

/// Above some size the C library copies with `rep movsb`, which on some processors (Zen 4 for one,
/// <https://sourceware.org/bugzilla/show_bug.cgi?id=30994>) is several times slower when source and destination lie
/// alike within their pages, as large buffers do. In pieces it does not come to that.
const PIECE: usize = 4096;

/// Appends `bytes`.
pub fn append(bytes: &[u8], to: &mut Vec<u8>) {
    to.reserve(bytes.len());
    bytes.chunks(PIECE).for_each(|piece| to.extend_from_slice(piece));
}

/// Fills `to`, which is as long as `bytes`.
pub fn fill(bytes: &[u8], to: &mut [u8]) {
    for (piece, to) in bytes.chunks(PIECE).zip(to.chunks_mut(PIECE)) {
        to.copy_from_slice(piece);
    }
}
