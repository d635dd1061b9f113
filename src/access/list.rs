//! Comma-separated lists in HTTP headers (RFC 9110, section 5.6.1).

/// Returns the non-empty members of one header line, without surrounding white space.
pub fn members(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Returns `value` without leading and trailing spaces and tabs.
pub fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !b" \t".contains(byte);
    let Some(start) = value.iter().position(is_text) else { return &[] };
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_members_at_commas() {
        for (line, expected) in [
            ("", &[][..]),
            (" ,\t,, ", &[]),
            ("a", &["a"]),
            ("\ta\t,b , c d,", &["a", "b", "c d"]),
            ("\u{a0}a\u{a0},é", &["\u{a0}a\u{a0}", "é"]),
        ] {
            let found: Vec<_> = members(line.as_bytes()).collect();
            assert_eq!(found, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), "{line:?}");
        }
    }
}
