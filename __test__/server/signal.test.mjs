// One signal may close many servers.
import assert from 'node:assert/strict';
import { getEventListeners, getMaxListeners, once, setMaxListeners } from 'node:events';
import test from 'node:test';
import RelayServer from 'websocket-relay';

test('closes many servers by one signal, without a leak warning, and removes its listener', async (t) => {
  const warnings = [];
  const hear = (warning) => warnings.push(warning);
  process.on('warning', hear);
  t.after(() => process.off('warning', hear));
  for (const max of [undefined, 2]) {
    const controller = new AbortController();
    const { signal } = controller;
    if (max) setMaxListeners(max, signal);
    const before = getMaxListeners(signal);
    const servers = Array.from({ length: 40 }, () => new RelayServer({ noServer: true, signal }));
    assert.equal(getEventListeners(signal, 'abort').length, 1);
    assert.equal(getMaxListeners(signal), before);
    // Servers closed in another way are forgotten.
    await Promise.all(servers.splice(0, 20).map((server) => server.close()));
    assert.equal(getEventListeners(signal, 'abort').length, 1);
    const closed = servers.map((server) => once(server, 'close'));
    controller.abort();
    await Promise.all(closed);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    // And one created too late.
    await once(new RelayServer({ noServer: true, signal }), 'close');
  }
  assert.deepEqual(warnings, []);
});

test('removes the listener when the last server of a signal closes', async () => {
  const { signal } = new AbortController();
  for (let round = 0; round < 3; round += 1) {
    const servers = [1, 2].map(() => new RelayServer({ noServer: true, signal }));
    await Promise.all(servers.map((server) => server.close()));
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  }
});
