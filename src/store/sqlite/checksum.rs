//! Checksums of rows. SQLite has none: a flipped bit in a value, or a row that has vanished with its page, reads as well as
//! what was written.

/// The checksum of one row. It is kept beside the row, so its result must never change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checksum(u64);

impl Checksum {
    /// Begins a row of a table; each table has a number of its own.
    pub(super) const fn of_table(table: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ table)
    }

    /// Adds 64 bits. Both steps can be undone, so two rows that differ in one value never have the same checksum.
    const fn word(self, word: u64) -> Self {
        let product = (self.0 ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(product ^ (product >> 32))
    }

    /// Adds a number.
    pub(super) const fn number(self, number: i64) -> Self {
        self.word(number as u64)
    }

    /// Adds a number that may be missing.
    pub(super) fn optional(self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.word(1).number(number),
            None => self.word(0),
        }
    }

    /// Adds bytes.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let sum =
            words.iter().fold(self.word(bytes.len() as u64), |sum, word| sum.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum.word(u64::from_le_bytes(last))
    }

    /// Adds bytes that may be missing.
    pub(super) fn optional_bytes(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.word(1).bytes(bytes),
            None => self.word(0),
        }
    }

    /// Returns the checksum as SQLite keeps it.
    pub(super) const fn get(self) -> i64 {
        self.0 as i64
    }
}

/// What all rows add up to, whatever order they were written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// How many there are.
    pub(super) rows: i64,
    /// The sum of their checksums.
    pub(super) sum: i64,
}

impl Contents {
    /// Adds a row.
    pub(super) fn add(&mut self, checksum: i64) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(checksum);
    }

    /// Removes a row.
    pub(super) fn subtract(&mut self, checksum: i64) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that was written by one version is read by the next.
    #[test]
    fn is_the_same_in_every_version() {
        let sum = Checksum::of_table(1)
            .number(-7)
            .optional(None)
            .optional(Some(3))
            .bytes(b"twelve bytes")
            .optional_bytes(None);
        assert_eq!(sum.get(), -5_193_100_429_636_499_576);
    }

    #[test]
    fn differs_with_each_bit_and_length() {
        let sum = |bytes: &[u8]| Checksum::of_table(0).bytes(bytes).get();
        let bytes = *b"a message of 27 bytes or so";
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum(&bytes), sum(&flipped), "bit {bit}");
        }
        assert_ne!(sum(b""), sum(b"\0"));
        assert_ne!(sum(b"12345678"), sum(b"12345678\0"));
    }
}
