// The relay of docs/tls-and-proxies.md that speaks TLS itself, and how it renews its certificate.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import tls from 'node:tls';
import { makeCertificate } from '../tls/certificates.mjs';
import { codeIn, makeFolder } from './services.mjs';

const [startRelay, renew, watch] = codeIn('tls-and-proxies.md', 'javascript').filter((code) => code.includes('fullchain.pem'));

test('the relay speaks TLS with the certificate of a file, and takes a new one when the file changes', async (t) => {
  const { folder, cert } = makeFolder(t);
  const inFolder = (code) => code.replaceAll(/'(\w+\.pem)'/g, (_, name) => JSON.stringify(join(folder, name)));
  const body = inFolder(startRelay).replace('port: 443', `port: 0, host: '127.0.0.1'`);
  const { fs, relayServer } = new Function('require', `${body}\nreturn { fs, relayServer };`)(createRequire(import.meta.url));
  t.after(() => relayServer.close());
  await once(relayServer, 'listening');
  const { port } = relayServer.address();
  assert.equal(await certificateAt(port), certificateIn(cert));

  const writeNew = () => {
    const { cert, key } = makeCertificate();
    writeFileSync(join(folder, 'privkey.pem'), key);
    writeFileSync(join(folder, 'fullchain.pem'), cert);
    return cert;
  };
  const second = writeNew();
  new Function('fs', 'relayServer', inFolder(renew))(fs, relayServer);
  assert.equal(await certificateAt(port), certificateIn(second));

  t.after(() => fs.unwatchFile(join(folder, 'fullchain.pem')));
  new Function('fs', 'relayServer', inFolder(watch).replace('60_000', '20'))(fs, relayServer);
  const third = writeNew();
  while ((await certificateAt(port)) !== certificateIn(third)) await pause(20);
});

async function certificateAt(port) {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { raw } = socket.getPeerCertificate();
  socket.destroy();
  return raw.toString('base64');
}

/** The certificate as it goes over the wire. */
function certificateIn(pem) {
  return pem.replace(/-----[^-]+-----|\s/g, '');
}
