//! Fast copies of long byte strings, through the caches or past them.
//!
//! A copy past the caches (non-temporal) is for bytes that will not be read soon: it does not evict what the caches hold.

/// Bytes that are copied at a time.
///
/// Above some size the C library copies with `rep movsb`. On some processors, Zen 4 for one, that is several times slower
/// when source and destination have the same position within their pages, as large buffers often do
/// (<https://sourceware.org/bugzilla/show_bug.cgi?id=30994>). Pieces of this size are below the threshold.
const PIECE: usize = 4096;

/// Bytes of a cache line.
pub const CACHE_LINE: usize = 64;

/// Appends `bytes` to `to`.
pub fn append(bytes: &[u8], to: &mut Vec<u8>) {
    to.reserve(bytes.len());
    bytes.chunks(PIECE).for_each(|piece| to.extend_from_slice(piece));
}

/// Copies `bytes` to `to`, which has the same length.
pub fn fill(bytes: &[u8], to: &mut [u8]) {
    for (piece, to) in bytes.chunks(PIECE).zip(to.chunks_mut(PIECE)) {
        to.copy_from_slice(piece);
    }
}

/// Appends `bytes` to `to`, past the caches.
pub fn append_nontemporal(bytes: &[u8], to: &mut Vec<u8>) {
    to.reserve(bytes.len());
    #[expect(unsafe_code, reason = "no safe way writes past the caches")]
    // SAFETY: the room was reserved, and all of it is written before the length is set.
    unsafe {
        nontemporal::write(bytes, to.as_mut_ptr().add(to.len()));
        to.set_len(to.len() + bytes.len());
    }
}

#[expect(unsafe_code, reason = "the processor's own instructions")]
mod nontemporal {
    #[cfg(target_arch = "x86_64")]
    use std::arch::x86_64::{
        __m256i, _mm_sfence, _mm256_loadu_si256, _mm256_stream_si256, _mm512_loadu_si512, _mm512_stream_si512,
    };

    #[cfg(target_arch = "x86_64")]
    use super::CACHE_LINE;

    /// Copies `bytes` to `to`.
    ///
    /// # Safety
    /// `to` is valid for writes of `bytes.len()` bytes that nothing else accesses.
    #[cfg(target_arch = "x86_64")]
    pub unsafe fn write(bytes: &[u8], to: *mut u8) {
        // Only whole lines go past the caches: the bytes beside them may be in use.
        let (first, rest) = bytes.split_at(to.align_offset(CACHE_LINE).min(bytes.len()));
        let (lines, last) = rest.as_chunks::<CACHE_LINE>();
        let middle = first.len();
        let end = middle + lines.len() * CACHE_LINE;
        // SAFETY: all three ranges are within the bytes that `to` is valid for, and the lines are aligned to lines.
        unsafe {
            to.copy_from_nonoverlapping(first.as_ptr(), first.len());
            to.add(end).copy_from_nonoverlapping(last.as_ptr(), last.len());
            // A whole line in one instruction needs no write-combining buffer, which other threads may use up.
            if is_x86_feature_detected!("avx512f") {
                write_whole(lines, to.add(middle));
            } else if is_x86_feature_detected!("avx") {
                write_in_halves(lines, to.add(middle));
            } else {
                to.add(middle).copy_from_nonoverlapping(lines.as_ptr().cast(), lines.len() * CACHE_LINE);
            }
            // Non-temporal stores are not ordered with others: this orders them before whatever follows.
            _mm_sfence();
        }
    }

    /// # Safety
    /// As for [`write`]; `to` is aligned to a cache line, and the processor has AVX-512.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn write_whole(lines: &[[u8; CACHE_LINE]], to: *mut u8) {
        for (place, line) in lines.iter().enumerate() {
            // SAFETY: `to` is valid and aligned for as many lines.
            unsafe {
                _mm512_stream_si512(
                    to.add(place * CACHE_LINE).cast(),
                    _mm512_loadu_si512(line.as_ptr().cast()),
                );
            }
        }
    }

    /// # Safety
    /// As for [`write`]; `to` is aligned to a cache line, and the processor has AVX.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn write_in_halves(lines: &[[u8; CACHE_LINE]], to: *mut u8) {
        for (place, line) in lines.iter().enumerate() {
            // SAFETY: `to` is valid and aligned for as many lines; the halves make up one.
            unsafe {
                let (from, to) =
                    (line.as_ptr().cast::<__m256i>(), to.add(place * CACHE_LINE).cast::<__m256i>());
                _mm256_stream_si256(to, _mm256_loadu_si256(from));
                _mm256_stream_si256(to.add(1), _mm256_loadu_si256(from.add(1)));
            }
        }
    }

    /// Copies `bytes` to `to`, through the caches: other processors have no such stores.
    ///
    /// # Safety
    /// `to` is valid for writes of `bytes.len()` bytes that nothing else accesses.
    #[cfg(not(target_arch = "x86_64"))]
    pub unsafe fn write(bytes: &[u8], to: *mut u8) {
        // SAFETY: the caller promises it.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_copies_the_same_bytes() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|number| (number % 251) as u8).collect();
        for (start, length) in
            (0..70).flat_map(|start| [0, 1, 63, 64, 65, 200, 4095, 9000].map(|l| (start, l)))
        {
            let from = &bytes[start..start + length];
            for append in [append, append_nontemporal] {
                let mut to = vec![7; start % 65];
                append(from, &mut to);
                assert_eq!(to, [&[7].repeat(start % 65), from].concat());
            }
            let mut to = vec![7; start + length + 1];
            fill(from, &mut to[start..start + length]);
            assert_eq!(to, [&[7].repeat(start), from, &[7]].concat());
        }
    }

    /// On processors with AVX-512 too, which never use it.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn avx_copies_the_same_lines() {
        if !is_x86_feature_detected!("avx") {
            return;
        }
        let from: Vec<[u8; CACHE_LINE]> = (0..20).map(|number| [number; CACHE_LINE]).collect();
        let mut to = vec![0; (from.len() + 1) * CACHE_LINE];
        let first = to.as_ptr().align_offset(CACHE_LINE);
        let room = &mut to[first..first + from.len() * CACHE_LINE];
        #[expect(unsafe_code, reason = "the tested function is unsafe")]
        // SAFETY: `room` is aligned to a line and as long as `from`, and the processor has AVX.
        unsafe {
            nontemporal::write_in_halves(&from, room.as_mut_ptr());
        }
        assert_eq!(*room, *from.as_flattened());
    }
}
