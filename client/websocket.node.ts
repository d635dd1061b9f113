/** What scripts/compile.mjs puts in the place of the global `WebSocket` for Node, which before version 22 has none. */

import { relayError } from './codes.js';
import type { WebSocketConstructor, WebSocketLike } from './websocket.js';

/** Makes a WebSocket of Node's own class or, where there is none, of the package `ws`. Called with `new`. */
export function WebSocket(url: string): WebSocketLike {
  const { WebSocket: native } = globalThis as { WebSocket?: WebSocketConstructor };
  return new (native ?? borrowed())(url);
}

function borrowed(): WebSocketConstructor {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- optional, so not before it is needed
    return require('ws') as WebSocketConstructor;
  } catch {
    throw relayError(
      'ERR_NO_WEBSOCKET',
      'there is no WebSocket: run `npm install ws`, or pass a class as `WebSocket` beside the clientId and the token',
    );
  }
}
