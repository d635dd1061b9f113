/** The events of a relay. Those of a channel are in `channel.ts`. */

import type { RelayError } from './codes.js';

/** The argument of `'open'` listeners. */
export interface OpenInfo {
  /**
   * Whether this connection continues where the last one of this object ended. If it is false and this is not the first
   * connection, messages may be missing: the server has lost what it kept, as without a store when it restarts, or another
   * page was this client meanwhile. What was not accepted is sent again in any case, and nothing is emitted twice.
   */
  resumed: boolean;
}

/** How a connection ended: the argument of `'close'` listeners. */
export interface CloseInfo {
  /** The WebSocket close code; 1006 if the connection was lost or could not be made. */
  code: number;
  /** The close reason or, in Node, the cause of a failure. Often empty. Unprintable characters are escaped. */
  reason: string;
  /** Whether the relay will reconnect. If not, this is the last event and the relay is closed for good. */
  willReconnect: boolean;
}

/** The events of a {@link WebSocketRelay} and their listeners' arguments. */
export interface RelayEvents {
  /** The relay is connected and authenticated (not `reliable`: connected). Messages sent before are on their way. */
  open: [info: OpenInfo];
  /** A connection ended or could not be made. */
  close: [info: CloseInfo];
  /**
   * A connection could not be made and the relay will try again. The error is an `ERR_CONNECTION` whose `message` contains
   * the address and, if the WebSocket tells it, the reason, such as `Unexpected server response: 404`. Without a listener
   * the first three failures in a row are printed with `console.warn`, except for those without a reason in a browser, which
   * prints a line of its own.
   */
  connectError: [error: RelayError];
  /** An error, printed with `console.error` if nobody listens. If it ended the relay, `close` follows. */
  error: [error: RelayError];
}
