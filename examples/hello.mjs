// Two clients say hello to each other through a relay, all in one process: node examples/hello.mjs
import { once } from 'node:events';
import RelayServer from 'websocket-relay';
import WebSocketRelay from 'websocket-relay/client';
import { fail } from './lib/server.mjs';

// Port 0 is any free one.
const relayServer = new RelayServer({ port: process.env.PORT ?? 0, host: '127.0.0.1' });
await once(relayServer, 'listening').catch(fail);
const address = `127.0.0.1:${relayServer.address().port}`;

const client1 = relayServer.registerClient();
const client2 = relayServer.registerClient();
relayServer.registerRelayChannel(client1.id, client2.id);

const relay1 = new WebSocketRelay(address, { clientId: client1.id, token: client1.token });
const relay2 = new WebSocketRelay(address, { clientId: client2.id, token: client2.token });
const channel1 = relay1.createChannel(client2.id);
const channel2 = relay2.createChannel(client1.id);

channel1.send('hello world');
channel2.on('message', (message) => {
  console.log(message);
  relay1.close();
  relay2.close();
  relayServer.close();
});
