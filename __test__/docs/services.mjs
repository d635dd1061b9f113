// Programs that are not part of the package, started with a configuration from docs/.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { makeCertificate } from '../tls/certificates.mjs';

/** The code blocks of one language in a page of docs/, in order. */
export function codeIn(page, language) {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  const blocks = Array.from(text.matchAll(/^ *```(\w*)\n([^]*?)^ *```$/gm));
  return blocks.filter(([, name]) => name === language).map(([, , code]) => code);
}

/** The first of these programs that is installed. */
export function installed(...programs) {
  return programs.find((program) => spawnSync(program, ['-h']).error === undefined);
}

/** A folder with a certificate for 127.0.0.1, as `fullchain.pem`, `privkey.pem` and, both in one, `combined.pem`. */
export function makeFolder(t) {
  const folder = mkdtempSync(join(tmpdir(), 'websocket-relay-docs-'));
  const { cert, key } = makeCertificate();
  const files = { 'fullchain.pem': cert, 'privkey.pem': key, 'combined.pem': cert + key };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return { folder, cert };
}

/** Starts a program that listens on a TCP port; resolves when it does. It is ended with the test. */
export async function startService(t, program, args, { port, env }) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill();
    await ended;
  });
  while (!(await accepts(port))) {
    assert.equal(child.exitCode, null, output);
    await pause(50);
  }
}

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function accepts(port) {
  const socket = net.connect(port, '127.0.0.1');
  return new Promise((resolve) => {
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
  }).finally(() => socket.destroy());
}
