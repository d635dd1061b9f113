/** The entry for Node, which before version 22 has no WebSocket of its own and borrows that of the package `ws`. */

import commonjs from './commonjs.js';
import { relayError } from './codes.js';
import { environment, type WebSocketConstructor } from './environment.js';

environment.webSocket = () => {
  const { WebSocket } = globalThis as { WebSocket?: WebSocketConstructor };
  if (WebSocket) return WebSocket;
  try {
    // Here and not above: it is an optional peer dependency, which few need.
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- an import cannot wait, nor fail
    return require('ws') as WebSocketConstructor;
  } catch {
    throw relayError(
      'ERR_NO_WEBSOCKET',
      'there is no WebSocket: run `npm install ws`, or pass a class as `WebSocket` beside the clientId and the token',
    );
  }
};

export = commonjs;
