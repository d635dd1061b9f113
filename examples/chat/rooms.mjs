import { setTimeout as sleep } from 'node:timers/promises';

const NAMES = ['Ada', 'Grace'];
const MAX_ROOMS = 100;
/** Milliseconds in which a page must connect before its seat may be given to another one. */
const HOLD = 10_000;
/** Milliseconds to wait for the old connection of a page that reloads: it asks for its seat before that is closed. */
const RELOAD = 1_000;

/** Rooms of two seats. A seat is a client of the relay, and the two of a room share a channel. */
export class Rooms {
  #relay;
  /** The most recently used room comes first. */
  #rooms = [];

  constructor(relay) {
    this.#relay = relay;
    relay.on('connection', (clientId) => this.#count(clientId, +1));
    relay.on('disconnect', (clientId) => this.#count(clientId, -1));
  }

  /**
   * Returns a seat for a page: the one that it had before, or one beside a page that waits, or one in an empty room.
   * Pages of different groups never meet. Undefined if every seat is taken.
   */
  async take(group, key) {
    const old = this.#seats().find((seat) => seat.key === key && seat.room.group === group);
    if (old) await left(old);
    // Still connected: the page is a duplicate of one that stays, and gets the seat beside it.
    const seat = old && !old.connections ? old : this.#freeSeat(this.#roomFor(group, old), key);
    if (!seat) return undefined;
    seat.heldUntil = Date.now() + HOLD;
    this.#rooms = [seat.room, ...this.#rooms.filter((room) => room !== seat.room)];
    return seat;
  }

  #roomFor(group, old) {
    const rooms = this.#rooms.filter((room) => room.group === group && room.seats.some(isFree));
    return (
      rooms.find((room) => room === old?.room) ??
      rooms.find((room) => !room.seats.every(isFree)) ??
      rooms[0] ??
      (this.#rooms.length < MAX_ROOMS ? this.#addRoom(group) : this.#reuseRoom(group))
    );
  }

  /** The seat of the same name if it is free: after a restart of the server, pages keep their names. */
  #freeSeat(room, key) {
    const free = room?.seats.filter(isFree) ?? [];
    return free.find(({ name }) => key?.endsWith(name)) ?? free[0];
  }

  #addRoom(group) {
    const room = { number: this.#rooms.length, group };
    room.seats = NAMES.map((name) => {
      const { id, token } = this.#relay.registerClient();
      return { room, name, id, token, key: `${room.number}-${name}`, connections: 0, heldUntil: 0 };
    });
    this.#relay.registerRelayChannel(room.seats[0].id, room.seats[1].id);
    this.#rooms.push(room);
    return room;
  }

  #reuseRoom(group) {
    const room = this.#rooms.findLast(({ seats }) => seats.every(isFree));
    if (room) room.group = group;
    return room;
  }

  #count(clientId, change) {
    // A count, because a page may be connected again before its old connection is closed.
    const seat = this.#seats().find(({ id }) => id === clientId);
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
