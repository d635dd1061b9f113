// Uses of the types from CommonJS. Compiled, never run.
import RelayServer = require('websocket-relay');
import { once } from 'node:events';
import http = require('node:http');
import http2 = require('node:http2');
import https = require('node:https');

const server = new RelayServer({ port: 4000, host: 'localhost', authorizeAllChannels: true, maxPayload: 1000 }, () => {});
new RelayServer({ port: '4000' });
const { id, token }: { id: number; token: string } = server.registerClient();
server.registerRelayChannel(id, id);
server.unregisterRelayChannel(id, id);
const channels: number = server.registerRelayChannels(new Set([id, 1])) + server.registerRelayChannels(id, [1, 2]);
const expiring: RelayServer.RegisteredClient = server.registerClient({ expiresIn: 60_000, data: { user: 'ada' } });
const own: RelayServer.RegisteredClient = server.registerClient({ id: 4711, token: '0'.repeat(32), data: ['ada'] });
const many: RelayServer.RegisteredClient[] = [...server.registerClients(10), ...server.registerClients(10, { expiresIn: 1 })];
server.refreshToken(own.id, { token: '1'.repeat(32), expiresIn: undefined }).trim();
new RelayServer({ port: 0, store: './relay.db' });
new RelayServer({ server: http.createServer(), store: new URL('file:///var/lib/relay.db') });
new RelayServer({ noServer: true, store: { path: './relay.db', durability: 'synced' } });
const storage: RelayServer.StoreOptions = { path: new URL('file:///relay.db') };
const refreshed: string = server.refreshToken(expiring.id);
server.refreshToken(id, { expiresIn: 60_000 }).trim();
const wasConnected: boolean = server.disconnectClient(id) || server.disconnectClient(id, 4999, 'banned');
const isConnected: boolean = server.isConnected(id);
for (const client of server.clients()) client satisfies RelayServer.Client;
const { offences, relayedBytes, turnedAway, store }: RelayServer.Stats = server.stats();
const written: number[] = store ? [store.committed, store.skipped, store.pendingBytes, store.lastCommitMs] : [];
server.on('messagesExpired', (senderId, recipientId, messages) => [senderId, recipientId, messages].map((n) => n.toFixed()));
server.on('expired', (clientId, undelivered, data: unknown) => [clientId.toFixed(), undelivered.toFixed(), data]);
server.unregisterClient(id);
server.on('connection', (clientId) => clientId.toFixed());
server.on('disconnect', (clientId, code, reason) => `${clientId.toFixed()} ${code.toFixed()} ${reason.trim()}`);
server.once('error', (error) => error.code?.trim());
server.ref().unref().on('close', () => {});
const port: number | undefined = server.address()?.port;
const secure = new RelayServer({ port: 0, cert: 'PEM', key: Buffer.of(), passphrase: 'x', ca: ['PEM', new Uint8Array()], requestCert: true });
secure.setSecureContext({ cert: ['PEM'], key: ['PEM'] });
server.close();
server.close((error) => error?.message);
const closed: Promise<void> = server.close();
const drained: Promise<void> = server.close({ timeout: 10_000, retryAfter: 0 });
server.close({ timeout: 1 }, (error) => error?.message);
const disposed: Promise<void> = server[Symbol.asyncDispose]();
new RelayServer({ port: 0, signal: new AbortController().signal });
const options: RelayServer.Options = { port: 0 };
const Named: typeof RelayServer = RelayServer.RelayServer;
const web = http.createServer();
new RelayServer({ port: 0, path: '/relay', serveClient: false });
const attached = new RelayServer({ server: web, path: '/relay' }, () => {});
new RelayServer({ server: https.createServer(), maxConnections: 10 });
new RelayServer({ server: http2.createSecureServer({ allowHTTP1: true, settings: { enableConnectProtocol: true } }) });
new RelayServer({ server: http2.createServer({ settings: { enableConnectProtocol: true } }) });
const byHand = new RelayServer({ noServer: true, authorizeAllChannels: true });
web.on('upgrade', (request, socket, head) => {
  if (byHand.shouldHandle(request)) byHand.handleUpgrade(request, socket, head);
});
http2.createServer().on('connect', (request: http2.Http2ServerRequest) => {
  if (byHand.shouldHandle(request)) byHand.handleUpgrade(request, request.stream);
});
byHand.shouldHandle = ({ headers }) => headers.origin === 'https://example.com';
const more: RelayServer.Options[] = [{ server: web, port: undefined }, { noServer: true }, { port: 0, noServer: false }];
export const used = [attached, more, token, port, closed, drained, disposed, options, Named, once(server, 'listening')];
export const stored = [storage, written, many];
export const told = [channels, refreshed, wasConnected, isConnected, turnedAway['closing']?.toFixed(), offences['ERR_INVALID_JSON']?.toFixed(), relayedBytes.toFixed()];

export const guarded: RelayServer.Options[] = [
  { port: 0, allowedOrigins: 'https://example.com', metrics: true, trustProxy: 1, rateLimit: 100 },
  { port: 0, allowedOrigins: ['https://example.com', /^https:/], trustProxy: ['loopback', '10.0.0.0/8'] },
  { noServer: true, allowedOrigins: (origin) => origin?.endsWith('.example') === true },
  { server: web, verifyClient: ({ secure, req, remoteAddress }) => secure && req.headers.cookie !== remoteAddress },
  { port: 0, verifyClient: async (info) => info.req.url === '/' },
  { port: 0, verifyClient: ({ secure }, callback) => callback(secure, 403, 'no', { 'retry-after': '1' }) },
];

// @ts-expect-error an origin is a string
new RelayServer({ port: 0, allowedOrigins: [5] });
// @ts-expect-error the callback needs a decision
new RelayServer({ port: 0, verifyClient: ({ origin }, callback) => callback(origin) });
// @ts-expect-error an http server has its own paths
new RelayServer({ server: web, metrics: true });
// @ts-expect-error options are required
new RelayServer();
// @ts-expect-error one of port, server and noServer is required
new RelayServer({ host: 'localhost' });
// @ts-expect-error only one of them
new RelayServer({ port: 0, server: web });
// @ts-expect-error only one of them
new RelayServer({ port: 0, noServer: true });
// @ts-expect-error only one of them
new RelayServer({ server: web, noServer: true });
// @ts-expect-error noServer is true or not given
new RelayServer({ noServer: false });
// @ts-expect-error an application is not a server
new RelayServer({ server: () => {} });
// @ts-expect-error a path is a string
new RelayServer({ port: 0, path: /relay/ });
// @ts-expect-error the socket is required
web.on('upgrade', (request) => byHand.handleUpgrade(request));
// @ts-expect-error a port is not a boolean
new RelayServer({ port: true });
// @ts-expect-error there is no such option
new RelayServer({ port: 0, maxPayloads: 1 });
// @ts-expect-error an id is a number
server.registerRelayChannel('0', 1);
// @ts-expect-error a time is a number
server.close({ timeout: '1s' });
// @ts-expect-error expiresIn is a number
server.registerClient({ expiresIn: '1h' });
// @ts-expect-error there is no such option
server.registerClient({ expires: 1 });
// @ts-expect-error an id is a number
server.registerClient({ id: '7' });
// @ts-expect-error a token is a string
server.registerClient({ token: Buffer.alloc(16) });
// @ts-expect-error a number of clients
server.registerClients([{ id: 1 }]);
// @ts-expect-error one token is not for many
server.registerClients(2, { token: '0'.repeat(32) });
// @ts-expect-error a store has a path
new RelayServer({ port: 0, store: { durability: 'written' } });
// @ts-expect-error there is no such durability
new RelayServer({ port: 0, store: { path: 'relay.db', durability: 'full' } });
// @ts-expect-error there may be no store
export const committed = server.stats().store.committed;
// @ts-expect-error a room has ids
server.registerRelayChannels(['0', '1']);
// @ts-expect-error the ids are numbers
server.registerRelayChannels(0, ['1']);
// @ts-expect-error only one client joins
server.registerRelayChannels([0], [1]);
// @ts-expect-error a reason is a string
server.disconnectClient(id, 4000, 1);
// @ts-expect-error data is unknown
export const user = [...server.clients()][0]?.data.user;
// @ts-expect-error there is no such event
server.on('conection', () => {});
// @ts-expect-error a client id is a number
server.on('connection', (clientId: string) => clientId);
// @ts-expect-error a certificate is PEM
new RelayServer({ port: 0, cert: 1, key: 'PEM' });
// @ts-expect-error a certificate needs a key
server.setSecureContext({ cert: 'PEM' });
