// A server in its own process, which it may crash: that is an outcome like any other. Follows commands from IPC messages and
// reports its events.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import net from 'node:net';

const require = createRequire(import.meta.url);
const RelayServer = require(process.argv[2]);

/** 0.3.3 does not expose its port. */
const { listen } = net.Server.prototype;
let port;
net.Server.prototype.listen = function (...args) {
  this.once('listening', () => (port = this.address().port));
  return listen.apply(this, args);
};

let server;
const verbs = {
  async start(options, listens) {
    const started = new Promise((resolve) => {
      server = new RelayServer({ port: 0, ...options }, resolve);
    });
    if (listens) server.on('error', (error) => process.send({ emitted: String(error) }));
    await started;
    return { port: port ?? server.address().port };
  },
  call: (method, args) => {
    try {
      return { returned: server[method](...args) };
    } catch ({ name, message }) {
      return { threw: { name, message } };
    }
  },
  stop: () => new Promise((resolve) => server.close((error) => resolve({ error: error && String(error) }))),
};

process.on('message', async ({ verb, args }) => process.send(await verbs[verb](...args)));
await once(process, 'disconnect');
process.exit();
