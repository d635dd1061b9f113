// The faults of the proxy do to connections what they are named after.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { Proxy } from './proxy.mjs';
import { Random } from './random.mjs';

/** A server behind a proxy. `open()` opens a connection and resolves to its two ends. */
async function network(t) {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = new Proxy({ host: '127.0.0.1', port: server.address().port }, new Random(1));
  const [host, port] = (await proxy.listen()).split(':');
  const ends = [];
  t.after(() => {
    proxy.close();
    server.close();
    for (const { socket } of ends) socket.destroy();
  });

  async function open() {
    const accepted = once(server, 'connection');
    const client = connect({ host, port, allowHalfOpen: true });
    const [[socket]] = await Promise.all([accepted, once(client, 'connect')]);
    const pair = { client: new End(client), server: new End(socket) };
    ends.push(pair.client, pair.server);
    return pair;
  }

  /** Waits until everything is forwarded, by sending bytes both ways over a new connection. */
  async function quiet() {
    const { client, server } = await open();
    client.socket.write('ping');
    await server.got('ping');
    server.socket.write('pong');
    await client.got('pong');
  }
  return { proxy, open, quiet };
}

/** One end of a connection, and what it has received. */
class End {
  text = '';
  chunks = 0;
  ended = false;

  constructor(socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      socket.on('error', (error) => resolve(error.code));
      socket.on('close', () => resolve('no error'));
    });
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      this.chunks += 1;
      this.text += text;
    });
    socket.on('end', () => (this.ended = true));
  }

  async got(text) {
    while (this.text.length < text.length) await once(this.socket, 'data');
    assert.equal(this.text, text);
  }
}

test('forwards bytes and ends in both directions without a fault', async (t) => {
  const { open } = await network(t);
  const { client, server } = await open();
  const text = 'x'.repeat(2 ** 22);
  client.socket.end(text);
  await once(server.socket, 'end');
  assert.equal(server.text, text);
  assert.equal(client.ended, false);
  server.socket.end(text);
  await once(client.socket, 'end');
  assert.equal(client.text, text);
  assert.deepEqual(await Promise.all([client.closed, server.closed]), ['no error', 'no error']);
});

test('forwards a reset', async (t) => {
  const { open } = await network(t);
  const { client, server } = await open();
  client.socket.resetAndDestroy();
  assert.equal(await server.closed, 'ECONNRESET');
});

test('cut ends both sides with FIN', async (t) => {
  const { proxy, open } = await network(t);
  const { client, server } = await open();
  proxy.strike('cut');
  await Promise.all([once(client.socket, 'end'), once(server.socket, 'end')]);
  client.socket.end('lost');
  server.socket.end('lost');
  assert.deepEqual(await Promise.all([client.closed, server.closed]), ['no error', 'no error']);
  assert.deepEqual([client.text, server.text], ['', '']);
});

test('reset resets both sides', async (t) => {
  const { proxy, open } = await network(t);
  const { client, server } = await open();
  proxy.strike('reset');
  assert.deepEqual(await Promise.all([client.closed, server.closed]), ['ECONNRESET', 'ECONNRESET']);
});

test('stall delays everything, the end included, and loses nothing', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { proxy, open, quiet } = await network(t);
  const { client, server } = await open();
  proxy.strike('stall');
  client.socket.end('late');
  server.socket.end('late');
  await quiet();
  assert.deepEqual([client.text, server.text, client.ended, server.ended], ['', '', false, false]);
  t.mock.timers.tick(600);
  await Promise.all([once(client.socket, 'end'), once(server.socket, 'end')]);
  assert.deepEqual([client.text, server.text], ['late', 'late']);
});

test('chop forwards everything in small pieces', async (t) => {
  const { proxy, open } = await network(t);
  const { client, server } = await open();
  proxy.strike('chop');
  const text = Array.from({ length: 2000 }, (_, n) => String(n % 10)).join('');
  client.socket.end(text);
  await server.got(text);
  assert.ok(server.chunks > 2, `${server.chunks} pieces`);
});

const SWALLOWS = { swallow: [false, false], swallowUp: [false, true], swallowDown: [true, false] };
for (const [fault, [up, down]] of Object.entries(SWALLOWS)) {
  test(`${fault} leaves a connection open and silent in ${up || down ? 'one direction' : 'both directions'}`, async (t) => {
    const { proxy, open, quiet } = await network(t);
    const { client, server } = await open();
    proxy.strike(fault);
    // Later bytes do not end a half-open connection.
    proxy.strike('reset');
    client.socket.write('up');
    server.socket.write('down');
    await Promise.all([up ? server.got('up') : null, down ? client.got('down') : null, quiet()]);
    assert.deepEqual([server.text, client.text], [up ? 'up' : '', down ? 'down' : '']);
    assert.deepEqual([server.ended, client.ended], [false, false]);
    client.socket.end();
    await (up ? once(server.socket, 'end') : quiet());
    assert.equal(server.ended, up);
  });
}

test('deafen swallows the next connection from its beginning, but not the one after', async (t) => {
  const { proxy, open, quiet } = await network(t);
  const first = await open();
  proxy.strike('deafen');
  assert.equal(await first.client.closed, 'ECONNRESET');
  const second = await open();
  second.client.socket.write('hello?');
  await quiet();
  assert.deepEqual([second.server.text, second.client.ended], ['', false]);
});

test('orphan cuts the next client off and delivers its bytes later', async (t) => {
  const { proxy, open, quiet } = await network(t);
  const first = await open();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  proxy.strike('orphan');
  assert.equal(await first.client.closed, 'ECONNRESET');
  const { client, server } = await open();
  client.socket.write('request');
  await server.got('request');
  server.socket.write('response');
  await client.got('response');
  client.socket.write('late');
  await quiet();
  t.mock.timers.tick(200);
  await once(client.socket, 'end');
  client.socket.end();
  await quiet();
  assert.deepEqual([server.text, server.ended], ['request', false]);
  t.mock.timers.tick(600);
  await once(server.socket, 'end');
  assert.equal(server.text, 'requestlate');
});
