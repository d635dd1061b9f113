/** The entry for `require`: the class itself, with the names of the ES module on it. */

import { RelayChannel } from './channel.js';
import { WebSocketRelay } from './relay.js';

export = Object.assign(WebSocketRelay, { default: WebSocketRelay, WebSocketRelay, RelayChannel });
