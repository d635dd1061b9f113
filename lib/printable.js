'use strict';

/** Control, format and surrogate characters, and separators of lines; not the joiners, which words and emoji are made of. */
const HIDDEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const SHORT = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * A text as it may be written to a log or a terminal: what cannot be printed is escaped, as in `\n`, `\x1b` and `\u202e`.
 * @param {string} text
 */
function printable(text) {
  return text.replace(HIDDEN, (character) => {
    const code = character.codePointAt(0).toString(16);
    if (Object.hasOwn(SHORT, character)) return SHORT[character];
    if (code.length < 3) return `\\x${code.padStart(2, '0')}`;
    return code.length < 5 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`;
  });
}

module.exports = { printable };
