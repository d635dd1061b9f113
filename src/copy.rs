//! Copying long byte strings at the speed that the processor has.

/// Above some size the C library copies with `rep movsb`, which on some processors (Zen 4 for one,
/// <https://sourceware.org/bugzilla/show_bug.cgi?id=30994>) is several times slower when source and destination lie
/// alike within their pages, as large buffers do. In pieces it does not come to that.
const PIECE: usize = 4096;

/// Bytes of a line of the caches.
pub const CACHE_LINE: usize = 64;

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

/// Appends `bytes`, which will not be looked at soon, and fills no cache with them.
pub fn append_nontemporal(bytes: &[u8], to: &mut Vec<u8>) {
    to.reserve(bytes.len());
    #[expect(unsafe_code, reason = "no safe way writes past the caches")]
    // SAFETY: there is so much room behind what is there, and all of it is written before it counts.
    unsafe {
        nontemporal::write(bytes, to.as_mut_ptr().add(to.len()));
        to.set_len(to.len() + bytes.len());
    }
}

/// Fills `to`, which is as long as `bytes` and will not be looked at soon, and fills no cache with it.
pub fn fill_nontemporal(bytes: &[u8], to: &mut [u8]) {
    assert_eq!(bytes.len(), to.len());
    #[expect(unsafe_code, reason = "no safe way writes past the caches")]
    // SAFETY: it is as long.
    unsafe {
        nontemporal::write(bytes, to.as_mut_ptr());
    }
}

/// Fills whole lines of the caches, into which `bytes` fit, likewise: what is behind them in the last is overwritten.
pub fn fill_lines_nontemporal(bytes: &[u8], to: &mut [u8]) {
    assert!(
        to.as_ptr().addr().is_multiple_of(CACHE_LINE) && to.len() == bytes.len().next_multiple_of(CACHE_LINE)
    );
    let (lines, rest) = bytes.as_chunks::<CACHE_LINE>();
    let mut last = [0; CACHE_LINE];
    last[..rest.len()].copy_from_slice(rest);
    let (to_lines, to_last) = to.split_at_mut(lines.len() * CACHE_LINE);
    fill_nontemporal(lines.as_flattened(), to_lines);
    if !rest.is_empty() {
        fill_nontemporal(&last, to_last);
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
    /// There is room for them at `to`, which is nobody else's.
    #[cfg(target_arch = "x86_64")]
    pub unsafe fn write(bytes: &[u8], to: *mut u8) {
        // Only whole lines: what stands beside them stays in the cache.
        let (first, rest) = bytes.split_at(to.align_offset(CACHE_LINE).min(bytes.len()));
        let (lines, last) = rest.as_chunks::<CACHE_LINE>();
        let middle = first.len();
        let behind = middle + lines.len() * CACHE_LINE;
        // SAFETY: all places are within the room, and those of the lines are aligned as lines are.
        unsafe {
            to.copy_from_nonoverlapping(first.as_ptr(), first.len());
            to.add(behind).copy_from_nonoverlapping(last.as_ptr(), last.len());
            // A line that is written at once goes out as one, whoever else has the processor's buffers for that.
            if is_x86_feature_detected!("avx512f") {
                write_whole(lines, to.add(middle));
            } else if is_x86_feature_detected!("avx") {
                write_in_halves(lines, to.add(middle));
            } else {
                to.add(middle).copy_from_nonoverlapping(lines.as_ptr().cast(), lines.len() * CACHE_LINE);
            }
            // Behind it other threads see what was written.
            _mm_sfence();
        }
    }

    /// # Safety
    /// As for [`write`]; `to` is aligned as lines are, and the processor has AVX-512.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn write_whole(lines: &[[u8; CACHE_LINE]], to: *mut u8) {
        for (place, line) in lines.iter().enumerate() {
            // SAFETY: it is the place of a line.
            unsafe {
                _mm512_stream_si512(
                    to.add(place * CACHE_LINE).cast(),
                    _mm512_loadu_si512(line.as_ptr().cast()),
                );
            }
        }
    }

    /// # Safety
    /// As for [`write`]; `to` is aligned as lines are, and the processor has AVX.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn write_in_halves(lines: &[[u8; CACHE_LINE]], to: *mut u8) {
        for (place, line) in lines.iter().enumerate() {
            // SAFETY: the halves make up the place of a line.
            unsafe {
                let (from, to) =
                    (line.as_ptr().cast::<__m256i>(), to.add(place * CACHE_LINE).cast::<__m256i>());
                _mm256_stream_si256(to, _mm256_loadu_si256(from));
                _mm256_stream_si256(to.add(1), _mm256_loadu_si256(from.add(1)));
            }
        }
    }

    /// Copies `bytes` to `to`; there is no other way here than the usual.
    ///
    /// # Safety
    /// There is room for them at `to`, which is nobody else's.
    #[cfg(not(target_arch = "x86_64"))]
    pub unsafe fn write(bytes: &[u8], to: *mut u8) {
        // SAFETY: there is room, and it is nobody else's.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_copy_the_same() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|number| (number % 251) as u8).collect();
        for (start, length) in
            (0..70).flat_map(|start| [0, 1, 63, 64, 65, 200, 4095, 9000].map(|l| (start, l)))
        {
            let from = &bytes[start..start + length];
            for is_aside in [false, true] {
                let mut to = vec![7; start % 65];
                if is_aside {
                    append_nontemporal(from, &mut to)
                } else {
                    append(from, &mut to)
                }
                assert_eq!(to, [&[7].repeat(start % 65), from].concat());
                let mut to = vec![7; start + length + 1];
                let room = &mut to[start..start + length];
                if is_aside {
                    fill_nontemporal(from, room)
                } else {
                    fill(from, room)
                }
                assert_eq!(to, [&[7].repeat(start), from, &[7]].concat());
            }
            let mut lines = vec![7; length + 3 * CACHE_LINE];
            let first = lines.as_ptr().align_offset(CACHE_LINE);
            let whole = length.next_multiple_of(CACHE_LINE);
            fill_lines_nontemporal(from, &mut lines[first..first + whole]);
            assert_eq!(lines[first..first + length], *from);
            assert_eq!(lines[first + whole..], [7].repeat(lines.len() - first - whole));
        }
    }

    /// That of processors without AVX-512, also on those with it.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn lines_in_halves_are_the_same_lines() {
        if !is_x86_feature_detected!("avx") {
            return;
        }
        let from: Vec<[u8; CACHE_LINE]> = (0..20).map(|number| [number; CACHE_LINE]).collect();
        let mut to = vec![0; (from.len() + 1) * CACHE_LINE];
        let first = to.as_ptr().align_offset(CACHE_LINE);
        let room = &mut to[first..first + from.len() * CACHE_LINE];
        #[expect(unsafe_code, reason = "it is what is tested")]
        // SAFETY: there is so much room, which begins with a line, and the processor has it.
        unsafe {
            nontemporal::write_in_halves(&from, room.as_mut_ptr());
        }
        assert_eq!(*room, *from.as_flattened());
    }
}
