// TLS on the relay's own port: certificates, keys and handshakes.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import test from 'node:test';
import tls from 'node:tls';
import RelayServer from 'websocket-relay';
import WebSocketRelay from 'websocket-relay/client';
import WebSocket from 'ws';
import { makeCertificate } from '../tls/certificates.mjs';
import { Connection, listen, pair } from './support.mjs';

const one = makeCertificate();
const other = makeCertificate();
const { cert, key } = one;
const trusting = ({ cert }) => ({ ca: cert });

/** Returns the certificate offered to a new connection, as PEM, and the TLS version. */
async function shown(server, options = {}) {
  const socket = tls.connect({ port: server.address().port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
  await once(socket, 'secureConnect');
  const result = { cert: socket.getPeerX509Certificate().toString(), version: socket.getProtocol() };
  socket.destroy();
  return result;
}

/** Lets two clients exchange messages. */
async function talk(server, options) {
  const [ada, grace] = pair(server);
  const connections = [await Connection.open(server, ada, options), await Connection.open(server, grace, options)];
  connections[0].relay(grace.id, 'hello');
  assert.deepEqual(await connections[1].relayed(), { senderId: ada.id, message: 'hello' });
  return connections;
}

test('relays over TLS 1.3 and 1.2, with PEM strings, Buffers and arrays', async (t) => {
  for (const given of [
    { cert, key },
    { cert: Buffer.from(cert), key: Buffer.from(key) },
    { cert: [new Uint8Array(Buffer.from(cert))], key: [key] },
    // Everything in one file.
    { cert: key + cert, key: cert + key },
  ]) {
    const server = await listen(t, given);
    for (const maxVersion of ['TLSv1.3', 'TLSv1.2']) {
      await talk(server, { ...trusting(one), maxVersion });
      assert.deepEqual(await shown(server, { maxVersion }), { cert, version: maxVersion });
    }
    await assert.rejects(shown(server, { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }));
  }
});

test("serves this package's client over wss://", async (t) => {
  const server = await listen(t, { cert, key });
  class Trusting extends WebSocket {
    constructor(url) {
      super(url, trusting(one));
    }
  }
  const [ada, grace] = pair(server);
  const address = `wss://localhost:${server.address().port}`;
  const relays = [ada, grace].map(({ id, token }) => new WebSocketRelay(address, { clientId: id, token, WebSocket: Trusting }));
  t.after(() => relays.forEach((relay) => relay.close()));
  const [to, from] = [relays[0].createChannel(grace.id), relays[1].createChannel(ada.id)];
  // More than one TLS record.
  const messages = ['', 'hello', 'x'.repeat(100_000), 'y'.repeat(1 << 20)];
  const arrived = [];
  const all = new Promise((resolve) => {
    from.on('message', (message) => arrived.push(message) === messages.length && resolve());
  });
  for (const message of messages) to.send(message);
  await all;
  assert.ok(arrived.every((message, n) => message === messages[n]));
});

test('accepts keys of every common kind, encrypted or not', async (t) => {
  for (const type of ['ec', 'rsa']) {
    const { cert, privateKey } = makeCertificate({ type });
    const encrypted = (cipher) => ({
      key: privateKey.export({ type: 'pkcs8', format: 'pem', cipher, passphrase: 'open sesame' }),
      passphrase: 'open sesame',
    });
    for (const given of [
      { key: privateKey.export({ type: 'pkcs8', format: 'pem' }) },
      { key: privateKey.export({ type: type === 'ec' ? 'sec1' : 'pkcs1', format: 'pem' }) },
      { key: privateKey.export({ type: 'pkcs8', format: 'pem' }), passphrase: 'not needed' },
      encrypted('aes-256-cbc'),
      encrypted('aes-128-cbc'),
      encrypted('des-ede3-cbc'),
    ]) {
      const server = await listen(t, { cert, ...given });
      assert.equal((await shown(server)).cert, cert);
      await server.close();
    }
  }
});

test('offers each client one of two certificates that it can verify', async (t) => {
  const [ec, rsa] = [one, makeCertificate({ type: 'rsa' })];
  // The order of the keys is free.
  const server = await listen(t, { cert: [ec.cert, rsa.cert], key: [rsa.key, ec.key] });
  assert.equal((await shown(server)).cert, ec.cert);
  const only = (sigalgs) => ({ sigalgs, maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' });
  assert.equal((await shown(server, only('RSA-PSS+SHA256'))).cert, rsa.cert);
});

/** The errors of invalid options. */
function refused(options) {
  const codes = [() => new RelayServer({ port: 0, ...options }), () => secure.setSecureContext(options)].map((call) => {
    try {
      call();
    } catch (error) {
      for (const secret of [key, 'sesame']) assert.ok(!String(error.stack).includes(secret));
      return `${error.name} ${error.code}: ${error.message}`;
    }
    return 'nothing was thrown';
  });
  assert.equal(codes[0], codes[1]);
  return codes[0];
}

let secure;

test('throws for a bad certificate or key, and changes nothing', async (t) => {
  secure = await listen(t, { cert, key });
  const broken = cert.replace(/[A-Za-z]{8}/, 'AAAAAAAA');
  const { privateKey } = one;
  const encrypted = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sesame' });
  const old = privateKey.export({ type: 'sec1', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sesame' });
  const strange = generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
  for (const [given, expected] of [
    [{ cert: 'nonsense', key }, /^Error ERR_TLS_CERT: cert .*no certificate/],
    [{ cert: '', key }, /ERR_TLS_CERT/],
    [{ cert: [], key }, /ERR_TLS_CERT/],
    [{ cert: broken, key }, /ERR_TLS_CERT/],
    [{ cert: cert.slice(0, 200), key }, /ERR_TLS_CERT/],
    [{ cert, key: 'nonsense' }, /^Error ERR_TLS_KEY: key .*no private key/],
    [{ cert, key: cert }, /ERR_TLS_KEY/],
    [{ cert, key: [] }, /ERR_TLS_KEY/],
    [{ cert, key: strange }, /ERR_TLS_KEY/],
    [{ cert, key: key.slice(0, 100) }, /ERR_TLS_KEY/],
    [{ cert, key: other.key }, /^Error ERR_TLS_MISMATCH: cert and key do not belong together/],
    [{ cert, key: [key, other.key] }, /ERR_TLS_MISMATCH/],
    [{ cert: [cert, other.cert], key }, /ERR_TLS_MISMATCH/],
    [{ cert, key: encrypted }, /^Error ERR_TLS_PASSPHRASE: key is encrypted/],
    [{ cert, key: encrypted, passphrase: 'sesam' }, /^Error ERR_TLS_PASSPHRASE: passphrase does not/],
    [{ cert, key: encrypted.slice(0, 150), passphrase: 'sesame' }, /ERR_TLS_KEY/],
    [{ cert, key: old, passphrase: 'sesame' }, /^Error ERR_TLS_KEY: .*openssl pkcs8 -topk8/],
    [{ cert, key, ca: 'nonsense' }, /ERR_TLS_CA/],
    [{ cert, key, requestCert: true }, /ERR_TLS_CA/],
    [{ cert }, /^TypeError ERR_INVALID_ARG_TYPE: options\.key must be PEM .*; received undefined/],
    [{ key }, /^TypeError ERR_INVALID_ARG_TYPE: options\.cert/],
    [{ cert, key: 1 }, /^TypeError ERR_INVALID_ARG_TYPE: options\.key .*; received number/],
    [{ cert, key, ca: [null] }, /^TypeError ERR_INVALID_ARG_TYPE: options\.ca .*; received null/],
    [{ cert, key: encrypted, passphrase: 5 }, /^TypeError ERR_INVALID_ARG_TYPE: options\.passphrase/],
    [{ cert, key, requestCert: 1 }, /^TypeError ERR_INVALID_ARG_TYPE: options\.requestCert/],
  ]) {
    assert.match(refused(given), expected);
    assert.equal((await shown(secure)).cert, cert);
  }
  assert.throws(() => secure.setSecureContext(), { code: 'ERR_TLS_CERT' });
  assert.throws(() => new RelayServer({ noServer: true, cert, key }), { code: 'ERR_INVALID_ARG_VALUE' });
  const plain = await listen(t);
  assert.throws(() => plain.setSecureContext({ cert, key }), { code: 'ERR_TLS_NOT_SECURE' });
});

test('replaces a certificate while connections stay open', async (t) => {
  const server = await listen(t, { cert, key });
  const [ada, grace] = pair(server);
  const before = [await Connection.open(server, ada, trusting(one)), await Connection.open(server, grace, trusting(one))];
  before[0].relay(grace.id, 'before');
  assert.equal((await before[1].relayed()).message, 'before');
  server.setSecureContext({ cert: other.cert, key: other.key });
  assert.equal((await shown(server)).cert, other.cert);
  before[0].relay(grace.id, 'after');
  assert.equal((await before[1].relayed()).message, 'after');
  await assert.rejects(Connection.open(server, undefined, trusting(one)));
  await talk(server, trusting(other));
});

test('resumes a session only with the certificate it was made with', async (t) => {
  const server = await listen(t, { cert, key });
  const { port } = server.address();
  const connect = async (session) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, session });
    const next = new Promise((resolve) => socket.once('session', resolve));
    await once(socket, 'secureConnect');
    const reused = socket.isSessionReused();
    socket.resume();
    const ticket = await next;
    socket.destroy();
    return { reused, ticket };
  };
  const first = await connect();
  assert.equal(first.reused, false);
  const second = await connect(first.ticket);
  assert.equal(second.reused, true);
  server.setSecureContext({ cert: other.cert, key: other.key });
  assert.equal((await connect(second.ticket)).reused, false);
});

test('requestCert admits only clients with a certificate of the CA', async (t) => {
  const authority = makeCertificate({ commonName: 'authority', isAuthority: true });
  const mine = makeCertificate({ commonName: 'client', issuer: authority });
  const server = await listen(t, { cert, key, ca: authority.cert, requestCert: true });
  const knowing = ({ cert, key }) => ({ ...trusting(one), cert, key });
  await talk(server, knowing(mine));
  for (const options of [trusting(one), knowing(other)]) {
    // With TLS 1.3 the client's handshake ends before the server has seen its certificate.
    const connection = new Connection(server, options);
    await connection.closed;
  }
});

test('ca alone completes the chain and requests no client certificate', async (t) => {
  const root = makeCertificate({ commonName: 'root', isAuthority: true });
  const between = makeCertificate({ commonName: 'between', isAuthority: true, issuer: root });
  const leaf = makeCertificate({ issuer: between });
  const server = await listen(t, { cert: leaf.cert, key: leaf.key, ca: [root.cert + other.cert, between.cert] });
  await talk(server, trusting(root));
});

test('cuts plain HTTP and non-TLS connections without disturbing others', async (t) => {
  const server = await listen(t, { cert, key });
  server.on('error', (error) => assert.fail(error));
  const { port } = server.address();
  // Two errors are possible: an invalid response, and a reset.
  const request = http.get({ port, host: '127.0.0.1' }).on('error', () => {});
  await once(request, 'error');
  for (const bytes of ['\0', 'x'.repeat(100_000), '\x16\x03\x01\xff\xff', Buffer.from('160301000501000001ff', 'hex')]) {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.end(bytes);
    socket.resume();
    // Not with `once()`, which rejects on a reset.
    await new Promise((resolve) => void socket.on('close', resolve));
  }
  await talk(server, trusting(one));
});

test('cuts a stalled handshake after headersTimeout without delaying others', async (t) => {
  const server = await listen(t, { cert, key, headersTimeout: 200 });
  const { port } = server.address();
  const stalled = ['', '\x16', Buffer.from('16030102000100', 'hex')].map((bytes) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.write(bytes);
    socket.on('error', () => {});
    socket.resume();
    return once(socket, 'close');
  });
  // And one that sends no request afterwards.
  const silent = tls.connect({ port, host: '127.0.0.1', ...trusting(one) });
  silent.on('error', () => {}).resume();
  await talk(server, trusting(one));
  await Promise.all([...stalled, once(silent, 'close')]);
});

test('counts a connection in its handshake against maxConnections', async (t) => {
  const server = await listen(t, { cert, key, maxConnections: 1 });
  // Its first byte, without which it is not accepted.
  const socket = net.connect(server.address().port, '127.0.0.1').setNoDelay(true);
  await once(socket, 'connect');
  socket.write('\x16');
  const late = await Connection.open(server, undefined, trusting(one));
  assert.equal((await late.closed).code, 1013);
  socket.destroy();
});

test('admits many connections at once', async (t) => {
  const server = await listen(t, { cert, key });
  const all = await Promise.all(Array.from({ length: 100 }, () => Connection.open(server, undefined, trusting(one))));
  await server.close();
  for (const { closed } of all) assert.equal((await closed).code, 1001);
});

test('delivers messages of all sizes to a reader that pauses and continues', async (t) => {
  const server = await listen(t, { cert, key, maxQueuedBytes: 1 << 30, maxMailboxBytes: 1 << 30 });
  const [ada, grace] = pair(server);
  const from = await Connection.open(server, ada, trusting(one));
  const to = await Connection.open(server, grace, trusting(one));
  from.relay(grace.id, 'first');
  await to.relayed();
  to.socket.pause();
  const sizes = Array.from({ length: 2000 }, (_, n) => (n * 7919) % 40_000);
  sizes.forEach((size, n) => from.relay(grace.id, `${n} ${'x'.repeat(size)}`));
  const sent = once(from.socket, 'pong');
  from.socket.ping();
  await sent;
  to.socket.resume();
  for (const [n, size] of sizes.entries()) {
    const { message } = await to.relayed();
    assert.ok(message.length === `${n} `.length + size && message.startsWith(`${n} `), `message ${n}`);
  }
});

test('delivers the rest in order and once to a plain client whose connections break', async (t) => {
  const server = await listen(t, { cert, key });
  const [ada, grace] = pair(server);
  const from = await Connection.open(server, ada, trusting(one));
  const seen = [];
  let sent = 0;
  for (let round = 0; round < 20; round += 1) {
    const to = await Connection.open(server, grace, trusting(one));
    for (const end = sent + 200; sent < end; sent += 1) from.relay(grace.id, `${sent} ${'x'.repeat((sent * 31) % 5000)}`);
    for (let n = 0; n < 50; n += 1) seen.push(Number.parseInt((await to.relayed()).message, 10));
    // At any point of the stream.
    const gone = once(server, 'disconnect');
    to.socket.terminate();
    await gone;
  }
  const to = await Connection.open(server, grace, trusting(one));
  from.relay(grace.id, 'end');
  for (let message; (message = (await to.relayed()).message) !== 'end'; ) seen.push(Number.parseInt(message, 10));
  assert.ok(seen.every((number, n) => n === 0 || number > seen[n - 1]), `${seen}`);
});
