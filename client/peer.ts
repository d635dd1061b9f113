/** Another client, as a relay knows it. */

import type { ChannelState, RelayChannel } from './channel.js';
import type { RelayError } from './codes.js';
import { callSafely } from './emitter.js';
import type { Callbacks } from './outbox.js';

/** What is kept about another client; its channel once the application asks for it. */
export interface Peer extends ChannelState {
  channel_?: RelayChannel;
}

/** Calls the callbacks of messages that are no longer outstanding, and emits `'drain'` if they were the last. */
export function settle({ outbox_: outbox, channel_: channel }: Peer, callbacks: Callbacks, error?: RelayError): void {
  for (const callback of callbacks) callSafely(() => callback?.(error));
  if (callbacks.length && !outbox.characters_) channel?.emit('drain');
}
