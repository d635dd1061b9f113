// A relay that speaks TLS, and takes a renewed certificate without a restart: node examples/tls.mjs fullchain.pem privkey.pem
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { watchFile } from 'node:fs';
import RelayServer from 'websocket-relay';

const [certFile, keyFile] = process.argv.slice(2);
const PORT = Number(process.env.PORT ?? 4443);

async function credentials() {
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
  return { cert, key, passphrase: process.env.PASSPHRASE };
}

const relayServer = new RelayServer({ port: PORT, ...(await credentials()) });
await once(relayServer, 'listening');
console.log(`wss://localhost:${relayServer.address().port}`);

// By polling: those who renew certificates often replace the files, or what links lead to.
watchFile(certFile, { interval: Number(process.env.POLL ?? 60_000) }, async () => {
  try {
    relayServer.setSecureContext(await credentials());
    console.log('The certificate was renewed.');
  } catch (error) {
    // The old one goes on, until both files are right.
    console.error(error.message);
  }
});

process.once('SIGTERM', () => process.exit());
