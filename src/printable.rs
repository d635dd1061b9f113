//! Escaping of untrusted text for logs and terminals.

use std::borrow::Cow;
use std::fmt::Write;

/// Format characters (the general category Cf) by range, without the joiners U+200C and U+200D, which are part of words
/// and emoji.
const FORMAT: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200b}'),
    ('\u{200e}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e007f}'),
];

/// Escapes the characters of `text` that cannot be printed: control characters, line and paragraph separators, and
/// format characters, which are invisible or reorder text. The escapes look like `\n`, `\x1b`, `\u202e` and
/// `\u{e0041}`; a backslash is not escaped. `client/printable.ts` and `lib/printable.js` do the same.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if !is_hidden(character) {
            shown.push(character);
            continue;
        }
        let number = u32::from(character);
        let written = match character {
            '\n' => shown.write_str("\\n"),
            '\r' => shown.write_str("\\r"),
            '\t' => shown.write_str("\\t"),
            ..='\u{ff}' => write!(shown, "\\x{number:02x}"),
            ..='\u{ffff}' => write!(shown, "\\u{number:04x}"),
            _ => write!(shown, "\\u{{{number:x}}}"),
        };
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
    Cow::Owned(shown)
}

fn is_hidden(character: char) -> bool {
    let is_format = || FORMAT.iter().any(|(first, last)| (*first..=*last).contains(&character));
    match character {
        ' '..='~' => false,
        '\u{2028}' | '\u{2029}' => true,
        _ => character.is_control() || is_format(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_copy_printable_text() {
        for text in ["", "the server is closing", "ä \\n €", "ن\u{200c}م 👩\u{200d}👩"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
