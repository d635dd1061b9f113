/** The ids of sessions. */

/** Whether a value is the id of a session. */
export function isSession(value: unknown): boolean {
  return typeof value === 'string' && /^[\da-f]{16}$/.test(value);
}

/** Returns 64 random bits as 16 hex digits. They are no secret: where `crypto` is missing, `Math.random` is good enough. */
export function newSession(): string {
  const bytes = new Uint8Array(16);
  try {
    crypto.getRandomValues(bytes);
  } catch {
    bytes.forEach((_, index) => (bytes[index] = Math.random() * 256));
  }
  return Array.from(bytes, (byte) => (byte % 16).toString(16)).join('');
}
