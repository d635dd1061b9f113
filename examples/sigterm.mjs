// A relay that loses nothing when it is restarted: its clients, channels and messages are kept in a file. When it is stopped,
// messages that wait for connected clients still go out, and the clients come back to the next server, a few at a time.
// Run node examples/sigterm.mjs, stop it with Ctrl-C, and run it again.
import RelayServer from 'websocket-relay';
import { listening, storeBeside } from './lib/server.mjs';

const store = storeBeside(import.meta.url);
const relayServer = new RelayServer({ port: Number(process.env.PORT ?? 4000), store });
await listening(relayServer, store);

// Their tokens are shown only once: the store keeps hashes.
const kept = Array.from(relayServer.clients(), ({ id, queuedMessages }) => ({ id, queuedMessages }));
const clients = kept.length > 0 ? kept : relayServer.registerClients(2);
relayServer.registerRelayChannels(clients.map(({ id }) => id));
console.log(JSON.stringify({ port: relayServer.address().port, clients }));

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    // Less than the time until the process is killed: 10 seconds with Docker, 30 with Kubernetes.
    await relayServer.close({ timeout: 8000, retryAfter: 5000 });
    console.log('Goodbye.');
  });
}
