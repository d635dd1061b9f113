// Tokens are revealed only to callers of registerClient().
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { Connection, listen, pair } from './support.mjs';

test('prints no token, whatever is done with it', async (t) => {
  const child = fork(fileURLToPath(new URL('secrets.program.mjs', import.meta.url)), {
    env: { ...process.env, NODE_DEBUG: 'websocket-relay', RUST_BACKTRACE: 'full' },
    execArgv: ['--trace-warnings', '--stack-trace-limit=100'],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const [[tokens]] = await Promise.all([once(child, 'message'), once(child, 'exit'), once(child.stdout, 'close'), once(child.stderr, 'close')]);
  const lower = output.toLowerCase();
  // Each way was tried.
  for (const [name, pattern] of Object.entries({
    'tracing': /WEBSOCKET-RELAY \d+: client 0 disconnected/,
    'errors with what was blotted out': /errors: \d{3,}, blotted: \d{3,}/,
    'close reasons': /\[ 0, 4000, 'bye \[redacted\] bye'/,
    'wrong arguments': /received \{ id: 0, token: '\[redacted\]' \}/,
    'warnings': /has no option '\[redacted\]'/,
    'metrics': /websocket_relay_offences/,
    'an uncaught exception': /ClientNotFoundException: clientId1 must be[^]*Node\.js v/,
  })) {
    assert.match(output, pattern, name);
  }
  assert.equal(tokens.length, 6);
  for (const token of tokens) {
    for (let start = 0; start + 8 <= token.length; start += 1) {
      const part = token.slice(start, start + 8);
      const at = lower.indexOf(part);
      assert.equal(at, -1, `${part} of ${token} in: ${output.slice(Math.max(at - 200, 0), at + 200)}`);
    }
  }
  t.diagnostic(`${output.length} characters of output`);
});

test('answers an unknown id and a wrong token alike', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  const former = server.registerClient();
  server.unregisterClient(former.id);
  const outcomes = new Set();
  const reliable = { version: 2, session: '9f86d081884c7d65' };
  for (const clientId of [ada.id, former.id, 99, 2 ** 53 - 1]) {
    for (const more of [{}, reliable]) {
      const connection = await Connection.open(server);
      const error = new Promise((resolve) => server.once('error', resolve));
      connection.send({ authentication: { clientId, token: grace.token, ...more } });
      const { code, message, clientId: of } = await error;
      outcomes.add(JSON.stringify({ code, message, of, closed: await connection.closed, frames: connection.pending }));
    }
  }
  assert.deepEqual([...outcomes].map((text) => JSON.parse(text)), [
    { code: 'ERR_INCORRECT_TOKEN', message: 'incorrect token', closed: { code: 4500, reason: 'incorrect token' }, frames: 0 },
  ]);
});
