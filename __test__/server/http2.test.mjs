// WebSockets over HTTP/2 (RFC 8441), as browsers open them if the server allows it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import WebSocket from 'ws';
import { makeCertificate } from '../tls/certificates.mjs';
import { Connection, pair, statusOf } from './support.mjs';

const { cert, key } = makeCertificate();
const settings = { enableConnectProtocol: true };

const SERVERS = {
  'with TLS': () => http2.createSecureServer({ cert, key, allowHTTP1: true, settings }),
  'without TLS': () => http2.createServer({ settings }),
};

/** Opens a relay at `/relay` of a server, and a client session. */
async function open(t, web, options = {}) {
  const relay = new RelayServer({ server: web, path: '/relay', ...options });
  const sessions = new Set();
  web.on('session', (session) => sessions.add(session));
  await once(web.listen(0, '127.0.0.1'), 'listening');
  const { port } = web.address();
  t.after(async () => {
    await relay.close();
    sessions.forEach((one) => one.destroy());
    await new Promise((resolve) => web.close(resolve));
  });
  const connect = async () => {
    const origin = `${typeof web.setSecureContext === 'function' ? 'https' : 'http'}://localhost:${port}`;
    const lookup = (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]);
    const session = http2.connect(origin, { ca: cert, lookup });
    session.on('error', () => {});
    t.after(() => session.destroy());
    await once(session, 'remoteSettings');
    return session;
  };
  return { web, relay, session: await connect(), connect, port };
}

const ask = (session, headers) =>
  session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/relay', 'sec-websocket-version': '13', ...headers });

/** Returns the status and body of a request. */
async function answerTo(session, headers) {
  const stream = ask(session, headers);
  stream.on('error', () => {});
  const [answer] = await once(stream, 'response');
  if (answer[':status'] === 200) {
    stream.close();
    return { answer };
  }
  return { answer, text: (await stream.setEncoding('utf8').toArray()).join('') };
}

/** Opens a WebSocket of `ws` over a stream. */
async function openStream(session, headers) {
  const stream = ask(session, headers);
  const [answer] = await once(stream, 'response');
  assert.equal(answer[':status'], 200);
  const socket = new WebSocket(null, undefined, { closeTimeout: 30_000 });
  socket._isServer = false;
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 0 });
  return { stream, socket, answer };
}

/** Like `Connection`, over a stream. */
async function openClient(session, client) {
  const { socket, stream } = await openStream(session);
  const texts = [];
  let wake = () => {};
  socket.on('message', (data) => {
    texts.push(String(data));
    wake();
  });
  const closed = once(socket, 'close').then(([code]) => code);
  const send = (frame) => socket.send(JSON.stringify(frame));
  send({ authentication: { clientId: client.id, token: client.token } });
  const relayed = async () => {
    while (texts.length === 0) await new Promise((resolve) => (wake = resolve));
    return JSON.parse(texts.shift()).relay;
  };
  return { socket, stream, closed, send, relayed, relay: (targetId, message) => send({ relay: { targetId, message } }) };
}

const emptied = async (relay) => {
  while (relay.stats().connections > 0) await new Promise(setImmediate);
};

for (const [way, make] of Object.entries(SERVERS)) {
  test(`${way}: relays between two streams of one session, long messages included`, async (t) => {
    const { relay, session } = await open(t, make());
    const [ada, grace] = pair(relay);
    const [one, two] = [await openClient(session, ada), await openClient(session, grace)];
    for (const message of ['hello', 'x'.repeat(2 ** 19), 'é\n"'.repeat(2 ** 17), '']) {
      one.relay(grace.id, message);
      two.relay(ada.id, message);
      assert.deepEqual(await Promise.all([two.relayed(), one.relayed()]), [
        { senderId: ada.id, message },
        { senderId: grace.id, message },
      ]);
    }
    one.socket.close();
    assert.equal(await one.closed, 1005);
    // A client may reset its stream.
    two.stream.close(http2.constants.NGHTTP2_CANCEL);
    await emptied(relay);
  });

  test(`${way}: loses nothing for a slow reader`, async (t) => {
    const { relay, session } = await open(t, make());
    const [ada, grace] = pair(relay);
    const [one, two] = [await openClient(session, ada), await openClient(session, grace)];
    two.socket.pause();
    const count = 200;
    for (let n = 0; n < count; n += 1) one.relay(grace.id, `${n}`.padStart(20_000));
    setImmediate(() => two.socket.resume());
    for (let n = 0; n < count; n += 1) assert.equal(Number((await two.relayed()).message), n);
    one.socket.terminate();
    two.socket.terminate();
  });

  test(`${way}: handles close() and a session that breaks off`, async (t) => {
    const { relay, session, connect } = await open(t, make());
    const [ada, grace] = pair(relay);
    const one = await openClient(session, ada);
    await once(relay, 'connection');
    const gone = once(relay, 'disconnect');
    session.destroy();
    assert.deepEqual((await gone).slice(0, 2), [ada.id, 1006]);
    await one.closed;
    await emptied(relay);
    const two = await openClient(await connect(), grace);
    const [code] = await Promise.all([two.closed, relay.close()]);
    assert.equal(code, 1001);
  });

  test(`${way}: applies the rules of HTTP/1.1`, async (t) => {
    const seen = [];
    const { relay, session, port } = await open(t, make(), {
      allowedOrigins: 'https://friend.example',
      trustProxy: true,
      verifyClient: ({ origin, secure, remoteAddress, req: { url, headers } }, callback) => {
        seen.push([origin, secure, remoteAddress, url, headers.cookie, headers.host]);
        callback(headers.cookie === 'good', 418, 'no', { 'x-why': 'because', connection: 'close' });
      },
    });
    const from = { origin: 'https://friend.example' };
    for (const [headers, status, text] of [
      [{ ...from, cookie: 'good' }, 200, undefined],
      [{ ...from, cookie: 'good', 'x-forwarded-for': '1.2.3.4' }, 200, undefined],
      [from, 418, 'no\n'],
      [{ cookie: 'good' }, 403, 'pages of this origin may not connect\n'],
      [{ ...from, cookie: 'good', 'sec-websocket-version': '8' }, 426, undefined],
      [{ ':path': '/other' }, 404, 'nothing is here\n'],
    ]) {
      const { answer, text: said } = await answerTo(session, headers);
      assert.equal(answer[':status'], status, JSON.stringify(headers));
      if (text) assert.equal(said, text);
      assert.equal(answer['x-why'], status === 418 ? 'because' : undefined);
      assert.deepEqual([answer.connection, answer.upgrade, answer['sec-websocket-accept']], [undefined, undefined, undefined]);
    }
    const host = `localhost:${port}`;
    assert.deepEqual(seen.slice(0, 2), [
      ['https://friend.example', way === 'with TLS', '127.0.0.1', '/relay', 'good', host],
      ['https://friend.example', way === 'with TLS', '1.2.3.4', '/relay', 'good', host],
    ]);
    assert.deepEqual(relay.stats().turnedAway, { verifyClient: 1, allowedOrigins: 1 });
    const { stream, answer } = await openStream(session, { ...from, cookie: 'good', 'sec-websocket-protocol': 'one, two' });
    assert.equal(answer['sec-websocket-protocol'], 'one');
    stream.close();
  });

  test(`${way}: leaves other HTTP/2 requests to the application`, async (t) => {
    for (const listensFirst of [true, false]) {
      const web = make();
      const application = (request, response) => response.end('the application');
      if (listensFirst) web.on('request', application);
      const { session, relay } = await open(t, web);
      if (!listensFirst) web.on('request', application);
      const [ada, grace] = pair(relay);
      const [one, two] = [await openClient(session, ada), await openClient(session, grace)];
      one.relay(grace.id, 'hello');
      assert.equal((await two.relayed()).message, 'hello');
      const get = session.request({ ':path': '/relay' });
      assert.equal((await get.setEncoding('utf8').toArray()).join(''), 'the application');
      const [tunnel] = await once(session.request({ ':method': 'CONNECT', ':authority': 'example.com:80' }), 'response');
      assert.equal(tunnel[':status'], 405);
      assert.equal((await answerTo(session, { ':path': '/other' })).answer[':status'], 404);
      // Another listener, which handles some of them.
      web.on('connect', (request, response) => request.url === '/theirs' && response.writeHead(200).end('theirs'));
      assert.equal((await answerTo(session, { ':path': '/theirs' })).answer[':status'], 200);
      one.socket.terminate();
      two.socket.terminate();
    }
  });
}

test('handleUpgrade() accepts the request of Node', async (t) => {
  const web = SERVERS['with TLS']();
  const relay = new RelayServer({ noServer: true, path: '/hand' });
  t.after(() => relay.close());
  web.on('request', () => {});
  const { session } = await open(t, web);
  web.on('connect', (request) => {
    if (relay.shouldHandle(request)) relay.handleUpgrade(request, request.stream);
  });
  const { socket } = await openStream(session, { ':path': '/hand' });
  socket.terminate();
  await emptied(relay);
});

test('reports a stream that another listener has answered', async (t) => {
  const web = SERVERS['with TLS']();
  const { relay, session } = await open(t, web);
  web.prependListener('stream', (stream) => stream.respond({ ':status': 200 }));
  const told = once(relay, 'error');
  await answerTo(session);
  assert.equal((await told)[0].code, 'ERR_UPGRADE_TAKEN');
  assert.deepEqual(relay.stats().turnedAway, { taken: 1 });
});

test('serves HTTP/1.1 clients with allowHTTP1', async (t) => {
  const { relay, port } = await open(t, SERVERS['with TLS']());
  const place = { url: `wss://127.0.0.1:${port}/relay`, ca: cert };
  const [ada, grace] = pair(relay);
  const [one, two] = [await Connection.open(place, ada), await Connection.open(place, grace)];
  one.relay(grace.id, 'hello');
  assert.equal((await two.relayed()).message, 'hello');
  assert.equal(await statusOf({ ...place, url: place.url.replace('relay', 'other') }), 404);
  one.socket.terminate();
  two.socket.terminate();
});
