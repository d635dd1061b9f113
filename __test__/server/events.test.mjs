// The server's events: none is lost, and none crashes the process.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { inspect } from 'node:util';
import { Connection, listen, pair, run } from './support.mjs';

const { offences, accepted } = JSON.parse(readFileSync(new URL('../vectors/offences.json', import.meta.url), 'utf8'));

test('emits every offence with its text and code, and closes where required', async (t) => {
  const server = await listen(t);
  const [ada, grace] = [server.registerClient(), server.registerClient()];
  for (const { name, by, frame, message, code, then } of offences) {
    const connection = await Connection.open(server, by === 'client' ? ada : undefined);
    const error = once(server, 'error');
    // `once()` rejects on 'error', with the error to check.
    connection.send(frame.replace('$TOKEN0', ada.token).replace('$TOKEN1', grace.token));
    const found = await error.catch((rejected) => rejected).then((result) => (Array.isArray(result) ? result[0] : result));
    assert.ok(found instanceof Error, name);
    assert.equal(found.message, message, name);
    assert.equal(String(found), message, name);
    assert.ok(found == message, `${name}: the error is loosely equal to its text`); // eslint-disable-line eqeqeq
    assert.equal(found.code, code, name);
    assert.equal(found.clientId, by === 'client' ? ada.id : undefined, name);
    for (const { token } of [ada, grace]) assert.ok(!inspect(found, { depth: 9 }).includes(token), name);
    if (then !== 'counted') assert.equal((await connection.closed).code, then, name);
    connection.socket.terminate();
  }
});

test('reads every form of a frame', async (t) => {
  const server = await listen(t);
  const [one, two] = await Promise.all(pair(server).map((client) => Connection.open(server, client)));
  for (const { name, frame, arrives } of accepted) {
    one.send(frame);
    assert.equal(await two.text(), arrives, name);
  }
});

test("emits 'connection' and 'disconnect' with code and reason", async (t) => {
  const server = await listen(t);
  const [ada] = pair(server);
  const heard = [];
  server.on('connection', (...args) => heard.push(args));
  server.on('disconnect', (...args) => heard.push(args));
  const first = await Connection.open(server, ada);
  await once(server, 'connection');
  first.socket.close(4321, 'bye');
  await once(server, 'disconnect');
  const second = await Connection.open(server, ada);
  await once(server, 'connection');
  second.socket.terminate();
  await once(server, 'disconnect');
  const third = await Connection.open(server, ada);
  await once(server, 'connection');
  const fourth = await Connection.open(server, ada);
  assert.deepEqual(await third.closed, { code: 4501, reason: 'replaced by a newer connection' });
  fourth.socket.close();
  await once(server, 'disconnect', { signal: AbortSignal.timeout(30_000) });
  while (heard.length < 8) await once(server, 'disconnect');
  const { id } = ada;
  assert.deepEqual(heard, [
    [id],
    [id, 4321, 'bye'],
    [id],
    [id, 1006, ''],
    [id],
    [id, 4501, 'replaced by a newer connection'],
    [id],
    [id, 1005, ''],
  ]);
});

test("survives client errors without an 'error' listener", async (t) => {
  const server = await listen(t);
  const [one, two] = await Promise.all(pair(server).map((client) => Connection.open(server, client)));
  const stranger = await Connection.open(server);
  for (let n = 0; n < 10; n += 1) stranger.send('null');
  assert.equal((await stranger.closed).code, 4504);
  one.relay(1, 'alive');
  assert.equal((await two.relayed()).message, 'alive');
});

test("makes a listener's exception an uncaught one without losing other events", async () => {
  const { stdout, stderr, code } = await run(`
    import RelayServer from 'websocket-relay';
    import WebSocket from 'ws';
    const server = new RelayServer({ port: 0, host: '127.0.0.1' }, start);
    const uncaught = [];
    process.on('uncaughtException', ({ message }) => uncaught.push(message));
    let connections = 0;
    let disconnections = 0;
    server.on('connection', (id) => { connections += 1; throw new Error('of connection ' + id); });
    server.on('disconnect', () => {
      disconnections += 1;
      if (disconnections === 20) server.close(() => { throw new Error('of close()'); });
    });
    process.on('exit', () => console.log(JSON.stringify({ connections, disconnections, uncaught })));
    function start() {
      for (let n = 0; n < 20; n += 1) {
        const { id, token } = server.registerClient();
        const socket = new WebSocket('ws://127.0.0.1:' + server.address().port);
        socket.on('open', () => {
          socket.send(JSON.stringify({ authentication: { clientId: id, token } }));
          socket.close();
        });
      }
      throw new Error('of the callback');
    }`);
  assert.equal(code, 0, stderr);
  const { connections, disconnections, uncaught } = JSON.parse(stdout);
  assert.deepEqual([connections, disconnections], [20, 20]);
  assert.deepEqual(
    uncaught.sort(),
    ['of the callback', 'of close()', ...Array.from({ length: 20 }, (_, n) => `of connection ${n}`)].sort(),
  );
});

test('counts events that a blocked thread drops', async (t) => {
  const server = await listen(t, { maxQueuedEvents: 16, maxOffences: 1000 });
  const errors = [];
  server.on('error', (error) => errors.push(error));
  const stranger = await Connection.open(server);
  // No event is taken until this thread returns to its event loop: send, and wait until all is read.
  for (let n = 0; n < 400; n += 1) stranger.send('no JSON');
  const { port1, port2 } = new MessageChannel();
  stranger.socket.once('pong', () => port2.postMessage('read'));
  stranger.socket.ping();
  await once(port1, 'message');
  port1.close();
  while (errors.length === 0 || !errors.some(({ code }) => code === 'ERR_INVALID_JSON')) await once(server, 'error').catch(() => {});
  const told = () => errors.filter(({ code }) => code === 'ERR_INVALID_JSON').length;
  const dropped = () =>
    errors.filter(({ code }) => code === 'ERR_EVENTS_DROPPED').reduce((sum, { message }) => sum + parseInt(message, 10), 0);
  while (told() + dropped() < 400) {
    stranger.send('one more');
    await once(server, 'error').catch(() => {});
  }
  assert.ok(told() + dropped() >= 400);
});
