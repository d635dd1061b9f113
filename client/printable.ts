/** Control, format and surrogate characters, and separators of lines; not the joiners, which words and emoji are made of. */
const HIDDEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Text of the network, as it may be written to a log or a terminal: what cannot be printed is escaped, as in `\n`, `\x1b`
 * and `\u202e`.
 */
export function printable(text: string): string {
  // A server may have sent something else, and so may a WebSocket that is not the browser's.
  if (typeof text !== 'string') return text;
  return text.replace(HIDDEN, (character) => {
    const code = (character.codePointAt(0) as number).toString(16);
    const { length } = code;
    return SHORT[character] ?? (length < 3 ? `\\x${code.padStart(2, '0')}` : length < 5 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`);
  });
}
