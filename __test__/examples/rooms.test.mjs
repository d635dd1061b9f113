import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { after, before, test } from 'node:test';
import { Rooms } from '../../examples/chat/rooms.mjs';

// A server has its port to keep it running.
let running;
before(() => (running = setInterval(() => {}, 60_000)));
after(() => clearInterval(running));

/** What the chat needs of a relay. Its clients and channels are what a store would keep. */
class FakeRelay extends EventEmitter {
  registered = new Map();
  channels = [];
  ids = 0;
  registerClient({ data }) {
    this.registered.set(this.ids, data);
    return { id: this.ids++ };
  }
  unregisterClient(id) {
    this.registered.delete(id);
  }
  registerRelayChannels(ids) {
    this.channels.push(ids);
  }
  refreshToken() {
    return '';
  }
  *clients() {
    for (const [id, data] of this.registered) yield { id, data: JSON.parse(JSON.stringify(data)) };
  }
  /** The relay after a restart: nobody is connected, and nobody listens yet. */
  restart() {
    this.removeAllListeners();
    return this;
  }
}

async function arrive(relay, rooms, group, key) {
  const seat = await rooms.take(group, key);
  if (seat) relay.emit('connection', seat.id);
  return seat;
}

test('a page gets its seat back, and a duplicated tab the seat beside it', async () => {
  const relay = new FakeRelay();
  const rooms = new Rooms(relay);
  const ada = await arrive(relay, rooms, '');
  const reloading = rooms.take('', ada.key);
  relay.emit('disconnect', ada.id);
  assert.equal((await reloading).id, ada.id);
  relay.emit('connection', ada.id);
  const copy = await rooms.take('', ada.key);
  assert.equal(copy.name, 'Grace');
  assert.equal(copy.room, ada.room);
});

test('groups never share a room', async () => {
  const relay = new FakeRelay();
  const rooms = new Rooms(relay);
  const [a, b, c] = [await arrive(relay, rooms, 'x'), await arrive(relay, rooms, 'y'), await arrive(relay, rooms, 'x')];
  assert.notEqual(a.room, b.room);
  assert.equal(a.room, c.room);
});

test('registers at most 200 clients', async () => {
  const relay = new FakeRelay();
  const rooms = new Rooms(relay);
  for (let n = 0; n < 300; n++) {
    const seat = await arrive(relay, rooms, `group ${n}`);
    relay.emit('disconnect', seat.id);
  }
  assert.equal(relay.registered.size, 200);
  for (let n = 0; n < 200; n++) assert.ok(await arrive(relay, rooms, 'crowd'));
  assert.equal(await rooms.take('crowd'), undefined);
  assert.equal(relay.registered.size, 200);
});

test('a restarted server knows the seats, and asks newcomers to wait for those who had one', async () => {
  const relay = new FakeRelay();
  let rooms = new Rooms(relay);
  const [ada, grace, other] = [await arrive(relay, rooms, ''), await arrive(relay, rooms, ''), await arrive(relay, rooms, 'side by side')];

  rooms = new Rooms(relay.restart());
  const newcomer = rooms.take('');
  for (const { id } of [ada, grace, other]) relay.emit('connection', id);
  assert.ok(![ada.id, grace.id, other.id].includes((await newcomer).id));
  for (const { id } of [ada, grace, other]) relay.emit('disconnect', id);
  const again = await rooms.take('side by side', other.key);
  assert.deepEqual([again.id, again.name, again.room.group], [other.id, 'Ada', 'side by side']);
});

test('a room whose registration was cut short is completed', async () => {
  const relay = new FakeRelay();
  relay.registerClient({ data: { room: 7, group: '', name: 'Grace' } });
  const rooms = new Rooms(relay);
  assert.deepEqual([...relay.registered.values()].map(({ room, name }) => `${name} in ${room}`), ['Grace in 7', 'Ada in 7']);
  assert.deepEqual(relay.channels, [[0, 1]]);
  assert.equal((await rooms.take('')).room.number, 7);
});
