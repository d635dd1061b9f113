// A TCP proxy in front of the server, with the faults of a bad network.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** Duration of a stall, in milliseconds. */
const STALLED = [20, 600];

/** Milliseconds until an orphaned client is cut off, and until its bytes are delivered after that. */
const ORPHANED = [20, 200];

/** Bytes of a direction that are chopped. */
const CHOPPED = [20, 800];

/** Number of recent faults kept for reports. */
const REMEMBERED = 12;

/** A port that forwards to the server over connections with faults. */
export class Proxy {
  #target;
  #random;
  #server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  /** The fates of the next connections. */
  #next = [];
  #links = new Set();
  /** The last faults, oldest first. */
  faults = [];
  /** The number of connections accepted. */
  accepted = 0;

  /** @param target - `host` and `port` of the server */
  constructor(target, random) {
    this.#target = target;
    this.#random = random;
  }

  /** Opens the port and resolves to its address. */
  async listen() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `127.0.0.1:${this.#server.address().port}`;
  }

  /** Applies a fault, the name of a method below, to every connection. Half-open ones stay as they are. */
  strike(fault) {
    const links = [...this.#links].filter((link) => !link.halfOpen);
    this.faults.push(`${new Date().toISOString().slice(14, -1)} ${fault} of ${links.length}`);
    if (this.faults.length > REMEMBERED) this.faults.shift();
    for (const link of links) this[fault](link);
  }

  /** Ends both sides with FIN, after the forwarded bytes. */
  cut(link) {
    link.cut();
  }

  /** Resets both sides with RST. Forwarded bytes may be lost. */
  reset(link) {
    link.reset();
  }

  /** Delays all bytes for a while. */
  stall(link) {
    link.stall(this.#random.between(...STALLED));
  }

  /** Forwards some bytes in pieces of 1 to 7. */
  chop(link) {
    link.chop(this.#random.between(...CHOPPED));
  }

  /** Half-open in both directions: swallows everything from now on, ends included. */
  swallow(link) {
    link.swallow(true, true);
  }

  /** Half-open in one direction: swallows the client's bytes. */
  swallowUp(link) {
    link.swallow(true, false);
  }

  /** Half-open in one direction: swallows the server's bytes. */
  swallowDown(link) {
    link.swallow(false, true);
  }

  /** Resets, and swallows the next connection from its first byte. */
  deafen(link) {
    this.#next.push((next) => next.swallow(true, true));
    link.reset();
  }

  /**
   * Resets, and soon cuts off the client of the next connection. Its bytes after the first chunk, the HTTP request, are
   * delivered later, when the client may have reconnected.
   */
  orphan(link) {
    this.#next.push((next) => next.orphan(this.#random.between(...ORPHANED), this.#random.between(...STALLED)));
    link.reset();
  }

  close() {
    this.#server.close();
    for (const link of this.#links) link.reset();
  }

  #accept(socket) {
    this.accepted += 1;
    const link = new Link(socket, this.#target, this.#random, () => this.#links.delete(link));
    this.#links.add(link);
    this.#next.shift()?.(link);
  }
}

/** A client's connection and its connection to the server. */
class Link {
  #sockets;
  #up;
  #down;
  #timer;
  halfOpen = false;

  constructor(client, target, random, closed) {
    const server = connect({ ...target, allowHalfOpen: true, noDelay: true });
    this.#sockets = [client, server];
    this.#up = new Pipe(client, server, random);
    this.#down = new Pipe(server, client, random);
    client.on('close', () => this.#closed(server, closed));
    server.on('close', () => this.#closed(client, closed));
  }

  cut() {
    this.#up.cut();
    this.#down.cut();
  }

  reset() {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  stall(milliseconds) {
    this.#up.stall();
    this.#down.stall();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#up.goOn();
      this.#down.goOn();
    }, milliseconds);
  }

  orphan(silence, delay) {
    // No other fault may hit it meanwhile.
    this.halfOpen = true;
    this.#up.stallAfterFirst();
    this.#timer = setTimeout(() => {
      this.#down.cut();
      this.#timer = setTimeout(() => this.#up.goOn(), delay);
    }, silence);
  }

  chop(bytes) {
    this.#up.chop(bytes);
    this.#down.chop(bytes);
  }

  swallow(up, down) {
    this.halfOpen = true;
    if (up) this.#up.swallow();
    if (down) this.#down.swallow();
  }

  #closed(other, closed) {
    // Once both have ended, nothing is left to forward.
    if (other.readableEnded) other.destroy();
    if (!other.closed) return;
    clearTimeout(this.#timer);
    closed();
  }
}

/** One direction. It holds at most one chunk, and reads nothing while that is being written. */
class Pipe {
  #from;
  /** `null` if everything is discarded. */
  #to;
  #random;
  #chunk = null;
  #chopped = 0;
  #stalled = false;
  #swallows = false;
  #ended = false;

  constructor(from, to, random) {
    this.#from = from;
    this.#to = to;
    this.#random = random;
    from.on('data', (chunk) => this.#take(chunk));
    from.on('end', () => this.#end());
    from.on('error', () => {});
    from.on('close', (broken) => {
      // Forwards a reset. An end has been forwarded already, after the bytes before it.
      if (broken && !this.#swallows) to.resetAndDestroy();
    });
    to.on('drain', () => this.#forward());
    to.on('close', () => this.#discard());
  }

  stall() {
    this.#stalled = true;
  }

  stallAfterFirst() {
    this.#from.once('data', () => this.stall());
  }

  goOn() {
    this.#stalled = false;
    this.#forward();
  }

  chop(bytes) {
    this.#chopped = bytes;
  }

  cut() {
    this.#to?.end();
    this.#discard();
  }

  swallow() {
    this.#swallows = true;
    this.#discard();
  }

  #discard() {
    this.#to = null;
    this.#chunk = null;
    this.#from.resume();
  }

  #take(chunk) {
    if (!this.#to) return;
    this.#from.pause();
    this.#chunk = chunk;
    this.#forward();
  }

  #end() {
    this.#ended = true;
    if (this.#to) this.#forward();
    else this.#from.destroy();
  }

  #forward() {
    if (!this.#to || this.#stalled || this.#to.writableNeedDrain) return;
    if (this.#chunk && this.#chopped > 0) this.#forwardPiece();
    else this.#forwardAll();
  }

  #forwardPiece() {
    const size = this.#random.between(1, 7);
    const piece = this.#chunk.subarray(0, size);
    this.#chunk = this.#chunk.length > size ? this.#chunk.subarray(size) : null;
    this.#chopped -= size;
    // One at a time, or the system would combine them.
    this.#to.write(piece, () => setImmediate(() => this.#forward()));
  }

  #forwardAll() {
    const chunk = this.#chunk;
    this.#chunk = null;
    if (chunk && !this.#to.write(chunk)) return;
    if (this.#ended) this.#to.end();
    else this.#from.resume();
  }
}
