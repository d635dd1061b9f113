// The coturn configuration and the credentials in docs/webrtc.md, tried with coturn itself.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'node:test';
import { codeIn, freePort, installed, makeFolder, startService } from './services.mjs';

const skip = !(installed('turnserver') && installed('turnutils_uclient')) && 'coturn is not installed';
const SECRET = 'a secret of this test';

const [configuration] = codeIn('webrtc.md', 'ini');
const credentials = codeIn('webrtc.md', 'javascript').find((code) => code.includes('createHmac'));
const iceServers = new Function('require', `${credentials}\nreturn iceServers;`)(createRequire(import.meta.url));

test('the TURN server takes credentials that the server has made', { skip }, async (t) => {
  const port = await startTurn(t);
  const [, { username, credential }] = iceServers(7, SECRET);
  assert.match(await allocate(port, username, credential), /tot_send_msgs=10, tot_recv_msgs=10\b/);
});

test('the TURN server refuses credentials that have expired or have another secret', { skip }, async (t) => {
  const port = await startTurn(t);
  for (const [, { username, credential }] of [iceServers(7, SECRET, -10), iceServers(7, 'another secret')]) {
    assert.doesNotMatch(await allocate(port, username, credential), /tot_recv_msgs=[1-9]/);
  }
});

async function startTurn(t) {
  const { folder } = makeFolder(t);
  const port = await freePort();
  const text = configuration
    .replaceAll('/etc/ssl/example.com', folder)
    .replace('tls-listening-port=5349', `tls-listening-port=${await freePort()}`)
    .replace('listening-port=3478', `listening-port=${port}\nlistening-ip=127.0.0.1`)
    .replace('change-me', SECRET)
    .replace(/^denied-peer-ip=127.*$/m, 'allow-loopback-peers')
    .concat(`log-file=stdout\npidfile=${folder}/turn.pid\nuserdb=${folder}/turn.db\n`);
  const file = join(folder, 'turnserver.conf');
  writeFileSync(file, text);
  await startService(t, 'turnserver', ['-c', file], { port });
  return port;
}

/** Has two allocations send each other five messages; what coturn's client prints about it. */
async function allocate(port, username, credential) {
  const child = spawn('turnutils_uclient', ['-y', '-c', '-m', '1', '-n', '5', '-u', username, '-w', credential, '-p', port, '127.0.0.1']);
  const timer = setTimeout(() => child.kill(), 10_000);
  const chunks = await Promise.all([child.stdout, child.stderr].map((stream) => stream.setEncoding('utf8').toArray()));
  clearTimeout(timer);
  return chunks.flat().join('');
}
