// A relay that drains when it is stopped: messages that wait for its clients go out, and the clients come back to the next
// server, a few at a time. Run node examples/sigterm.mjs and stop it.
import { once } from 'node:events';
import RelayServer from 'websocket-relay';
import { fail } from './lib/server.mjs';

const relayServer = new RelayServer({ port: Number(process.env.PORT ?? 4000) });
await once(relayServer, 'listening').catch(fail);
const { id, token } = relayServer.registerClient();
console.log(JSON.stringify({ port: relayServer.address().port, id, token }));

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    // Less than the time until the process is killed: 10 seconds with Docker, 30 with Kubernetes.
    await relayServer.close({ timeout: 8000, retryAfter: 5000 });
    console.log('Goodbye.');
  });
}
