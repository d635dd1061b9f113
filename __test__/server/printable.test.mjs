// Text from clients is printable wherever it is reported.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { Connection, listen, pair, run } from './support.mjs';

const { printable } = createRequire(import.meta.url)('../../lib/printable.js');
const { texts } = JSON.parse(readFileSync(new URL('../vectors/printable.json', import.meta.url), 'utf8'));

/** Matches characters that must not reach a terminal or a log. */
const HIDDEN = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

test('escapes as in the vectors', () => {
  for (const { text, shown } of texts) assert.equal(printable(text), shown);
  assert.equal(printable('\ud800x\udc00'), '\\ud800x\\udc00');
});

test('escapes the close reason of a client', async (t) => {
  const server = await listen(t);
  const [ada] = pair(server);
  for (const { text, shown } of texts.filter(({ text }) => Buffer.byteLength(text) <= 123)) {
    const connected = once(server, 'connection');
    const connection = await Connection.open(server, ada);
    await connected;
    const left = once(server, 'disconnect');
    connection.socket.close(4000, text);
    assert.deepEqual(await left, [ada.id, 4000, shown]);
    // The close frame in response repeats the client's reason.
    assert.deepEqual(await connection.closed, { code: 4000, reason: text });
  }
});

test('escapes invalid frames in errors and in responses', async (t) => {
  const server = await listen(t, { maxOffences: 1000 });
  const errors = [];
  server.on('error', (error) => errors.push(error));
  const ada = server.registerClient();
  const connection = await Connection.open(server);
  // A reliable client is told too.
  connection.send({ authentication: { clientId: ada.id, token: ada.token, version: 2, session: '0123456789abcdef', connection: 1 } });
  assert.ok(JSON.parse(await connection.text()).authenticated);
  // Characters that JSON escapes are printable already.
  for (const { text, shown } of texts.filter(({ text }) => [...text].every((character) => character >= ' '))) {
    connection.send(`{"${text}":[\n1]}`);
    const { error } = JSON.parse(await connection.text());
    assert.equal(error.message, `Message unrecognized: {"${shown}":[1]}`);
  }
  connection.send('["\\u001b\\n\\u202e"]');
  assert.equal(JSON.parse(await connection.text()).error.message, 'Message unrecognized: ["\\u001b\\n\\u202e"]');
  while (errors.length < 2) await new Promise((resolve) => setImmediate(resolve));
  for (const { message } of errors) assert.doesNotMatch(message, HIDDEN);
  // Cut first, then escaped.
  connection.send(JSON.stringify('\u202e'.repeat(1000)));
  assert.equal(JSON.parse(await connection.text()).error.message, `Message unrecognized: "${'\\u202e'.repeat(199)}`);
});

test('escapes in the output of NODE_DEBUG', async () => {
  // Node reads it when it starts.
  process.env.NODE_DEBUG = 'websocket-relay';
  const running = run(`
    import RelayServer from 'websocket-relay';
    import WebSocket from 'ws';
    const forged = 'bye\\nWEBSOCKET-RELAY 1: client 0 connected\\u001b[2J\\u202e';
    const server = new RelayServer({ port: 0, host: '127.0.0.1' }, () => {
      const socket = new WebSocket('ws://127.0.0.1:' + server.address().port);
      const { id, token } = server.registerClient();
      const authentication = JSON.stringify({ authentication: { clientId: id, token } });
      socket.on('open', () => {
        socket.send('"\\u202e\\u0085"');
        socket.send(authentication);
        socket.close(4000, forged);
      });
      const again = (event) => server.once('disconnect', event);
      again(() => {
        const second = new WebSocket('ws://127.0.0.1:' + server.address().port);
        second.on('open', () => second.send(authentication));
        server.once('connection', () => server.disconnectClient(id, 4000, forged));
        again(() => server.close());
      });
    });`);
  delete process.env.NODE_DEBUG;
  const { stderr } = await running;
  const lines = stderr.trim().split('\n').map((line) => line.replace(/^WEBSOCKET-RELAY \d+: /, ''));
  const reason = 'bye\\nWEBSOCKET-RELAY 1: client 0 connected\\x1b[2J\\u202e';
  assert.deepEqual(lines, [
    'client 0 registered',
    'ERR_UNRECOGNIZED_MESSAGE of client (unknown): Message unrecognized: "\\u202e\\x85"',
    'client 0 connected',
    `client 0 disconnected: 4000 ${reason}`,
    'client 0 connected',
    `client 0 disconnected: 4000 ${reason}`,
  ]);
});

test('escapes arguments in errors', async (t) => {
  const server = await listen(t);
  const evil = '0\u202e\u2028\n\u009b31m';
  const calls = [
    () => server.registerRelayChannel(evil, 0),
    () => server.registerRelayChannels([evil]),
    () => server.disconnectClient(evil),
    () => server.refreshToken(evil),
    () => new RelayServer({ port: evil }),
    () => new RelayServer({ noServer: true, allowedOrigins: evil }),
  ];
  for (const call of calls) {
    assert.throws(call, (error) => {
      assert.doesNotMatch(error.message, HIDDEN);
      assert.match(error.message, /\\u202e\\u2028/);
      return true;
    });
  }
});

test("reports the server's own close reason unchanged", async (t) => {
  const server = await listen(t);
  const [ada] = pair(server);
  const connected = once(server, 'connection');
  const connection = await Connection.open(server, ada);
  await connected;
  server.disconnectClient(ada.id, 4000, 'a\nb');
  assert.deepEqual(await once(server, 'disconnect'), [ada.id, 4000, 'a\nb']);
  assert.deepEqual(await connection.closed, { code: 4000, reason: 'a\nb' });
});
