// The attacker, in a process of its own that has less of the processor than the others.
import os from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { attacks } from './attacks.mjs';
import { HEAD, Opcode, Peer, authentication, frame } from './peer.mjs';
import { serve } from './remote.mjs';

/** Connections that are made at one time. */
const AT_ONCE = 100;

/** How many addresses of this machine connections come from: one has too few ports for all. */
const ADDRESSES = 200;

os.setPriority(os.constants.priority.PRIORITY_BELOW_NORMAL);

const parent = serve({
  /** Attacks, and again until so many milliseconds have passed. */
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

/** What an attack has at hand. */
class Attacker {
  #made = 0;

  /** The how manieth time it is, from 1. What is counted in all is so many times as much. */
  constructor({ pairs, ...place }, size, round) {
    Object.assign(this, { pairs, place, size, round });
  }

  /** Calls the relay's process, and that of the healthy pairs. */
  relay(...args) {
    return parent('relay', ...args);
  }

  healthy(...args) {
    return parent('healthy', ...args);
  }

  /** A connection that is being made. */
  peer(options) {
    this.#made += 1;
    const localAddress = process.platform === 'linux' ? `127.0.1.${1 + (this.#made % ADDRESSES)}` : undefined;
    return new Peer({ ...this.place, localAddress, ...options });
  }

  /** A connection on which nothing was sent. */
  async connect(options) {
    const peer = this.peer(options);
    await Promise.race([peer.connected, peer.ended]);
    return peer;
  }

  /** A WebSocket; of a client, if one is given. */
  async open(client, reliable) {
    const peer = await this.connect();
    peer.write(client ? Buffer.concat([Buffer.from(HEAD), authentication(client, reliable)]) : HEAD);
    return peer.until(() => peer.status);
  }

  /** A client that is let in, sooner or later. It may ask for more than reliable delivery. */
  async admitted(client, more = true) {
    for (;;) {
      const peer = await this.open(client, more);
      await peer.until(() => peer.texts.length > 0 || peer.code);
      if (peer.texts.length > 0) return peer;
      peer.destroy();
    }
  }

  /** Runs it so many times, with a number from 0 up, some at a time; all results. */
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

  /** Resolves when all that was written to this connection has been read. */
  async read(peer) {
    const { pongs } = peer;
    peer.write(frame(Opcode.PING));
    await peer.until(() => peer.pongs > pongs);
  }

  /** Resolves when the relay's statistics are so. */
  async until(isSo) {
    while (!isSo(await this.relay('stats'))) await pause(50);
  }

  /** Resolves when a number is not 0 any more, and has not changed for a while. */
  async settled(number) {
    for (let before = 0; before === 0 || before !== number(); ) {
      before = number();
      await pause(500);
    }
  }
}
