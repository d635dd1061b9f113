// Messages received over the plain protocol: none is lost or reordered, whenever the channel is created and listened to.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import { startServer } from './server.mjs';

/** Returns a relay and the server's end of its connection. */
async function connect(t) {
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, { clientId: 0, token: 'x', reliable: false });
  const [peer] = await Promise.all([server.connection(), once(relay, 'open')]);
  // Resolves when everything sent so far has arrived, because the connection keeps the order.
  const arrived = async () => {
    const channel = relay.createChannel(999);
    peer.relay(999, 'mark');
    await once(channel, 'message');
  };
  t.after(() => relay.close());
  return { relay, peer, arrived };
}

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => String(from + index));

test('emits messages received before the channel was created when a listener is added', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  peer.relay(1, ...numbers(1, 5));
  await arrived();
  const channel = relay.createChannel(1);
  peer.relay(1, ...numbers(6, 10));
  await arrived();
  const emitted = [];
  channel.on('message', (message) => emitted.push(message));
  assert.deepEqual(emitted, [], 'not while the listener is being added');
  await Promise.resolve();
  assert.deepEqual(emitted, numbers(1, 10));
  peer.relay(1, '11');
  await arrived();
  assert.deepEqual(emitted, numbers(1, 11));
});

test('emitQueuedMessages emits waiting messages at once, oldest first, each once', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  peer.relay(1, ...numbers(1, 5));
  await arrived();
  const channel = relay.createChannel(1);
  const emitted = [];
  channel.on('message', (message) => emitted.push(message));
  channel.emitQueuedMessages();
  assert.deepEqual(emitted, numbers(1, 5));
  channel.emitQueuedMessages();
  await arrived();
  assert.deepEqual(emitted, numbers(1, 5));
});

test('emitQueuedMessages keeps the messages if there is no listener', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  peer.relay(1, 'a', 'b');
  await arrived();
  const channel = relay.createChannel(1);
  channel.emitQueuedMessages();
  assert.deepEqual(await once(channel, 'message'), ['a']);
  assert.deepEqual(await once(channel, 'message'), ['b']);
});

test('emits waiting messages before one that arrives', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  peer.relay(1, '1', '2');
  await arrived();
  const channel = relay.createChannel(1);
  const emitted = [];
  await new Promise((resolve) => {
    channel.once('message', (message) => {
      emitted.push(message);
      // From here on there is no listener, so the rest waits.
      resolve();
    });
  });
  peer.relay(1, '3');
  await arrived();
  assert.deepEqual(emitted, ['1']);
  channel.on('message', (message) => emitted.push(message));
  peer.relay(1, '4');
  await arrived();
  assert.deepEqual(emitted, numbers(1, 4));
});

test('keeps the messages of different senders apart', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  for (const number of numbers(1, 3)) for (const sender of [1, 2, 0]) peer.relay(sender, `${sender}:${number}`);
  await arrived();
  for (const sender of [0, 1, 2]) {
    const emitted = [];
    relay.createChannel(sender).on('message', (message) => emitted.push(message));
    await Promise.resolve();
    assert.deepEqual(emitted, numbers(1, 3).map((number) => `${sender}:${number}`));
  }
});

test('all listeners get the messages in order if one calls emitQueuedMessages', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  peer.relay(1, ...numbers(1, 5));
  await arrived();
  const channel = relay.createChannel(1);
  const emitted = [[], []];
  channel.on('message', (message) => {
    emitted[0].push(message);
    channel.emitQueuedMessages();
  });
  channel.on('message', (message) => emitted[1].push(message));
  peer.relay(1, '6');
  await arrived();
  assert.deepEqual(emitted, [numbers(1, 6), numbers(1, 6)]);
});

test('a listener may send, close the relay and replace itself', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  peer.relay(1, ...numbers(1, 4));
  await arrived();
  const channel = relay.createChannel(1);
  const emitted = [];
  const second = (message) => {
    emitted.push(`second ${message}`);
    channel.send(`answer to ${message}`);
    if (message === '4') relay.close();
  };
  channel.on('message', function first(message) {
    emitted.push(`first ${message}`);
    if (message === '2') channel.off('message', first).on('message', second);
  });
  await peer.closed;
  assert.deepEqual(emitted, ['first 1', 'first 2', 'second 3', 'second 4']);
  assert.deepEqual(peer.frames.slice(1).map((text) => JSON.parse(text).relay.message), ['answer to 3', 'answer to 4']);
});

test('no message is lost or reordered if a listener throws', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  const uncaught = [];
  const microtask = globalThis.queueMicrotask;
  t.mock.method(globalThis, 'queueMicrotask', (task) =>
    microtask(() => {
      try {
        task();
      } catch (error) {
        uncaught.push(error.message);
      }
    }),
  );
  peer.relay(1, ...numbers(1, 3));
  await arrived();
  const emitted = [[], []];
  const channel = relay.createChannel(1);
  channel.on('message', (message) => {
    emitted[0].push(message);
    throw new Error(`over ${message}`);
  });
  channel.on('message', (message) => emitted[1].push(message));
  channel.emitQueuedMessages();
  peer.relay(1, ...numbers(4, 6));
  await arrived();
  assert.deepEqual(emitted, [numbers(1, 6), numbers(1, 6)]);
  assert.deepEqual(uncaught, numbers(1, 6).map((number) => `over ${number}`));
});

test('ignores frames that it does not understand', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  relay.on('error', assert.fail).on('close', assert.fail);
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  for (const text of ['', 'null', '{}', '[1', '{"relay":null}', '{"relay":{"senderId":1,"message":2}}', '{"ping":{}}']) peer.socket.send(text);
  peer.socket.send(Buffer.from('{"relay":{"senderId":1'));
  peer.relay(1, 'a');
  await arrived();
  assert.deepEqual(emitted, ['a']);
  relay.removeAllListeners();
});

test('keeps ten thousand waiting messages per sender and refuses one more with an error', async (t) => {
  const { relay, peer, arrived } = await connect(t);
  const errors = [];
  relay.on('error', (error) => errors.push(error));
  peer.relay(1, ...numbers(1, 10_000));
  peer.relay(2, 'other');
  await arrived();
  assert.deepEqual(errors, []);
  peer.relay(1, '10001');
  await arrived();
  assert.equal(errors.length, 1);
  assert.equal(errors[0].code, 'ERR_QUEUE_FULL');
  assert.match(errors[0].message, /client 1\b/);
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  relay.createChannel(1).emitQueuedMessages();
  peer.relay(1, '10002');
  await arrived();
  assert.deepEqual(emitted, [...numbers(1, 10_000), '10002']);
});
