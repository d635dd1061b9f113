/** Stands in for the global `WebSocket` in the bundle for Node, which has none before version 22. See scripts/compile.mjs. */

import { relayError } from './codes.js';
import type { WebSocketConstructor, WebSocketLike } from './websocket.js';

/** Creates a WebSocket of Node's own class or, without one, of the package `ws`. Called with `new`. */
export function WebSocket(url: string): WebSocketLike {
  const { WebSocket: native } = globalThis as { WebSocket?: WebSocketConstructor };
  return new (native ?? fromPackage())(url);
}

function fromPackage(): WebSocketConstructor {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- an optional package: loaded only when it is needed
    return require('ws') as WebSocketConstructor;
  } catch {
    throw relayError(
      'ERR_NO_WEBSOCKET',
      'there is no WebSocket: run `npm install ws`, or pass a class as `WebSocket` beside the clientId and the token',
    );
  }
}
