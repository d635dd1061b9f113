import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { Rooms } from '../../examples/chat/rooms.mjs';

class FakeRelay extends EventEmitter {
  clients = 0;
  registerClient() {
    return { id: this.clients++, token: '' };
  }
  registerRelayChannel() {}
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
  assert.equal(await reloading, ada);
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
  assert.equal(relay.clients, 200);
  for (let n = 0; n < 200; n++) assert.ok(await arrive(relay, rooms, 'crowd'));
  assert.equal(await rooms.take('crowd'), undefined);
  assert.equal(relay.clients, 200);
});
