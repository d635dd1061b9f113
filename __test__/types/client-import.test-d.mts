// Every way to import the client, in an ES module.
import Default, * as everything from 'websocket-relay/client';
import { RelayChannel, WebSocketRelay } from 'websocket-relay/client';

const relay: WebSocketRelay = new Default('localhost:4000', { clientId: 0, token: 'x' });
const same: Default = relay;
const channel: RelayChannel = same.createChannel(1);
const classes: (typeof WebSocketRelay)[] = [Default, everything.default, everything.WebSocketRelay];
const channelClass: typeof RelayChannel = everything.RelayChannel;
// @ts-expect-error there is no such export
void everything.createRelay;

export { channel, channelClass, classes };
