/** The id of a session. */

/** Returns 64 random bits as 16 hex digits. They are no secret. */
export function newSession(): string {
  return crypto.getRandomValues(new Uint8Array(16)).reduce((id, byte) => id + (byte % 16).toString(16), '');
}
