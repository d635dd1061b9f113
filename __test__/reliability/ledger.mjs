// Compares what a client received with what the other client sent. Pure: no sockets, no clock.

/** Number of violations that are described; others are only counted. */
const DESCRIBED = 5;

/** More than the messages of one page. The key of a message is its page times this, plus its number. */
const PAGE = 2 ** 24;

/**
 * Everything that one client sends another, over all pages of both. A page of a client is one `WebSocketRelay`.
 *
 * The recipient receives one sequence. It contains the messages of each page of the sender, one page after the other, from the
 * first message that was not rejected up to at least the last accepted one, without gaps. Each page of the recipient receives
 * a part of the sequence without gaps. The part may begin with messages that an earlier page has received, but leaves none
 * out.
 *
 * A server that was killed may have forgotten what an earlier page had received, and what it had received may never have been
 * written. Then a page may receive any of that again, in order.
 */
export class Ledger {
  lost = 0;
  doubled = 0;
  reordered = 0;
  /** Messages that a later page of the recipient received again. */
  repeated = 0;
  /** Pages that were gone before the server replied, and whose messages arrived after those of a newer page. */
  late = 0;
  /** Whether nothing is guaranteed any more: a plain client's connection has ended. */
  isExcused = false;
  violations = [];
  #isServerKilled;
  #pages = [];
  #listeners = [];
  #sequence = [];
  #places = new Map();
  /** The page of the recipient that received each message of the sequence first. */
  #first = [];

  constructor({ isServerKilled = false } = {}) {
    this.#isServerKilled = isServerKilled;
  }

  /** Begins a page of the sender. */
  openSender() {
    this.#pages.push({ sent: 0, accepted: 0, heard: 0, isLate: false, refused: new Set(), missing: new Set() });
    return this.#pages.length - 1;
  }

  /** Begins a page of the recipient. */
  openListener() {
    this.#listeners.push({ start: -1, place: -1, missing: new Set() });
    return this.#listeners.length - 1;
  }

  /** Returns the number of a page's next message, from 1. */
  send(page) {
    this.#pages[page].sent += 1;
    return this.#pages[page].sent;
  }

  accept(page, n) {
    this.#pages[page].accepted = Math.max(this.#pages[page].accepted, n);
  }

  refuse(page, n) {
    this.#pages[page].refused.add(n);
  }

  /** Records that a page of the recipient received the `n`th message of a page of the sender. */
  hear(listener, page, n) {
    const key = page * PAGE + n;
    const of = this.#pages[page];
    if (!of || n < 1 || n > of.sent || of.refused.has(n)) {
      this.#violate('doubled', listener, `got ${name(key)}, which was refused or never sent`);
    } else if (this.#places.has(key)) {
      this.#follow(listener, key, false);
    } else if (this.#extend(page, n, listener)) {
      this.#follow(listener, key, true);
    } else {
      this.#violate('reordered', listener, `got ${name(key)} after ${name(this.#sequence.at(-1))}`);
    }
  }

  /** The number of messages received by any page of the recipient. */
  get arrivals() {
    return this.#sequence.length;
  }

  /** Whether every accepted message has been received. */
  get isComplete() {
    return this.isExcused || this.#pages.every(({ accepted, heard }) => heard >= accepted);
  }

  /** Counts missing messages as lost, at the end of a run. */
  close() {
    if (this.isExcused) return;
    this.#pages.forEach((of, page) => {
      for (const n of [...of.missing, ...numbers(of, of.accepted)]) {
        this.#violate('lost', this.#listeners.length - 1, `never got ${page} ${n}`);
      }
    });
    this.#listeners.forEach(({ missing }, listener) => {
      for (const key of missing) this.#violate('lost', listener, `never got ${name(key)}, and got what came after`);
    });
  }

  /** Appends a new message to the sequence. Returns false if it belongs further back. */
  #extend(page, n, listener) {
    const of = this.#pages[page];
    const newest = Math.floor((this.#sequence.at(-1) ?? 0) / PAGE);
    if (of.missing.delete(n) || n <= of.heard) return false;
    if (page < newest && !of.isLate) {
      if (of.heard > 0 || of.accepted > 0) return false;
      of.isLate = true;
      this.late += 1;
    }
    for (const skipped of numbers(of, n - 1)) of.missing.add(skipped);
    of.heard = n;
    this.#places.set(page * PAGE + n, this.#sequence.length);
    this.#sequence.push(page * PAGE + n);
    this.#first.push(listener);
    return true;
  }

  /** Advances a page of the recipient to a message of the sequence. */
  #follow(listener, key, isNew) {
    const own = this.#listeners[listener];
    const place = this.#places.get(key);
    if (own.start < 0) [own.start, own.place] = [place, place - 1];
    if (own.missing.delete(key) || place < own.start) {
      this.#violate('reordered', listener, `got ${name(key)} after ${name(this.#sequence[own.place])}`);
    } else if (place <= own.place) {
      this.#violate('doubled', listener, `got ${name(key)} again after ${name(this.#sequence[own.place])}`);
    } else {
      for (let skipped = own.place + 1; skipped < place; skipped += 1) {
        if (!this.#isServerKilled || this.#first[skipped] >= listener) own.missing.add(this.#sequence[skipped]);
      }
      own.place = place;
      if (!isNew) this.repeated += 1;
    }
  }

  #violate(kind, listener, text) {
    if (this.isExcused) return;
    this[kind] += 1;
    if (this.violations.length < DESCRIBED) this.violations.push(`${kind}: page ${listener} of the recipient ${text}`);
  }
}

/** Returns the numbers of a page that were not rejected, above the last received one and up to `n`. */
function numbers({ heard, refused }, upto) {
  return Array.from({ length: Math.max(0, upto - heard) }, (_, index) => heard + 1 + index).filter((n) => !refused.has(n));
}

function name(key) {
  return `${Math.floor(key / PAGE)} ${key % PAGE}`;
}
