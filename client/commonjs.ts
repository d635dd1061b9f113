/** The entry for `require`: the class itself, with the exports of the ES module as its properties. */

import { RelayChannel } from './channel.js';
import { WebSocketRelay } from './relay.js';

export = Object.assign(WebSocketRelay, { default: WebSocketRelay, WebSocketRelay, RelayChannel });
