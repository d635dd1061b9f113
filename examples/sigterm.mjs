// A relay that goes away with good manners: what waits for its clients goes out, and they come back to its successor, a few
// at a time. node examples/sigterm.mjs, and then kill it.
import { once } from 'node:events';
import RelayServer from 'websocket-relay';

const relayServer = new RelayServer({ port: Number(process.env.PORT ?? 4000) });
await once(relayServer, 'listening');
const { id, token } = relayServer.registerClient();
console.log(JSON.stringify({ port: relayServer.address().port, id, token }));

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    // Less than whoever sent the signal waits before it kills: Docker 10 seconds, Kubernetes 30.
    await relayServer.close({ timeout: 8000, retryAfter: 5000 });
    console.log('Goodbye.');
  });
}
