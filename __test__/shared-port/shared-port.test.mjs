// A relay and another library on one http server: each gets its own WebSockets, in any order and with slow verification, or
// the relay reports which library answered.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import RelayServer from 'websocket-relay';
import { Connection, pair } from '../server/support.mjs';
import { LIBRARIES, SERVERS } from './libraries.mjs';

/** Decides after the timers of other listeners: timers of the same length fire in the order of their creation. */
const SLOW = {
  verifyClient: async () => {
    await pause(20);
    await pause(20);
    return true;
  },
};

/** A library's server with a relay at `/relay`, attached first or last. */
async function share(t, { open }, server, isFirst, options) {
  const closers = [];
  const { web, talk } = await open({ after: (close) => closers.push(close) }, server);
  const sockets = new Set();
  web.on('connection', (socket) => sockets.add(socket.once('close', () => sockets.delete(socket))));
  const others = web.listeners('upgrade');
  if (isFirst) web.removeAllListeners('upgrade');
  const relay = new RelayServer({ server: web, path: '/relay', ...options });
  if (isFirst) others.forEach((listener) => web.on('upgrade', listener));
  const errors = [];
  relay.on('error', (error) => errors.push(error));
  t.after(async () => {
    await relay.close();
    sockets.forEach((socket) => socket.destroy());
    await Promise.all(closers.map((close) => close()));
    web.close();
  });
  await once(web.listen(0, '127.0.0.1'), 'listening');
  const url = `${server.scheme}://127.0.0.1:${web.address().port}`;
  return { web, relay, errors, url, talk: () => talk(url, server.ca), place: { url: `${url}/relay`, ca: server.ca } };
}

for (const [name, library] of Object.entries(LIBRARIES)) {
  for (const [kind, makeServer] of Object.entries(SERVERS)) {
    for (const [speed, options] of Object.entries({ 'no verification': {}, 'slow verification': SLOW })) {
      for (const isFirst of [true, false]) {
        const title = `${name}, ${kind}, ${speed}, relay attached ${isFirst ? 'first' : 'last'}`;
        const isLost = library.loses && (kind === 'https' || process.platform === 'win32');
        if (!isLost) {
          test(`${title}: serves both`, async (t) => {
            const { relay, errors, talk, place } = await share(t, library, makeServer(), isFirst, options);
            const clients = pair(relay);
            const [one, two, heard] = await Promise.all([...clients.map((client) => Connection.open(place, client)), talk()]);
            assert.equal(heard, 'its own');
            one.relay(clients[1].id, 'hello');
            assert.equal((await two.relayed()).message, 'hello');
            assert.equal(await talk(), 'its own');
            assert.deepEqual([errors, relay.stats().turnedAway], [[], {}]);
            for (const { socket } of [one, two]) socket.terminate();
          });
        } else {
          test(`${title}: reports the library that answered`, async (t) => {
            const { relay, errors, talk, place } = await share(t, library, makeServer(), isFirst, options);
            const { closed } = new Connection(place);
            const told = await Promise.race([closed, once(relay, 'error')]);
            if (!Array.isArray(told)) await once(relay, 'error');
            assert.equal(errors.length, 1);
            assert.equal(errors[0].code, 'ERR_UPGRADE_TAKEN');
            assert.match(errors[0].message, library.loses);
            assert.deepEqual(relay.stats().turnedAway, { taken: 1 });
            await closed;
            assert.equal(await talk(), 'its own');
          });
        }
      }
    }
  }
}
