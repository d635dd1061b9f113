/**
 * Control, format and surrogate characters, and separators of lines; not the joiners, which words and emoji are made of. By
 * their ranges: engines that do not know `\p{Cf}` refuse to load a script with it.
 */
const HIDDEN =
  // eslint-disable-next-line no-control-regex -- it is what is looked for
  /[\0-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\u{110bd}\u{110cd}\u{13430}-\u{1343f}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}\ud800-\udfff]/gu;
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
