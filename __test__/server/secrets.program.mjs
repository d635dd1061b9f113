// Puts tokens everywhere they do not belong, and prints everything that comes of it. Only its parent is told the tokens.
import { once } from 'node:events';
import { inspect } from 'node:util';
import RelayServer from 'websocket-relay';
import WebSocketRelay from 'websocket-relay/client';
import WebSocket from 'ws';

const print = (...values) => values.forEach((value) => console.log(inspect(value, { depth: 12, showHidden: true, getters: true, maxStringLength: null })));
const told = [];

const server = new RelayServer({ port: 0, host: '127.0.0.1', metrics: true, maxOffences: 1000 });
for (const name of ['error', 'connection', 'disconnect', 'expired', 'close', 'listening']) {
  server.on(name, (...args) => {
    print(name, args, args.map(String));
    if (name === 'error') told.push(args[0].message);
  });
}
await once(server, 'listening');
const { port } = server.address();

const clients = Array.from({ length: 4 }, () => server.registerClient({ data: 'something' }));
const [ada, grace, former, refreshed] = clients;
const tokens = clients.map(({ token }) => token);
tokens.push(server.refreshToken(refreshed.id));
const mortal = server.registerClient({ expiresIn: 1, data: 'mortal' });
tokens.push(mortal.token);
await once(server, 'expired');
server.unregisterClient(former.id);
server.registerRelayChannel(ada.id, grace.id);
process.send(tokens);

/** Opens a connection, sends frames, and prints what it receives until it closes or answers. */
async function say(frames, close = [1000]) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`);
  socket.on('message', (data) => print(String(data)));
  socket.on('close', (code, reason) => print(code, String(reason)));
  await once(socket, 'open');
  for (const frame of frames) socket.send(frame);
  const closed = once(socket, 'close');
  socket.ping();
  await Promise.race([once(socket, 'pong'), closed]);
  socket.close(...close);
  await closed;
}

const authentication = (members) => JSON.stringify({ authentication: members });
const escaped = (text) => Array.from(text, (digit) => `\\u00${digit.charCodeAt(0).toString(16)}`).join('');
const own = authentication({ clientId: ada.id, token: ada.token });
const reliable = authentication({ clientId: ada.id, token: ada.token, version: 2, session: '9f86d081884c7d65', presence: true, receipts: true });

for (const token of tokens) {
  const frames = [
    token,
    `"${token}"`,
    `"${token.toUpperCase()}"`,
    `"${escaped(token)}"`,
    `{"${token}":1}`,
    `{"token":"${token}","clientId":0}`,
    `{"authentication":"${token}"}`,
    `{"authentication":{"clientId":"0","token":"${token}"}}`,
    `{"authentication":{"clientId":0,"token":["${token}"]}}`,
    `{"authentication":{"clientId":"${token}","token":"${token}"}}`,
    `{"authentication":{"clientId":0,"token":"${token}","version":2}}`,
    `{"authentication":{"clientId":0,"token":"${token}"`,
    `{"authentication":{"clientId":1.5,"token":"${escaped(token)}"}}`,
    `{"relay":{"targetId":"${token}","message":"x"}}`,
    `{"relay":{"targetId":77,"message":"${token}"}}`,
    `{"hello":"${'x'.repeat(180)}${token}"}`,
    `{"ping":"${token}"}`,
    `{"received":{"senderId":"${token}","offset":1}}`,
    `[${Array(20).fill(`"${token}"`).join(' , ')}]`,
  ];
  await say(frames);
  await say([own, ...frames]);
  await say([reliable, ...frames]);
  for (const wrong of [{ clientId: 99, token }, { clientId: former.id, token }, { clientId: mortal.id, token }, { clientId: grace.id, token: `${token}0` }]) {
    await say([authentication(wrong)]);
    await say([own, authentication(wrong)]);
  }
  await say([authentication({ clientId: 99, token, version: 2, session: '9f86d081884c7d65', epoch: token })]);
  // As a close reason, and in a request that opens no WebSocket.
  await say([own], [1000, token]);
  await say([own], [4000, `bye ${token.toUpperCase()} bye`]);
  await say([reliable], [4000, token]);
  for (const [path, init] of [
    [`/${token}`],
    [`/?token=${token}`, { headers: { upgrade: 'websocket' } }],
    ['/', { method: 'POST', headers: { authorization: `Bearer ${token}` }, body: token }],
  ]) {
    await fetch(`http://127.0.0.1:${port}${path}`, init).then(async (response) => print(response.status, [...response.headers], await response.text()), print);
  }

  // Mistakes of the developer.
  const whole = { id: 0, token };
  const calls = {
    registerClient: [[token], [{ expiresIn: token }], [{ expiresIn: whole }]],
    unregisterClient: [[token], [whole], [[token]]],
    refreshToken: [[token], [whole], [0, token], [0, { expiresIn: token }]],
    disconnectClient: [[token], [whole], [0, token], [0, 1000, whole]],
    isConnected: [[token], [whole], [new Map([[token, token]])]],
    registerRelayChannel: [[token, 0], [whole, whole], [0, whole], [[[token]], 0]],
    unregisterRelayChannel: [[token, 0], [whole, whole]],
    registerRelayChannels: [[token], [[token]], [[whole, whole]], [new Set([token])], [token, [0]], [0, [token]], [0, token]],
    setSecureContext: [[{ cert: token, key: token }], [{ passphrase: [token] }]],
    close: [[token], [{ timeout: token }], [{ timeout: 1, retryAfter: whole }]],
  };
  for (const [method, all] of Object.entries(calls)) {
    for (const args of all) {
      try {
        print(await server[method](...args));
      } catch (error) {
        print(error, error.stack);
      }
    }
  }
  const credentials = { port: 0, cert: token, key: token, passphrase: token };
  const options = ['port', 'host', 'path', 'server', 'noServer', 'threads', 'maxPayload', 'allowedOrigins', 'verifyClient', 'trustProxy', 'signal', 'metrics'];
  for (const wrong of [token, credentials, ...options.flatMap((name) => [{ port: 0, [name]: [token] }, { port: 0, [name]: whole }])]) {
    try {
      new RelayServer(wrong).close();
    } catch (error) {
      print(error, error.stack);
    }
  }
  new RelayServer({ port: 0, host: '127.0.0.1', [token]: 1 }).close();

  // The client of the package.
  for (const given of [{ clientId: token, token }, { clientId: 0, token: whole }, { clientId: 0, token: () => [token] }, { clientId: 99, token }, { clientId: 0, token: () => Promise.reject(new Error('none')) }]) {
    try {
      const relay = new WebSocketRelay(`127.0.0.1:${port}`, given);
      relay.on('error', (error) => print(error));
      print(relay);
      await once(relay, 'close');
      print(relay);
    } catch (error) {
      print(error, error.stack);
    }
  }
}
for (const path of ['/metrics', '/health', '/websocket_relay.min.js', '/']) {
  print(await fetch(`http://127.0.0.1:${port}${path}`).then((response) => response.text()));
}
// Everything that can be inspected of a server.
print(server, server.stats(), [...server.clients()], server.address());
console.log(JSON.stringify(server), String(server), server);
console.log('%o %O %j', server, server, server);
print(process.report.getReport());
console.log(`errors: ${told.length}, blotted: ${told.filter((text) => text.includes('[redacted]')).length}`);
// And an uncaught exception.
server.close(() => {
  process.disconnect();
  process.nextTick(() => server.registerRelayChannel({ ...ada }, ada.token));
});
