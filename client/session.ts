/** The name of a session. */

/** Returns 64 random bits, as 16 hex digits. They are no secret, so where there is no `crypto` those of `Math.random` will do. */
export function newSession(): string {
  const bytes = new Uint8Array(8);
  try {
    crypto.getRandomValues(bytes);
  } catch {
    for (const index of bytes.keys()) bytes[index] = Math.random() * 256;
  }
  return Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join('');
}
