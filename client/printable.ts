/** Escapes texts from the network. */

import { HIDDEN } from './hidden.js';

const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Returns text from the network with everything unprintable escaped, as in `\n`, `\x1b` and `\u202e`, for logs and terminals. */
export function printable(text: unknown): string {
  // A custom WebSocket class may report values of other types.
  if (typeof text !== 'string') return '';
  return text.replace(HIDDEN, (character) => {
    const code = (character.codePointAt(0) as number).toString(16);
    const { length } = code;
    return SHORT[character] ?? (length < 3 ? `\\x${code.padStart(2, '0')}` : length < 5 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`);
  });
}
