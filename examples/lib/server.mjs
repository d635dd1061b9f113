// What the servers of the examples share, apart from the relay.

/** Ends the process with one sentence, for example when the port is in use. */
export function fail({ code, port, message }) {
  console.error(code === 'EADDRINUSE' ? `Port ${port} is in use. Set PORT to another one, for example PORT=${port + 1}.` : message);
  process.exit(1);
}

/** Closes the relay, then the web server, on Ctrl-C or SIGTERM. */
export function closeOnSignal(relayServer, server) {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      await relayServer.close();
      server.close();
      server.closeAllConnections();
    });
  }
}
