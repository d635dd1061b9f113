// Uses of the types from an ES module. Compiled, never run.
import RelayServer, { RelayServer as Named } from 'websocket-relay';

const server: RelayServer = new Named({ port: 0 });
const client: RelayServer.RegisteredClient = server.registerClient();
export const used: unknown[] = [client.token, await server.close()];
