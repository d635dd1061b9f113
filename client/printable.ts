/**
 * Matches control, format and surrogate characters and line separators, but not the joiners, which words and emoji need.
 * Engines without `\p{…}` match everything outside ASCII too.
 */
const HIDDEN = hidden();
const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function hidden(): RegExp {
  try {
    // Not a literal: it would keep an engine that does not know `\p{…}` from loading the script.
    return new RegExp('(?![\\u200c\\u200d])[\\p{Cc}\\p{Cf}\\p{Cs}\\u2028\\u2029]', 'gu');
  } catch {
    return /[^ -~]/gu;
  }
}

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
