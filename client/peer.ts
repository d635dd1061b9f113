/** Another client, as a relay knows it. */

import type { RelayChannel } from './channel.js';
import type { Inbox } from './inbox.js';
import type { Outbox } from './outbox.js';

/** What goes to another client, what came from there and, once it is made, the channel. */
export interface Peer {
  readonly inbox: Inbox;
  readonly outbox: Outbox;
  online: boolean;
  channel?: RelayChannel;
}
