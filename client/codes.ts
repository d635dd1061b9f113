/** The stable codes of errors, and what the close codes of the wire protocol mean to a client. */

import { printable } from './printable.js';

/** An `Error` with a stable `code`. The text of its `message` may change from version to version. */
export interface RelayError extends Error {
  /**
   * - `ERR_CONNECTION`: the server could not be reached or, as an `'error'`, the connection was lost and the relay does not
   *   reconnect
   * - `ERR_CLOSED`: the relay is closed. Of a message that was sent before: whether it arrived is not known
   * - `ERR_QUEUE_FULL`: the message was not taken, too many are outstanding or wait for a listener
   * - `ERR_TOKEN`: the function that was to give the token failed; `cause` is why
   * - `ERR_NO_WEBSOCKET`: Node has no `WebSocket` of its own and the package `ws` is not installed
   * - `ERR_INCORRECT_TOKEN`, `ERR_REPLACED` (by a newer connection of the same client), `ERR_UNREGISTERED`,
   *   `ERR_TOKEN_EXPIRED`, `ERR_TOO_MANY_OFFENCES`, `ERR_MESSAGE_TOO_BIG` (above the server's `maxPayload`): the server
   *   ended the connection for good
   * - what the server says of a message that it rejected, for example `ERR_CHANNEL_NOT_REGISTERED`, or of any other
   *   mistake
   */
  code: string;
  /** Of a message that was not taken: the id of the client that it was for. */
  targetId?: number;
}

/**
 * The close codes that end a connection with an error, as `src/error.rs` gives them; and 1006, with which a WebSocket
 * reports a break. 1003 and 1007 are not here: this client sends no binary frames and nothing but UTF-8.
 */
export const CLOSE_ERRORS: Readonly<Record<number, string | undefined>> = {
  1006: 'ERR_CONNECTION',
  1009: 'ERR_MESSAGE_TOO_BIG',
  4500: 'ERR_INCORRECT_TOKEN',
  4501: 'ERR_REPLACED',
  4502: 'ERR_UNREGISTERED',
  4503: 'ERR_TOKEN_EXPIRED',
  4504: 'ERR_TOO_MANY_OFFENCES',
};

/** From here on a close code says that it is no use to come back. */
export const FIRST_FINAL = 4500;
/** And these say so too. */
export const FINAL: readonly number[] = [1003, 1007, 1009];
/** Of those that do, after this one a client may come back with a new token. */
export const TOKEN_EXPIRED = 4503;
/** Too many connections, over the rate limit: come back, but not soon. */
export const LATER: readonly number[] = [1013, 4003];

/** Makes an error with its code. Both may be the server's. */
export function relayError(code: string, message: string, more?: { targetId?: number; cause?: unknown }): RelayError {
  return Object.assign(new Error(printable(message)), { code: printable(code) }, more);
}
