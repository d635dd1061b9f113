'use strict';

// Loaded by a block of the documents that is run as a program: tells the test when its servers listen, and closes them.

const { once } = require('node:events');

// The test's channel does not keep a program alive that is done.
process.channel?.unref();

/** @param {{ relayServer?: import('websocket-relay'), server?: import('node:http').Server }} made what the block has made */
exports.ready = async ({ relayServer, server }) => {
  process.once('message', () => close({ relayServer, server }));
  process.channel?.unref();
  const listens = server ?? relayServer;
  // A relay with `noServer` has no address, and nothing to wait for.
  if (listens && !listens.address() && listens !== relayServer) await once(listens, 'listening');
  else if (relayServer && !relayServer.address() && !server) await Promise.race([once(relayServer, 'listening'), once(relayServer, 'close')]);
  process.send({ port: listens?.address()?.port });
};

async function close({ relayServer, server }) {
  await relayServer?.close();
  server?.close();
  server?.closeAllConnections?.();
  process.disconnect();
}
