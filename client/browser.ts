/** The entry of dist/websocket_relay.min.js: a plain script that sets the global `WebSocketRelay`. */

import { WebSocketRelay } from './relay.js';

(globalThis as { WebSocketRelay?: unknown }).WebSocketRelay = WebSocketRelay;
