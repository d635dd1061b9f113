import { setTimeout as sleep } from 'node:timers/promises';

const NAMES = ['Ada', 'Grace'];
const MAX_ROOMS = 100;
/** Milliseconds in which a page must connect before its seat may be given to another one. */
const HOLD = 10_000;
/** Milliseconds to wait for the old connection of a page that reloads: it asks for its seat before that is closed. */
const RELOAD = 1_000;
/** Milliseconds in which pages come back after a restart. */
const RETURN = 3_000;

/**
 * Rooms of two seats. A seat is a client of the relay, and the two of a room share a channel. What a seat is stands in the
 * `data` of its client, which the relay's store keeps: after a restart the rooms are made from it.
 */
export class Rooms {
  #relay;
  /** The most recently used room comes first. */
  #rooms = [];
  #lastNumber = 0;
  #areBack;

  constructor(relay) {
    this.#relay = relay;
    relay.on('connection', (clientId) => this.#count(clientId, +1));
    relay.on('disconnect', (clientId) => this.#count(clientId, -1));
    for (const { id, data } of relay.clients()) this.#addSeat(this.#roomOf(data), data.name, id);
    // The process may have ended between two registrations.
    for (const room of this.#rooms) this.#complete(room);
    if (this.#rooms.length > 0) this.#areBack = sleep(RETURN, undefined, { ref: false });
  }

  /**
   * Returns a seat for a page: the one that it had before, or one beside a page that waits, or one in an empty room.
   * Pages of different groups never meet. Undefined if every seat is taken.
   */
  async take(group, key) {
    const old = this.#seats().find((seat) => seat.key === key && seat.room.group === group);
    if (old) await left(old);
    else await this.#areBack;
    // Still connected: the page is a duplicate of one that stays, and gets the seat beside it.
    const seat = old && !old.connections ? old : this.#roomFor(group, old)?.seats.find(isFree);
    if (!seat) return undefined;
    seat.heldUntil = Date.now() + HOLD;
    this.#rooms = [seat.room, ...this.#rooms.filter((room) => room !== seat.room)];
    // A new token: that of the page that had the seat before is worth nothing from now on.
    return { ...seat, token: this.#relay.refreshToken(seat.id) };
  }

  #roomFor(group, old) {
    const rooms = this.#rooms.filter((room) => room.group === group && room.seats.some(isFree));
    return (
      rooms.find((room) => room === old?.room) ??
      rooms.find((room) => !room.seats.every(isFree)) ??
      rooms[0] ??
      this.#newRoom(group)
    );
  }

  #newRoom(group) {
    if (this.#rooms.length === MAX_ROOMS) {
      const room = this.#rooms.findLast(({ seats }) => seats.every(isFree));
      if (!room) return undefined;
      for (const { id } of room.seats) this.#relay.unregisterClient(id);
      this.#rooms = this.#rooms.filter((one) => one !== room);
    }
    return this.#complete(this.#roomOf({ room: this.#lastNumber + 1, group }));
  }

  #roomOf({ room: number, group }) {
    const known = this.#rooms.find((room) => room.number === number);
    if (known) return known;
    const room = { number, group, seats: [] };
    this.#rooms.push(room);
    this.#lastNumber = Math.max(this.#lastNumber, number);
    return room;
  }

  /** Registers what a room lacks: its seats, and their channel. */
  #complete(room) {
    for (const name of NAMES) {
      if (room.seats.some((seat) => seat.name === name)) continue;
      const { id } = this.#relay.registerClient({ data: { room: room.number, group: room.group, name } });
      this.#addSeat(room, name, id);
    }
    this.#relay.registerRelayChannels(room.seats.map(({ id }) => id));
    return room;
  }

  #addSeat(room, name, id) {
    room.seats.push({ room, name, id, key: String(id), connections: 0, heldUntil: 0 });
  }

  #count(clientId, change) {
    // A count, because a page may be connected again before its old connection is closed.
    const seat = this.#seats().find(({ id }) => id === clientId);
    if (!seat) return;
    seat.connections += change;
    seat.heldUntil = 0;
  }

  #seats() {
    return this.#rooms.flatMap(({ seats }) => seats);
  }
}

function isFree({ connections, heldUntil }) {
  return connections === 0 && Date.now() > heldUntil;
}

async function left(seat) {
  for (const end = Date.now() + RELOAD; seat.connections && Date.now() < end; ) await sleep(20);
}
