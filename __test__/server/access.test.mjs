// Who may connect, how many, and how often.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { Connection, WAYS, attach, knock, listen, pair, placeOf, statusOf } from './support.mjs';

const HERE = 'https://example.com';
const OTHER = 'https://evil.example';

for (const [way, { listen: open }] of Object.entries(WAYS)) {
  for (const [name, allowedOrigins] of Object.entries({
    'a string': HERE,
    strings: ['https://other.example:8443', 'HTTPS://Example.com'],
    'a RegExp': /^https:\/\/(\w+\.)?example\.com$/g,
    'strings and RegExps': ['https://other.example', /^https:\/\/example\.com$/],
    'a function': (origin) => origin === HERE,
    'an async function': async (origin) => origin === HERE,
  })) {
    test(`${way}: checks allowedOrigins given as ${name}`, async (t) => {
      const server = await open(t, { allowedOrigins });
      for (let n = 0; n < 2; n++) {
        assert.equal(await statusOf(server, { origin: HERE }), 101);
        assert.equal(await statusOf(server, { origin: OTHER }), 403);
        assert.equal(await statusOf(server, { origin: `${HERE}.evil.example` }), 403);
        assert.equal(await statusOf(server), 403);
      }
    });
  }

  test(`${way}: allows any origin by default`, async (t) => {
    const server = await open(t);
    assert.equal(await statusOf(server, { origin: OTHER }), 101);
    assert.equal(await statusOf(server), 101);
  });

  test(`${way}: verifyClient decides, given the client's info`, async (t) => {
    const seen = [];
    const server = await open(t, {
      verifyClient(info) {
        seen.push(info);
        return info.req.headers.cookie === 'a=b';
      },
    });
    assert.equal(await statusOf(server, { origin: HERE, headers: { cookie: 'a=b' } }), 101);
    assert.equal(await statusOf(server), 401);
    const [{ origin, secure, remoteAddress, req }, second] = seen;
    assert.deepEqual([origin, secure, remoteAddress], [HERE, way === 'an https server' || way === 'an http server with bridged sockets', '127.0.0.1']);
    assert.equal(req.url, new URL(placeOf(server).url).pathname);
    assert.equal(req.headers.upgrade, 'websocket');
    assert.equal(second.origin, undefined);
  });

  test(`${way}: verifyClient's callback sets the status, text and headers`, async (t) => {
    const server = await open(t, {
      verifyClient(info, callback) {
        const wanted = info.req.headers['x-wanted'];
        if (!wanted) setImmediate(callback, true);
        else callback(false, Number(wanted), 'not you', { 'X-Why': 'so', 'set-cookie': ['a=1', 'b=2'], 'bad name': 'x', bad: 'a\r\nb: c' });
        // A second call has no effect.
        callback(false, 418);
      },
    });
    // The synchronous call is the first one.
    assert.equal(await statusOf(server), 418);
    const { status, text, headers } = await knock(server, { headers: { 'x-wanted': '429' } });
    assert.deepEqual([status, text, headers['x-why'], headers['set-cookie'], headers.b], [429, 'not you\n', 'so', ['a=1', 'b=2'], undefined]);
    assert.equal(await statusOf(server, { headers: { 'x-wanted': '101' } }), 401);
  });

  test(`${way}: rejects a request that is not decided about`, async (t) => {
    const server = await open(t, { verifyClient: (info, callback) => void callback, headersTimeout: 50 });
    assert.equal(await statusOf(server), 503);
  });

  test(`${way}: serves an admitted client`, async (t) => {
    const server = await open(t, { verifyClient: async () => true, allowedOrigins: /./ });
    const [ada, grace] = pair(server);
    const connect = async (client) => {
      const { socket } = await knock(server, { origin: HERE });
      socket.send(JSON.stringify({ authentication: { clientId: client.id, token: client.token } }));
      return socket;
    };
    const [one, two] = [await connect(ada), await connect(grace)];
    const message = once(two, 'message');
    one.send(JSON.stringify({ relay: { targetId: grace.id, message: 'hello' } }));
    assert.equal(JSON.parse(String((await message)[0])).relay.message, 'hello');
    one.terminate();
    two.terminate();
  });

  test(`${way}: limits the connections of an address`, async (t) => {
    const server = await open(t, { maxConnectionsPerAddress: 2 });
    const [one, two] = [await knock(server), await knock(server)];
    assert.deepEqual([one.status, two.status], [101, 101]);
    assert.equal(await statusOf(server), 429);
    one.socket.close();
    await once(one.socket, 'close');
    let status;
    // Its place is free once its task has ended.
    do status = await statusOf(server);
    while (status === 429);
    assert.equal(status, 101);
    two.socket.terminate();
  });

  test(`${way}: limits the connection rate of an address`, async (t) => {
    const server = await open(t, { connectionRate: 1, connectionBurst: 3 });
    const statuses = await Promise.all(Array.from({ length: 30 }, () => statusOf(server)));
    const admitted = statuses.filter((status) => status === 101).length;
    assert.ok(admitted >= 3 && admitted < 30, String(statuses));
    assert.ok(statuses.every((status) => status === 101 || status === 429), String(statuses));
  });

  test(`${way}: trusts X-Forwarded-For of trusted proxies`, async (t) => {
    const addresses = [];
    const verifyClient = ({ remoteAddress }) => addresses.push(remoteAddress);
    const server = await open(t, { maxConnectionsPerAddress: 1, trustProxy: 'loopback', verifyClient });
    const from = (address) => knock(server, { headers: { 'x-forwarded-for': `6.6.6.6, ${address}` } });
    const [one, two] = [await from('1.2.3.4'), await from('2001:db8::1')];
    assert.deepEqual([one.status, two.status], [101, 101]);
    for (const address of ['1.2.3.4', '2001:db8::ffff']) assert.equal((await from(address)).status, 429);
    assert.deepEqual(addresses.slice(0, 2), ['1.2.3.4', '2001:db8::1']);
    for (const { socket } of [one, two]) socket.terminate();
  });

  test(`${way}: trusts X-Forwarded-Proto of trusted proxies only`, async (t) => {
    const isTls = way === 'an https server' || way === 'an http server with bridged sockets';
    for (const [trustProxy, believes] of [['loopback', true], [1, true], [true, true], ['10.0.0.0/8', false], [0, false], [undefined, false]]) {
      const seen = [];
      const server = await open(t, { trustProxy, verifyClient: ({ secure }) => seen.push(secure) });
      for (const scheme of ['https', 'WSS, http', 'http', 'ws, https', 'gopher', '']) await statusOf(server, { headers: { 'x-forwarded-proto': scheme } });
      await statusOf(server);
      const said = [true, true, false, false, isTls, isTls];
      assert.deepEqual(seen, [...(believes ? said : said.map(() => isTls)), isTls], `trustProxy: ${trustProxy}`);
    }
  });

  test(`${way}: ignores X-Forwarded-For of other proxies`, async (t) => {
    const server = await open(t, { maxConnectionsPerAddress: 1, trustProxy: ['10.0.0.0/8'] });
    const one = await knock(server, { headers: { 'x-forwarded-for': '1.2.3.4' } });
    assert.equal(await statusOf(server, { headers: { 'x-forwarded-for': '5.6.7.8' } }), 429);
    one.socket.terminate();
  });
}

test('rejects when a function throws, and rethrows', async (t) => {
  const server = await listen(t, {
    verifyClient() {
      throw new Error('mine');
    },
  });
  process.setUncaughtExceptionCaptureCallback((error) => {
    assert.equal(error.message, 'mine');
    process.setUncaughtExceptionCaptureCallback(null);
  });
  assert.equal(await statusOf(server), 500);
});

test('limits failed authentications without locking out the owner of an id', async (t) => {
  const server = await listen(t, { maxAuthFailuresPerAddress: 3, maxAuthFailuresPerClient: 3, trustProxy: 1 });
  const client = server.registerClient();
  const attempt = async (address, token) => {
    const { socket } = await knock(server, { headers: { 'x-forwarded-for': address } });
    const closed = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`);
    const connected = new Promise((resolve) => server.once('connection', () => resolve('connected')));
    socket.send(JSON.stringify({ authentication: { clientId: client.id, token } }));
    const outcome = await Promise.race([closed, connected]);
    socket.terminate();
    return outcome;
  };
  const wrong = 'f'.repeat(32);
  for (let n = 0; n < 4; n++) assert.equal(await attempt('6.6.6.6', wrong), '4500 incorrect token');
  assert.equal(await attempt('6.6.6.6', client.token), '4500 incorrect token', 'the right one does not help the guesser');
  assert.equal(await attempt('1.2.3.4', client.token), 'connected');
});

test('holds back a plain client over its rate without loss', async (t) => {
  const server = await listen(t, { rateLimit: 100, rateLimitBurst: 5 });
  const [ada, grace] = pair(server);
  const [one, two] = [await Connection.open(server, ada), await Connection.open(server, grace)];
  for (let n = 0; n < 40; n++) one.relay(grace.id, String(n));
  for (let n = 0; n < 40; n++) assert.equal((await two.relayed()).message, String(n));
});

test('closes a plain client that stays over its rate', async (t) => {
  const server = await listen(t, { rateLimit: 1, holdTimeout: 1 });
  const [ada, grace] = pair(server);
  const one = await Connection.open(server, ada);
  for (let n = 0; n < 10; n++) one.relay(grace.id, String(n));
  assert.deepEqual(await one.closed, { code: 4003, reason: 'over the rate limit' });
});

test('tells a reliable client over its rate when to resend', async (t) => {
  const server = await listen(t, { rateLimit: 1, rateLimitBurst: 2 });
  const [ada, grace] = pair(server);
  const one = await Connection.open(server);
  one.send({ authentication: { clientId: ada.id, token: ada.token, version: 2, session: '0123456789abcdef', connection: 1 } });
  for (let seq = 1; seq <= 5; seq++) one.send({ relay: { targetId: grace.id, message: 'x', seq } });
  const frames = [];
  while (!frames.at(-1)?.hold) frames.push(JSON.parse(await one.text()));
  const { targetId, seq, retryAfter } = frames.at(-1).hold;
  assert.equal(targetId, grace.id);
  assert.ok(seq >= 3 && retryAfter >= 250 && retryAfter <= 1000, JSON.stringify(frames));
});

test('serves the counters to Prometheus', async (t) => {
  const get = async (server, path) => {
    const { port } = server.address();
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
  };
  const server = await listen(t, { metrics: true, path: '/relay' });
  const [ada, grace] = pair(server);
  const place = { url: `ws://127.0.0.1:${server.address().port}/relay`, registerClient() {} };
  const one = await Connection.open(place, ada);
  one.relay(grace.id, 'hello');
  const wrong = once(server, 'error');
  one.send('no JSON');
  await wrong;
  const guesser = await Connection.open(place, { ...ada, token: 'f'.repeat(32) });
  await guesser.closed;
  while (server.stats().connections > 1) await new Promise(setImmediate);
  const { status, type, text } = await get(server, '/metrics');
  assert.deepEqual([status, type], [200, 'application/openmetrics-text; version=1.0.0; charset=utf-8']);
  for (const line of [
    '# TYPE websocket_relay_connections gauge',
    'websocket_relay_connections 1',
    'websocket_relay_registered_clients 2',
    'websocket_relay_channels 1',
    'websocket_relay_queued_messages 1',
    'websocket_relay_relayed_messages_total 1',
    'websocket_relay_dropped_events_total 0',
    'websocket_relay_panics_total 0',
    'websocket_relay_offences_total{code="ERR_INVALID_JSON"} 1',
    'websocket_relay_closed_connections_total{code="4500"} 1',
  ]) {
    assert.ok(text.split('\n').includes(line), `${line}\n${text}`);
  }
  assert.ok(text.endsWith('# EOF\n'));
  assert.ok(!text.includes(ada.token));
  assert.equal((await get(await listen(t, { path: '/relay' }), '/metrics')).status, 404);
});

const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };

for (const [options, expected, text] of [
  [{ allowedOrigins: null }, TYPE, /^options\.allowedOrigins must be an origin .* received null/],
  [{ allowedOrigins: 5 }, TYPE, /received 5/],
  [{ allowedOrigins: 'example.com' }, TYPE, /received 'example\.com'/],
  [{ allowedOrigins: 'https://example.com/' }, TYPE, /without a path/],
  [{ allowedOrigins: ['https://example.com', 'https://'] }, TYPE, /^options\.allowedOrigins\[1\] .* received 'https:\/\/'/],
  [{ allowedOrigins: ['*'] }, TYPE, /received '\*'/],
  [{ verifyClient: true }, TYPE, /^options\.verifyClient must be a function; received true/],
  [{ verifyClient: null }, TYPE, /received null/],
  [{ trustProxy: null }, TYPE, /^options\.trustProxy must be .* received null/],
  [{ trustProxy: 'localhost' }, TYPE, /received 'localhost'/],
  [{ trustProxy: ['10.0.0.0/33'] }, TYPE, /received '10\.0\.0\.0\/33'/],
  [{ trustProxy: ['fe80::1%eth0'] }, TYPE, /received/],
  [{ trustProxy: [1] }, TYPE, /received 1/],
  [{ trustProxy: -1 }, RANGE, /^options\.trustProxy .* received -1/],
  [{ trustProxy: 1.5 }, RANGE, /received 1\.5/],
  [{ metrics: 'yes' }, TYPE, /^options\.metrics must be a boolean; received 'yes'/],
  [{ rateLimit: '5' }, TYPE, /^options\.rateLimit .* received '5'/],
  [{ rateLimit: -1 }, RANGE, /^options\.rateLimit .* from 0 to 1000000 \(messages\); received -1/],
  [{ connectionRate: 0.5 }, RANGE, /^options\.connectionRate .* received 0\.5/],
  [{ maxConnectionsPerAddress: Infinity }, RANGE, /^options\.maxConnectionsPerAddress .* received Infinity/],
  [{ maxAuthFailuresPerClient: NaN }, RANGE, /received NaN/],
]) {
  test(`new RelayServer(${JSON.stringify(options)}) throws a ${expected.name}`, () => {
    assert.throws(() => new RelayServer({ port: 0, ...options }), { ...expected, message: text });
  });
}

test('rejects every page with an empty list of origins', async (t) => {
  const server = await listen(t, { allowedOrigins: [] });
  assert.equal(await statusOf(server, { origin: HERE }), 403);
});

test('does not verify plain requests of an http server', async (t) => {
  let asked = 0;
  const web = http.createServer((request, response) => response.end('the application'));
  const server = await attach(t, web, { verifyClient: () => ++asked });
  const { port } = web.address();
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'the application');
  assert.equal(asked, 0);
  assert.equal(await statusOf(server), 101);
  assert.equal(asked, 1);
});
