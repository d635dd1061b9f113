// A relay with TLS that takes a renewed certificate without a restart: node examples/tls.mjs fullchain.pem privkey.pem
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { watchFile } from 'node:fs';
import RelayServer from 'websocket-relay';
import { fail } from './lib/server.mjs';

const [certFile, keyFile] = process.argv.slice(2);
if (!keyFile) fail({ message: 'Usage: node examples/tls.mjs fullchain.pem privkey.pem' });

async function credentials() {
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
  return { cert, key, passphrase: process.env.PASSPHRASE };
}

const secureContext = await credentials().catch(fail);
const relayServer = new RelayServer({ port: Number(process.env.PORT ?? 4443), ...secureContext });
await once(relayServer, 'listening').catch(fail);
console.log(`wss://localhost:${relayServer.address().port}`);

// Polled, because renewal often replaces the files, or what links point to.
watchFile(certFile, { interval: Number(process.env.POLL ?? 60_000) }, async () => {
  try {
    relayServer.setSecureContext(await credentials());
    console.log('The certificate was renewed.');
  } catch (error) {
    // The old certificate stays in use until both files are right.
    console.error(error.message);
  }
});

process.once('SIGTERM', () => process.exit());
