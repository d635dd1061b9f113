// Upgrade requests get the same response on the relay's own port and on a Node server, however odd they are.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { listen } from './support.mjs';

/**
 * Sends bytes and resolves to the response, without what follows the head of a 101. The client ends its side after the
 * bytes, because some are not a complete request; if the request is verified, after the response, or it would have left.
 */
async function answer(port, bytes, { waits = false } = {}) {
  const socket = net.connect(port, '127.0.0.1').on('error', () => {});
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  if (waits) {
    socket.write(bytes);
    await once(socket, 'data');
    socket.end();
  } else socket.end(bytes);
  await once(socket, 'close');
  const text = Buffer.concat(chunks).toString('latin1');
  return text.startsWith('HTTP/1.1 101 ') ? text.slice(0, text.indexOf('\r\n\r\n') + 4) : text;
}

/** Sends the same bytes to both. Returns the responses, the arguments of `verifyClient`, and whether Node's relay decided. */
async function both(t, options = {}) {
  let told;
  const verifyClient = ({ origin, secure, remoteAddress, req }) => {
    told = { origin, secure, remoteAddress, url: req.url };
    return true;
  };
  const [own, ownAsking] = [await listen(t, options), await listen(t, { ...options, verifyClient })];
  let isAsked;
  // Other requests are the application's.
  const web = http.createServer((request, response) => response.end('the application'));
  // Not another 'upgrade' listener, which the relay would wait for.
  const { emit } = web;
  web.emit = (name, ...args) => {
    if (name === 'upgrade') isAsked = true;
    return emit.call(web, name, ...args);
  };
  const webAsking = http.createServer();
  const theirs = [new RelayServer({ server: web, ...options }), new RelayServer({ server: webAsking, ...options, verifyClient })];
  t.after(async () => {
    await Promise.all(theirs.map((relay) => relay.close()));
    for (const server of [web, webAsking]) server.close().closeAllConnections();
  });
  for (const server of [web, webAsking]) await once(server.listen(0, '127.0.0.1'), 'listening');
  const ask = async (server, asking, bytes) => {
    [told, isAsked] = [undefined, false];
    const text = await answer(server.address().port, bytes);
    if (status(text) === 101) assert.equal(await answer(asking.address().port, bytes, { waits: true }), text);
    return { text, told, isAsked };
  };
  return async (bytes) => [await ask(own, ownAsking, bytes), await ask(web, webAsking, bytes)];
}

const status = (text) => Number(text.slice(9, 12));

const odd = new URL('../../fuzz/corpus/head/', import.meta.url);

for (const options of [{}, { trustProxy: 'loopback', allowedOrigins: 'https://example.com' }, { trustProxy: true, path: '/relay' }]) {
  test(`answers every odd request of the fuzz corpus alike: ${JSON.stringify(options)}`, async (t) => {
    const ask = await both(t, options);
    let upgraded = 0;
    for (const name of readdirSync(odd)) {
      // The first two bytes are settings of the fuzz target.
      const bytes = readFileSync(new URL(name, odd)).subarray(2);
      const [own, theirs] = await ask(bytes);
      if (status(theirs.text) === 101) assert.deepEqual(own.told, theirs.told, name);
      if (theirs.isAsked && !(options.path && status(theirs.text) === 404)) assert.equal(own.text, theirs.text, name);
      // Node's parser rejects lines without a carriage return, which RFC 9112 allows a server to accept.
      else if (status(own.text) === 101) assert.match(bytes.toString('latin1'), /[^\r]\n/, name);
      upgraded += status(theirs.text) === 101;
    }
    assert.ok(upgraded > 3, `${upgraded} were upgraded`);
  });
}

const USUAL = {
  Host: 'localhost',
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/** A request with these headers replaced: each a value, or one for each line. */
function request({ line = 'GET / HTTP/1.1', ...headers }, behind = '') {
  const all = Object.entries({ ...USUAL, ...headers }).flatMap(([name, values]) => [values ?? []].flat().map((value) => `${name}:${value}\r\n`));
  return Buffer.from(`${line}\r\n${all.join('')}\r\n${behind}`, 'latin1');
}

const key = USUAL['Sec-WebSocket-Key'];

for (const [name, expected, headers, behind] of [
  ['as usual', 101, {}],
  ['two lines of options', 101, { Connection: ['keep-alive', 'Upgrade'] }],
  ['options with tabs', 101, { Connection: '\tkeep-alive ,\t Upgrade' }],
  ['some empty options', 101, { Connection: ['', ' ,,\t, upgrade ,'] }],
  ['upgrade among other options', 101, { Connection: '\xff, HTTP2-Settings, UPGRADE, close' }],
  ['several protocols to upgrade to', 101, { Upgrade: ' h2c, foo/2,WebSocket' }],
  ['several protocols on several lines', 101, { Upgrade: ['h2c', '\twebsocket\t'] }],
  ['a protocol with a version', 400, { Upgrade: 'websocket/13' }],
  ['another protocol', 400, { Upgrade: 'h2c' }],
  ['two keys', 400, { 'Sec-WebSocket-Key': [key, key] }],
  ['an empty key and a key', 400, { 'Sec-WebSocket-Key': ['', key] }],
  ['no key', 400, { 'Sec-WebSocket-Key': undefined }],
  ['a key with tabs around it', 101, { 'Sec-WebSocket-Key': `\t${key}\t` }],
  ['two versions', 426, { 'Sec-WebSocket-Version': ['13', '13'] }],
  ['a list of versions', 426, { 'Sec-WebSocket-Version': '13, 8' }],
  ['an old version', 426, { 'Sec-WebSocket-Version': '8' }],
  ['two hosts', 400, { Host: ['localhost', 'example.com'] }],
  ['no host', 101, { Host: undefined }],
  ['two origins', 400, { Origin: ['https://example.com', 'https://example.com'] }],
  ['an origin that is not UTF-8', 101, { Origin: 'https://\xff' }],
  ['HTTP/1.0', 400, { line: 'GET / HTTP/1.0' }],
  ['HTTP/2', 400, { line: 'GET / HTTP/2.0' }],
  ['POST', 400, { line: 'POST / HTTP/1.1' }],
  ['HEAD', 400, { line: 'HEAD / HTTP/1.1' }],
  ['OPTIONS', 400, { line: 'OPTIONS * HTTP/1.1' }],
  ['an absolute target', 101, { line: 'GET http://localhost/ HTTP/1.1' }],
  ['a target with odd characters', 101, { line: 'GET /"<>\\^`{|}#%zz HTTP/1.1' }],
  ['spaces in the first line', 101, { line: 'GET   /  HTTP/1.1' }],
  ['empty lines before the first', 101, { line: '\r\n\r\nGET / HTTP/1.1' }],
  ['an empty body', 101, { 'Content-Length': '0' }],
  ['a body', 400, { 'Content-Length': '5' }, 'hello'],
  ['a chunked body', 400, { 'Transfer-Encoding': 'chunked' }, '0\r\n\r\n'],
  ['another transfer coding', 400, { 'Transfer-Encoding': 'identity' }],
  ['500 headers', 101, { X: Array(500).fill('x') }],
  ['a subprotocol on the second line', 101, { 'Sec-WebSocket-Protocol': [' , ', 'b, c'] }],
  ['an invalid and a valid subprotocol', 101, { 'Sec-WebSocket-Protocol': 'a b, \xe9, c' }],
  ['an empty subprotocol', 101, { 'Sec-WebSocket-Protocol': '' }],
]) {
  test(`answers ${expected} to ${name}`, async (t) => {
    const [own, theirs] = await (await both(t))(request(headers, behind));
    assert.equal(status(own.text), expected, own.text);
    assert.equal(theirs.isAsked, true, theirs.text);
    assert.equal(own.text, theirs.text);
    const protocol = /^Sec-WebSocket-Protocol: (.*)\r$/m.exec(own.text)?.[1];
    const offered = [headers['Sec-WebSocket-Protocol'] ?? []].flat().join().split(',');
    assert.equal(protocol, offered.map((name) => name.trim()).find((name) => /^\w+$/.test(name)));
  });
}

for (const [name, headers] of Object.entries({
  'options with spaces in place of commas': { Connection: 'keep-alive Upgrade' },
  'an option that only begins so': { Connection: 'Upgraded' },
  'no option': { Connection: undefined },
  'a folded line': { Connection: 'keep-alive,\r\n Upgrade' },
  'two lengths': { 'Content-Length': ['0', '0'] },
  'a length that is none': { 'Content-Length': 'x' },
  'a space before the colon': { 'X ': 'x' },
  'a NUL': { X: 'a\0b' },
  'a small method': { line: 'get / HTTP/1.1' },
})) {
  test(`never answers 101 to ${name}`, async (t) => {
    const [own, theirs] = await (await both(t))(request(headers));
    assert.equal(status(own.text), 400);
    assert.equal(theirs.isAsked, false);
  });
}

test('answers as in RFC 6455, byte for byte', async (t) => {
  const [own] = await (await both(t))(request({ 'Sec-WebSocket-Protocol': 'chat, superchat' }));
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo='];
  assert.equal(own.text, [...lines, 'Sec-WebSocket-Protocol: chat', '', ''].join('\r\n'));
});

test("writes header names conventionally, and the application's as given", async (t) => {
  for (const [options, wanted] of [
    [{ verifyClient: (info, callback) => callback(false, 403, 'no', { 'x-wHy': 'so\xe9', 'WWW-Authenticate': 'Basic', 'content-type': 'text/html' }) }, 403],
    [{ path: '/elsewhere' }, 404],
    [{ maxConnectionsPerAddress: 1 }, 429],
    [{ allowedOrigins: 'https://example.com' }, 403],
  ]) {
    const own = await listen(t, options);
    const web = http.createServer().listen(0, '127.0.0.1');
    await once(web, 'listening');
    const theirs = new RelayServer({ server: web, ...options });
    t.after(async () => {
      await theirs.close();
      web.close().closeAllConnections();
    });
    const answers = [];
    for (const { port } of [own.address(), web.address()]) {
      const held = wanted === 429 ? net.connect(port, '127.0.0.1').on('error', () => {}) : undefined;
      held?.write(request({}));
      if (held) await once(held, 'data');
      answers.push(await answer(port, request({}), { waits: true }));
      held?.destroy();
    }
    assert.equal(status(answers[0]), wanted);
    assert.equal(answers[0], answers[1]);
    const names = answers[0].split('\r\n\r\n')[0].split('\r\n').slice(1).map((line) => line.split(':')[0]);
    const theirNames = ['x-wHy', 'WWW-Authenticate', 'content-type'];
    for (const name of names) assert.ok(theirNames.includes(name) || /^([A-Z][a-z]+-?)+$/.test(name), name);
    if (options.verifyClient) for (const name of theirNames) assert.ok(names.includes(name), name);
  }
});

test('uses headers that the application has changed', async (t) => {
  const web = http.createServer().listen(0, '127.0.0.1');
  await once(web, 'listening');
  const relay = new RelayServer({ noServer: true, allowedOrigins: 'https://example.com' });
  t.after(async () => {
    await relay.close();
    web.close().closeAllConnections();
  });
  web.on('upgrade', (request, socket, head) => {
    if (request.url === '/drop') delete request.headers.origin;
    else request.headers.origin = 'https://example.com';
    relay.handleUpgrade(request, socket, head);
  });
  for (const [line, expected] of [['GET / HTTP/1.1', 101], ['GET /drop HTTP/1.1', 403]]) {
    for (const Origin of ['https://example.com', 'https://evil.example']) {
      assert.equal(status(await answer(web.address().port, request({ line, Origin }))), expected);
    }
  }
});
