import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCertificate } from '../tls/certificates.mjs';

/** Runs an example to its end; resolves to its exit code and what it printed as errors. */
async function run(name, { args = [], port, store } = {}) {
  const file = fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
  const child = spawn(process.execPath, [file, ...args], { env: { ...process.env, PORT: port, ...(store && { STORE: store }) }, stdio: ['ignore', 'ignore', 'pipe'] });
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  return { code, stderr };
}

async function newFolder(t) {
  const folder = await mkdtemp(join(tmpdir(), 'example-'));
  t.after(() => rm(folder, { recursive: true, maxRetries: 5 }));
  return folder;
}

async function certificateFiles(t) {
  const folder = await newFolder(t);
  const { cert, key } = makeCertificate();
  const files = [join(folder, 'fullchain.pem'), join(folder, 'privkey.pem')];
  await Promise.all([writeFile(files[0], cert), writeFile(files[1], key)]);
  return files;
}

const SERVERS = ['chat', 'dashboard', 'express', 'room', 'webrtc'].map((name) => `${name}/server.mjs`);

for (const name of [...SERVERS, 'hello.mjs', 'sigterm.mjs', 'tls.mjs']) {
  test(`${name} names a port that is in use, and exits with 1`, async (t) => {
    const taken = createServer();
    // The examples listen on all addresses, on those of IPv4, or on one of them.
    await Promise.all([once(taken, 'listening'), taken.listen(0, name.startsWith('chat') || name === 'hello.mjs' ? '127.0.0.1' : undefined)]);
    t.after(() => taken.close());
    const { port } = taken.address();
    const args = name === 'tls.mjs' ? await certificateFiles(t) : [];
    const store = join(await newFolder(t), 'relay.db');
    assert.deepEqual(await run(name, { args, port, store }), {
      code: 1,
      stderr: `Port ${port} is in use. Set PORT to another one, for example PORT=${port + 1}.\n`,
    });
  });
}

for (const name of ['chat/server.mjs', 'express/server.mjs', 'room/server.mjs', 'webrtc/server.mjs', 'sigterm.mjs']) {
  test(`${name} says what is wrong with its store, and exits with 1`, async (t) => {
    const store = join(await newFolder(t), 'no-such-folder', 'relay.db');
    const { code, stderr } = await run(name, { port: 0, store });
    assert.equal(code, 1);
    assert.match(stderr, /^[^\n]*no-such-folder[^\n]*\n$/);
  });
}

test('tls.mjs without its two files says how it is used', async () => {
  const usage = { code: 1, stderr: 'Usage: node examples/tls.mjs fullchain.pem privkey.pem\n' };
  assert.deepEqual(await run('tls.mjs'), usage);
  assert.deepEqual(await run('tls.mjs', { args: ['fullchain.pem'] }), usage);
});

test('tls.mjs names a file that is missing', async () => {
  const { code, stderr } = await run('tls.mjs', { args: ['no-such-chain.pem', 'no-such-key.pem'] });
  assert.equal(code, 1);
  assert.match(stderr, /^ENOENT: [^\n]*no-such-(chain|key)\.pem'\n$/);
});
