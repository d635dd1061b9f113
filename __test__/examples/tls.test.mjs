import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { makeCertificate } from '../tls/certificates.mjs';

const file = fileURLToPath(new URL('../../examples/tls.mjs', import.meta.url));

async function connect(port, { cert: ca }) {
  const socket = tls.connect({ port, ca });
  await once(socket, 'secureConnect');
  socket.destroy();
}

test('uses a renewed certificate without a restart', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'tls-'));
  t.after(() => rm(folder, { recursive: true }));
  const files = [join(folder, 'fullchain.pem'), join(folder, 'privkey.pem')];
  const write = async ({ cert, key }) => {
    await writeFile(files[1], key);
    await writeFile(files[0], cert);
  };
  const [first, second] = [makeCertificate(), makeCertificate()];
  await write(first);
  const server = spawn(process.execPath, [file, ...files], { env: { ...process.env, PORT: '0', POLL: '10' } });
  t.after(() => server.kill('SIGKILL'));
  const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
  const port = Number(new URL((await lines.next()).value).port);
  await connect(port, first);
  await write(second);
  assert.equal((await lines.next()).value, 'The certificate was renewed.');
  await connect(port, second);
});
