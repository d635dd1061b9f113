// What a CommonJS user writes. Compiled, never run.
import RelayServer = require('websocket-relay');
import { once } from 'node:events';

const server = new RelayServer({ port: 4000, host: 'localhost', authorizeAllChannels: true, maxPayload: 1000 }, () => {});
new RelayServer({ port: '4000' });
const { id, token }: { id: number; token: string } = server.registerClient();
server.registerRelayChannel(id, id);
server.on('connection', (clientId) => clientId.toFixed());
server.on('disconnect', (clientId, code, reason) => `${clientId.toFixed()} ${code.toFixed()} ${reason.trim()}`);
server.once('error', (error) => error.code?.trim());
server.ref().unref().on('close', () => {});
const port: number | undefined = server.address()?.port;
server.close();
server.close((error) => error?.message);
const closed: Promise<void> = server.close();
const options: RelayServer.Options = { port: 0 };
const Named: typeof RelayServer = RelayServer.RelayServer;
export const used = [token, port, closed, options, Named, once(server, 'listening')];

// @ts-expect-error options are needed
new RelayServer();
// @ts-expect-error and so is the port
new RelayServer({ host: 'localhost' });
// @ts-expect-error a port is no boolean
new RelayServer({ port: true });
// @ts-expect-error there is no such option
new RelayServer({ port: 0, maxPayloads: 1 });
// @ts-expect-error an id is a number
server.registerRelayChannel('0', 1);
// @ts-expect-error there is no such event
server.on('conection', () => {});
// @ts-expect-error a client id is a number
server.on('connection', (clientId: string) => clientId);
