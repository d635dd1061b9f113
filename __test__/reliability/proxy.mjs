// A bad network: a TCP proxy in front of the server whose connections break in all the ways that real ones do.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** How many milliseconds a connection is stalled for. */
const STALLED = [20, 600];

/** How many milliseconds a client hears nothing before it is cut off, and how many later what it said arrives. */
const ORPHANED = [20, 200];

/** How many bytes of a direction are chopped before the rest passes whole again. */
const CHOPPED = [20, 800];

/** What is remembered of the last faults, for a failure's report. */
const REMEMBERED = 12;

/** A port that leads to the server, over connections that can be told to fail. */
export class Proxy {
  #target;
  #random;
  #server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  /** What becomes of the connections that come next. */
  #next = [];
  #links = new Set();
  /** The last faults, oldest first. */
  faults = [];
  /** How many connections it has taken. */
  accepted = 0;

  /** @param target - where it leads to: `host` and `port` */
  constructor(target, random) {
    this.#target = target;
    this.#random = random;
  }

  /** Opens the port; resolves to its address. */
  async listen() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `127.0.0.1:${this.#server.address().port}`;
  }

  /** Does to every connection what `fault` says, the name of a method below. What is half-open stays so. */
  strike(fault) {
    const links = [...this.#links].filter((link) => !link.halfOpen);
    this.faults.push(`${new Date().toISOString().slice(14, -1)} ${fault} of ${links.length}`);
    if (this.faults.length > REMEMBERED) this.faults.shift();
    for (const link of links) this[fault](link);
  }

  /** Ends both sides in an orderly way (FIN), behind what has been forwarded. */
  cut(link) {
    link.cut();
  }

  /** Breaks both sides off (RST); what has been forwarded may be lost too. */
  reset(link) {
    link.reset();
  }

  /** Forwards nothing for a while, and then all of it. */
  stall(link) {
    link.stall(this.#random.between(...STALLED));
  }

  /** Forwards a stretch of bytes in pieces of 1 to 7. */
  chop(link) {
    link.chop(this.#random.between(...CHOPPED));
  }

  /** Takes from now on everything and forwards nothing, not even an end: half-open both ways. */
  swallow(link) {
    link.swallow(true, true);
  }

  /** Half-open one way: swallows what the client says. */
  swallowUp(link) {
    link.swallow(true, false);
  }

  /** Half-open one way: swallows what the server says. */
  swallowDown(link) {
    link.swallow(false, true);
  }

  /** Breaks off, and swallows the next connection from its first byte on. */
  deafen(link) {
    this.#next.push((next) => next.swallow(true, true));
    link.reset();
  }

  /**
   * Breaks off, and cuts off the client of the next connection soon; but what that client says after the first chunk,
   * which is the HTTP request, arrives later, when perhaps the client has come back on another way.
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

/** A client's connection, and the one with the server that stands behind it. */
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
    // Nothing else is to happen to it meanwhile.
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
    // Nobody is left to whom the other end would matter, once it has ended too.
    if (other.readableEnded) other.destroy();
    if (!other.closed) return;
    clearTimeout(this.#timer);
    closed();
  }
}

/** One direction. It holds one chunk at most: while that is on its way, nothing is read. */
class Pipe {
  #from;
  /** Null when what comes is to be thrown away. */
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
      // A break is passed on as a break. An end has been passed on already, behind what was in front of it.
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
    // One at a time, or the system would send several as one.
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
