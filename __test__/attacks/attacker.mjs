// The attacker, in its own process with a lower priority than the others.
import os from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { attacks } from './attacks.mjs';
import { HEAD, Opcode, Peer, authentication, frame } from './peer.mjs';
import { serve } from './remote.mjs';

/** Connections opened at a time. */
const AT_ONCE = 100;

/** Number of local addresses that connections use: one has too few ports. */
const ADDRESSES = 200;

os.setPriority(os.constants.priority.PRIORITY_BELOW_NORMAL);

const parent = serve({
  /** Attacks, repeatedly until a time has passed, in milliseconds. */
  async run({ name, form, atLeast, ...place }) {
    const end = performance.now() + atLeast;
    const all = [];
    do all.push(await attacks[name].run(new Attacker(place, attacks[name][form], all.length + 1)));
    while (performance.now() < end);
    const count = all.reduce((sum, one) => sum + one.count, 0);
    const took = all.map((one) => one.took).reduce((most, one) => (most?.ms > one?.ms ? most : one));
    return { ...all[0], count, took, times: all.length };
  },
});

/** The methods that attacks use. */
class Attacker {
  #made = 0;

  /** The number of the repetition, from 1, by which totals are multiplied. */
  constructor({ pairs, ...place }, size, round) {
    Object.assign(this, { pairs, place, size, round });
  }

  /** Call the processes of the relay and of the healthy clients. */
  relay(...args) {
    return parent('relay', ...args);
  }

  healthy(...args) {
    return parent('healthy', ...args);
  }

  /** Begins a connection. */
  peer(options) {
    this.#made += 1;
    const localAddress = process.platform === 'linux' ? `127.0.1.${1 + (this.#made % ADDRESSES)}` : undefined;
    return new Peer({ ...this.place, localAddress, ...options });
  }

  /** Opens a connection and sends nothing. */
  async connect(options) {
    const peer = this.peer(options);
    await Promise.race([peer.connected, peer.ended]);
    return peer;
  }

  /** Opens a WebSocket, authenticated if a client is given. */
  async open(client, reliable) {
    const peer = await this.connect();
    peer.write(client ? Buffer.concat([Buffer.from(HEAD), authentication(client, reliable)]) : HEAD);
    return peer.until(() => peer.status);
  }

  /** Opens an authenticated WebSocket, retrying until it is admitted. */
  async admitted(client, more = true) {
    for (;;) {
      const peer = await this.open(client, more);
      await peer.until(() => peer.texts.length > 0 || peer.code);
      if (peer.texts.length > 0) return peer;
      peer.destroy();
    }
  }

  /** Calls a function `count` times with the numbers from 0, several at a time. Resolves to the results. */
  async many(count, run, atOnce = AT_ONCE) {
    const results = Array(count);
    let next = 0;
    const worker = async () => {
      while (next < count) {
        const n = next;
        next += 1;
        results[n] = await run(n);
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker));
    return results;
  }

  /** Resolves when the relay has read everything written to this connection. */
  async read(peer) {
    const { pongs } = peer;
    peer.write(frame(Opcode.PING));
    await peer.until(() => peer.pongs > pongs);
  }

  /** Resolves when the relay's statistics satisfy a condition. */
  async until(isSo) {
    while (!isSo(await this.relay('stats'))) await pause(50);
  }

  /** Resolves when a number is above 0 and has not changed for a while. */
  async settled(number) {
    for (let before = 0; before === 0 || before !== number(); ) {
      before = number();
      await pause(500);
    }
  }
}
