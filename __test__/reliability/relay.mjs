// A relay in a process of its own, which can be killed and started again on the same port and the same store.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { kill, start, tell } from './processes.mjs';

/** Ports that outgoing connections do not get. While the relay is down, one could take its port, or connect to itself. */
const PORTS = [10_000, 32_000];

export class RelayProcess {
  #order;
  #child;
  #isListening = false;
  #clients;
  #channels = [];
  /** Channels that the relay has not confirmed, oldest first. */
  #unconfirmed = [];
  /** The last report of each process. */
  #reports = [];
  /** Resolves once the process listens, to the relay's `url` and certificate (`ca`), and its `clients`. If killed before, never. */
  listening;
  /** Resolves once the process has relayed a message. If killed before, never. */
  relaying;
  /** The memory of all processes at regular intervals, in bytes. */
  rss = [];

  /** @param order - the `entry` (see entries.mjs), the `options` of the server, and the number of `clients` to register */
  constructor(order) {
    this.#order = order;
    this.start();
  }

  start() {
    const { options, clients } = this.#order;
    // A store keeps clients and channels. Without one the same are registered again.
    const kept = options.store ? [] : this.#clients;
    if (!options.store) this.#unconfirmed = [...this.#channels];
    this.#child = start('server.mjs', { ...this.#order, clients: this.#clients ? kept : clients });
    this.#reports.push({ errors: {} });
    this.#follow(this.#child);
  }

  /** Registers channels, each the two ids of its clients. */
  register(channels) {
    this.#channels.push(...channels);
    this.#unconfirmed.push(...channels);
    if (this.#isListening) tell(this.#child, { channels });
  }

  async kill() {
    this.#isListening = false;
    await kill(this.#child);
  }

  /** Closes the server. Resolves to the last reports of all processes. */
  async close() {
    // Comes behind its last message, unlike 'exit'.
    const over = once(this.#child, 'disconnect');
    tell(this.#child, { close: true });
    await over;
    return this.#reports;
  }

  #follow(child) {
    let [listens, relays] = [];
    this.listening = new Promise((resolve) => (listens = resolve));
    this.relaying = new Promise((resolve) => (relays = resolve));
    child.on('message', ({ place, confirmed, report }) => {
      // The last words of a process that was killed.
      if (child !== this.#child) return;
      if (place) {
        this.#clients ??= place.clients;
        this.#isListening = true;
        tell(child, { channels: this.#unconfirmed });
        listens({ ...place, clients: this.#clients });
      }
      if (confirmed) this.#unconfirmed.splice(0, confirmed);
      if (report) {
        this.#reports[this.#reports.length - 1] = report;
        this.rss.push(report.rss);
        if (report.relayedMessages > 0) relays();
      }
    });
  }
}

/** Resolves to a port that is free. */
export async function freePort(random) {
  for (;;) {
    const server = createServer().listen(random.between(...PORTS), '127.0.0.1');
    const isFree = await once(server, 'listening').then(() => true, () => false);
    if (!isFree) continue;
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
