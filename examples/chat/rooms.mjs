import { setTimeout as sleep } from 'node:timers/promises';

const NAMES = ['Ada', 'Grace'];
const MAX_ROOMS = 100;
/** A page that was given a seat has so many milliseconds to connect before another may be given it. */
const HOLD = 10_000;
/** A page that reloads asks for its seat a moment before the server sees its old connection go. */
const RELOAD = 1_000;

/** Rooms of two seats. A seat is a client of the relay, and the two of a room share a channel. */
export class Rooms {
  #relay;
  /** The one that was used last stands first. */
  #rooms = [];

  constructor(relay) {
    this.#relay = relay;
    relay.on('connection', (clientId) => this.#count(clientId, +1));
    relay.on('disconnect', (clientId) => this.#count(clientId, -1));
  }

  /**
   * A seat for a page: the one whose key it had before, or one beside somebody who waits, or one in an empty room.
   * Pages of different groups never meet. Undefined when every seat is taken.
   */
  async take(group, key) {
    const old = this.#seats().find((seat) => seat.key === key && seat.room.group === group);
    if (old) await left(old);
    // Still there: the page is a copy of one that stays, as "Duplicate tab" makes it, and sits down beside it.
    const seat = old && !old.connections ? old : this.#roomFor(group, old)?.seats.find(isFree);
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
    // A page that takes its seat anew may be there before its old connection is gone: hence a count.
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
