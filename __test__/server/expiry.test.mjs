// Messages not received within `messageTtl` are dropped, their senders told, and all others arrive.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { happened, openClient } from './client.mjs';
import { Connection, listen, pair } from './support.mjs';

/** Connects the client of this package, which reconnects at once. */
const open = (t, server, client) => openClient(t, server, client, { reconnectionDelay: 1 });

/** Returns a growing list of the expired messages that a channel reports. */
function expiredOf(channel) {
  const expired = [];
  channel.on('expired', (first, last) => {
    for (let number = first; number <= last; number += 1) expired.push(number);
  });
  return expired;
}

test('expires messages of an absent client, and tells the channel, the server and its counters', async (t) => {
  const server = await listen(t, { messageTtl: 20 });
  const [ada, grace] = pair(server);
  const one = open(t, server, ada);
  const errors = [];
  one.on('error', (error) => errors.push(error));
  const to = one.createChannel(grace.id);
  const expired = expiredOf(to);
  const told = once(server, 'messagesExpired');
  const accepted = new Promise((resolve) => to.send('too late', resolve));
  await happened(to, 'expired');
  assert.equal(await accepted, undefined);
  assert.deepEqual(await told, [ada.id, grace.id, 1]);
  assert.deepEqual(expired, [1]);
  const { queuedMessages, queuedBytes, rejected, offences } = server.stats();
  assert.deepEqual({ queuedMessages, queuedBytes, rejected, offences }, { queuedMessages: 0, queuedBytes: 0, rejected: { ERR_MESSAGE_EXPIRED: 1 }, offences: {} });
  const from = open(t, server, grace).createChannel(ada.id);
  const joined = happened(to, 'join');
  const heard = happened(from, 'message');
  await joined;
  const delivered = happened(to, 'delivered');
  assert.equal(to.send('in time'), 2);
  assert.deepEqual(await heard, ['in time']);
  assert.deepEqual(await delivered, [2]);
  assert.deepEqual([expired, errors], [[1], []]);
});

test('tells a sender that was away when it reconnects', async (t) => {
  const server = await listen(t, { messageTtl: 20 });
  const [ada, grace] = pair(server);
  const one = open(t, server, ada);
  const to = one.createChannel(grace.id);
  const expired = expiredOf(to);
  await new Promise((resolve) => to.send('too late', resolve));
  const reconnect = async () => {
    const again = happened(one, 'open');
    assert.ok(server.disconnectClient(ada.id));
    await again;
  };
  // For as long as needed.
  while (!server.stats().rejected.ERR_MESSAGE_EXPIRED) await reconnect();
  while (expired.length < 1) await happened(to, 'expired');
  await reconnect();
  to.send('more');
  while (expired.length < 2) await happened(to, 'expired');
  assert.deepEqual(expired, [1, 2], 'each once');
});

test('expires messages of plain clients without telling them', async (t) => {
  const server = await listen(t, { messageTtl: 20 });
  const [ada, grace] = pair(server);
  const one = await Connection.open(server, ada);
  const told = once(server, 'messagesExpired');
  one.relay(grace.id, 'too late');
  assert.deepEqual(await told, [ada.id, grace.id, 1]);
  const connected = once(server, 'connection');
  const two = await Connection.open(server, grace);
  await connected;
  one.relay(grace.id, 'in time');
  assert.deepEqual(await two.relayed(), { senderId: ada.id, message: 'in time' });
  two.relay(ada.id, 'and back');
  assert.deepEqual(await one.relayed(), { senderId: grace.id, message: 'and back' });
});

test('delivers each message once and in order, or reports its expiry once, whatever breaks', async (t) => {
  const server = await listen(t, { messageTtl: 5, maxInFlightMessages: 4 });
  const [ada, grace] = pair(server);
  const [one, two] = [open(t, server, ada), open(t, server, grace)];
  const [to, from] = [one.createChannel(grace.id), two.createChannel(ada.id)];
  const expired = expiredOf(to);
  const heard = [];
  from.on('message', (message) => heard.push(Number(message)));
  let last = 0;
  for (let round = 0; round < 40; round += 1) {
    for (let n = 0; n < 10; n += 1) last = to.send(String(last + 1));
    // Both reconnect by themselves, one of them after the messages have expired.
    server.disconnectClient(round % 3 ? grace.id : ada.id);
    await new Promise((resolve) => to.send(String((last += 1)), resolve));
    if (round % 5 === 0 && !server.isConnected(grace.id)) await happened(two, 'open');
  }
  // When a message arrives, all before it have arrived or expired.
  do {
    last = to.send(String(last + 1));
    await Promise.race([happened(from, 'message'), happened(to, 'expired')]);
  } while (!heard.includes(last));
  const numbers = Array.from({ length: last }, (_, index) => index + 1);
  assert.deepEqual(heard, [...new Set(heard)].toSorted((a, b) => a - b), 'once and in order');
  assert.equal(new Set(expired).size, expired.length, 'told once');
  const isLost = (number) => !heard.includes(number) && !expired.includes(number);
  while (numbers.some(isLost)) await happened(to, 'expired');
  t.diagnostic(`${heard.length} heard, ${expired.length} expired of ${last}`);
});

test('accepts a messageTtl from 0 to the longest timer', async () => {
  for (const [messageTtl, name, message] of [
    ['1000', TypeError, /^options\.messageTtl must be an integer from 0 to 2147483647 \(milliseconds\); received '1000'/],
    [-1, RangeError, /^options\.messageTtl .* received -1/],
    [1.5, RangeError, /received 1\.5/],
    [2 ** 31, RangeError, /received 2147483648/],
    [NaN, RangeError, /received NaN/],
  ]) {
    assert.throws(() => new RelayServer({ port: 0, messageTtl }), (error) => error instanceof name && message.test(error.message));
  }
  const server = new RelayServer({ port: 0, host: '127.0.0.1', messageTtl: 0 });
  await server.close();
});
