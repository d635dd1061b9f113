/** The stable codes of errors, and what the close codes of the wire protocol mean to a client. */

import { printable } from './printable.js';

/** From this close code on, a client must not reconnect. */
export const FIRST_FINAL = 4500;
/** The exceptions: a client that can get another token reconnects with it. */
const INCORRECT_TOKEN = 4500;
const TOKEN_EXPIRED = 4503;

/** An `Error` with a stable `code`. The text of its `message` may change between versions. */
export interface RelayError extends Error {
  /**
   * - `ERR_CONNECTION`: the server could not be reached or, as an `'error'`, the connection was lost and the relay does not
   *   reconnect
   * - `ERR_CLOSED`: the relay is closed. It is not known whether a message that was sent before has arrived
   * - `ERR_QUEUE_FULL`: the message was not taken, because too many are outstanding or wait for a listener
   * - `ERR_TOKEN`: the function that provides the token failed; `cause` is its error
   * - `ERR_NO_WEBSOCKET`: this version of Node has no `WebSocket` and the package `ws` is not installed
   * - `ERR_INCORRECT_TOKEN`, `ERR_TOKEN_EXPIRED` (both only after the sixth refusal in a row if a function provides the
   *   token), `ERR_REPLACED` (by a newer connection of the same client), `ERR_UNREGISTERED`, `ERR_TOO_MANY_OFFENCES`,
   *   `ERR_MESSAGE_TOO_BIG` (above the server's `maxPayload`): the server ended the connection for good
   * - any other code comes from the server, for example `ERR_CHANNEL_NOT_REGISTERED` for a message that it rejected
   */
  code: string;
  /** The id of the client that a message was for, if the error is about one that was not taken. */
  targetId?: number;
}

/**
 * The error of each close code that has one, as in `src/error.rs`, and of 1006, with which a WebSocket reports a lost
 * connection. 1003 and 1007 are missing: this client sends neither binary frames nor invalid UTF-8.
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

/** Whether a client may reconnect after a close code. */
export function isTemporary(code: number, canRenewToken: boolean): boolean {
  // A client that sent what no server takes would do so again.
  return code < FIRST_FINAL ? ![1003, 1007, 1009].includes(code) : canRenewToken && (code === INCORRECT_TOKEN || code === TOKEN_EXPIRED);
}

/** Whether a close code says that the server has no room for this client now: too many connections, over the rate limit. */
export function isOverload(code: number): boolean {
  return code === 1013 || code === 4003;
}

/** Returns an error with a code. Both texts may come from the server. */
export function relayError(code: string, message: string, details?: { targetId?: number; cause?: unknown }): RelayError {
  return Object.assign(new Error(printable(message)), { code: printable(code) }, details);
}

export function queueFull(targetId: number): RelayError {
  return relayError('ERR_QUEUE_FULL', `queue full for client ${targetId}`, { targetId });
}

export function relayClosed(): RelayError {
  return relayError('ERR_CLOSED', 'closed');
}
