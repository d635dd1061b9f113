// Rejected connections are counted by reason, in every way to reach a relay.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { tmpdir } from 'node:os';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { Connection, WAYS, attach, knock, listen, pair, placeOf, statusOf } from './support.mjs';

for (const [way, { listen: open }] of Object.entries(WAYS)) {
  for (const [reason, status, options, headers] of [
    ['allowedOrigins', 403, { allowedOrigins: 'https://example.com' }],
    ['allowedOrigins', 403, { allowedOrigins: () => false, verifyClient: () => false }],
    ['verifyClient', 401, { allowedOrigins: () => true, verifyClient: () => false }],
    ['verifyClient', 418, { verifyClient: (info, callback) => callback(false, 418) }],
    ['undecided', 503, { verifyClient: () => new Promise(() => {}), headersTimeout: 300 }],
    ['connectionRate', 429, { connectionRate: 1, trustProxy: true }, { 'x-forwarded-for': '1.2.3.4' }],
  ]) {
    test(`${way}: rejects with ${status} and counts ${reason}, given ${Object.keys(options)}`, async (t) => {
      const server = await open(t, options);
      if (reason === 'connectionRate') assert.equal(await statusOf(server, { headers }), 101);
      assert.equal(await statusOf(server, { headers }), status);
      assert.deepEqual(server.stats().turnedAway, { [reason]: 1 });
    });
  }

  test(`${way}: counts too many connections from an address, and in total`, async (t) => {
    const server = await open(t, { maxConnectionsPerAddress: 1, maxConnections: 2, trustProxy: true });
    const from = (address) => knock(server, { headers: { 'x-forwarded-for': address } });
    const [one, two] = [await from('1.2.3.4'), await from('1.2.3.5')];
    const { socket } = await from('1.2.3.6');
    assert.equal((await once(socket, 'close'))[0], 1013);
    assert.equal((await from('1.2.3.4')).status, 429);
    assert.deepEqual(server.stats().turnedAway, { maxConnections: 1, maxConnectionsPerAddress: 1 });
    for (const { socket } of [one, two]) socket.terminate();
  });

  test(`${way}: does not count admitted connections or wrong tokens`, async (t) => {
    const server = await open(t, { verifyClient: () => true });
    const { socket } = await knock(server);
    socket.send(JSON.stringify({ authentication: { clientId: 0, token: 'f'.repeat(32) } }));
    assert.equal((await once(socket, 'close'))[0], 4500);
    const { turnedAway, offences } = server.stats();
    assert.deepEqual({ turnedAway, offences }, { turnedAway: {}, offences: { ERR_INCORRECT_TOKEN: 1 } });
  });
}

test('counts requests during close(), except to /health', async (t) => {
  const server = await listen(t, { maxInFlightMessages: 1 });
  const [ada, grace] = pair(server);
  const { url } = placeOf(server);
  const [one, slow] = [await Connection.open(server, ada), await Connection.open(server)];
  slow.send({ authentication: { clientId: grace.id, token: grace.token, version: 2, session: '0123456789abcdef', connection: 1 } });
  one.relay(grace.id, 'never acknowledged');
  one.relay(grace.id, 'so that this waits');
  while (server.stats().queuedMessages < 2) await new Promise(setImmediate);
  const closed = server.close({ timeout: 2 ** 31 - 1 });
  await one.closed;
  assert.equal(await statusOf({ url }), 503);
  assert.equal((await fetch(url.replace('ws:', 'http:'))).status, 503);
  assert.deepEqual(server.stats().turnedAway, { closing: 1 });
  slow.socket.terminate();
  await closed;
});

test('counts rejections of handleUpgrade()', async (t) => {
  const web = http.createServer();
  const server = await attach(t, web);
  await server.close();
  web.on('upgrade', (request, socket, head) => server.handleUpgrade(request, socket, head));
  assert.equal(await statusOf(server), 503);
  assert.deepEqual(server.stats().turnedAway, { closing: 1 });
});

for (const limit of ['maxAuthFailuresPerAddress', 'maxAuthFailuresPerClient']) {
  test(`counts authentications that ${limit} rejects, right or wrong`, async (t) => {
    const server = await listen(t, { [limit]: 2 });
    const client = server.registerClient();
    for (const token of [...Array(3).fill('f'.repeat(32)), client.token]) {
      const connection = await Connection.open(server, { ...client, token });
      assert.equal((await connection.closed).code, 4500);
    }
    const { turnedAway, offences } = server.stats();
    assert.deepEqual({ turnedAway, offences }, { turnedAway: { [limit]: 2 }, offences: { ERR_INCORRECT_TOKEN: 4 } });
  });
}

test('shows rejections in /metrics', async (t) => {
  const server = await listen(t, { metrics: true, maxConnectionsPerAddress: 1, trustProxy: true });
  const [one, two] = [await knock(server, { headers: { 'x-forwarded-for': '::1' } }), await knock(server, { headers: { 'x-forwarded-for': '::1' } })];
  assert.equal(two.status, 429);
  const text = await (await fetch(`http://127.0.0.1:${server.address().port}/metrics`)).text();
  assert.match(text, /^# TYPE websocket_relay_turned_away counter\nwebsocket_relay_turned_away_total\{reason="maxConnectionsPerAddress"\} 1$/m);
  one.socket.terminate();
});

test('trusts the proxy at the other end of a pipe', { skip: process.platform === 'win32' && 'no such files' }, async (t) => {
  const path = `${tmpdir()}/websocket-relay-access-${process.pid}.sock`;
  const seen = [];
  const web = http.createServer().listen(path);
  t.after(() => web.close());
  const server = new RelayServer({
    ...{ server: web, trustProxy: 1, maxConnectionsPerAddress: 1 },
    verifyClient: ({ remoteAddress, secure }) => seen.push([remoteAddress, secure]),
  });
  t.after(() => server.close());
  await once(server, 'listening');
  const place = { url: `ws+unix://${path}:/` };
  const from = (address) => knock(place, { headers: { 'x-forwarded-for': address, 'x-forwarded-proto': 'https' } });
  const guests = [await from('1.2.3.4'), await from('1.2.3.5'), await from('1.2.3.4'), await knock(place)];
  assert.deepEqual(guests.map(({ status }) => status), [101, 101, 429, 101]);
  assert.deepEqual(seen, [['1.2.3.4', true], ['1.2.3.5', true], ['1.2.3.4', true], [undefined, false]]);
  for (const { socket } of guests) socket?.terminate();
});
