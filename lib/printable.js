'use strict';

/** Control, format, surrogate and line separator characters, except the joiners that words and emoji contain. */
const HIDDEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

const SHORT = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Escapes the unprintable characters of a text, as in `\n`, `\x1b` and `\u202e`, so that it is safe in logs and terminals.
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
