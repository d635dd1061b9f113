/** The stable codes of errors, and the close codes of the wire protocol that end a connection with one. */

/** An `Error` with a stable `code`. The text of its `message` may change from version to version. */
export interface RelayError extends Error {
  /**
   * - `ERR_CONNECTION`: the server could not be reached, or the connection was lost without a goodbye
   * - `ERR_CLOSED`: `send()` after the relay was closed
   * - `ERR_QUEUE_FULL`: 10,000 messages wait already, so that one more is not taken
   * - `ERR_NO_WEBSOCKET`: Node has no `WebSocket` of its own and the package `ws` is not installed
   * - `ERR_INCORRECT_TOKEN`, `ERR_REPLACED` (by a newer connection of the same client), `ERR_TOO_MANY_OFFENCES`,
   *   `ERR_MESSAGE_TOO_BIG` (above the server's `maxPayload`): the server ended the connection for good
   */
  code: string;
}

/**
 * The close codes after which it is no use to come back as before, as `src/error.rs` gives them; and 1006, with which a
 * WebSocket reports a break. 1003 and 1007 are not here: this client sends no binary frames and nothing but UTF-8.
 */
export const CLOSE_ERRORS: Readonly<Record<number, string | undefined>> = {
  1006: 'ERR_CONNECTION',
  1009: 'ERR_MESSAGE_TOO_BIG',
  4500: 'ERR_INCORRECT_TOKEN',
  4501: 'ERR_REPLACED',
  4504: 'ERR_TOO_MANY_OFFENCES',
};

/** Makes an error with its code. */
export function relayError(code: string, message: string): RelayError {
  const error = new Error(message) as RelayError;
  error.code = code;
  return error;
}
