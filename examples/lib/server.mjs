// What the servers of the examples share.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Ends the process with one sentence, for example when the port is in use. */
export function fail({ code, port, message }) {
  console.error(code === 'EADDRINUSE' ? `Port ${port} is in use. Set PORT to another one, for example PORT=${port + 1}.` : message);
  process.exit(1);
}

/** Returns where a relay keeps its clients and messages: in `relay.db` beside its server, or in the file that STORE names. */
export function storeBeside(serverUrl) {
  return process.env.STORE ?? fileURLToPath(new URL('relay.db', serverUrl));
}

/** Waits until a relay listens, and says so; ends the process if its port or its store cannot be opened. */
export async function listening(relayServer, store, welcome) {
  await once(relayServer, 'listening').catch(fail);
  if (welcome) console.log(welcome);
  console.log(`A restart loses nothing: clients and messages are kept in ${store}. Delete it to start afresh.`);
}

/** Closes the relay, then the web server, on Ctrl-C or SIGTERM. The relay's store keeps its clients for the next server. */
export function closeOnSignal(relayServer, server) {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      // That their connections end now does not mean that the clients leave.
      relayServer.removeAllListeners('disconnect');
      await relayServer.close();
      server.close();
      server.closeAllConnections();
    });
  }
}
