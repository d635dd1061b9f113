// One client of a pair. It sends its messages from one page after the other, and records what it receives.
import { setTimeout as pause } from 'node:timers/promises';
import { compose, recognize } from './messages.mjs';
import { Page } from './page.mjs';

/** Messages sent at once, on average. */
const BURST = 10;

/** The longest absence, as a fraction of the time over which messages are sent. */
const ABSENCES = 10;

/** Messages that a plain client may have in flight, few enough that none is rejected: it would not be told. */
const PLAIN_WINDOW = 4;

/**
 * Milliseconds after which nothing of a page that was left can reach the server any more: a connection that is stalled or
 * orphaned may be late.
 */
const LINGERING = 5000;

/** The errors after which a message never arrives. After others it may. */
const REFUSALS = ['ERR_CHANNEL_NOT_REGISTERED', 'ERR_QUEUE_FULL'];

export class Side {
  #plan;
  #random;
  #window;
  #pages = [];
  #wake = () => {};
  #sent = 0;
  #refused = 0;
  /** When a page was last opened beside another, or left. */
  #changed = -Infinity;
  /** Problems that the ledgers do not cover. */
  problems = [];
  counts = { connections: 0, refusals: 0, reloads: 0, takeovers: 0, absences: 0, resumptions: 0 };

  /**
   * @param plan - `client`, `peer`, `reliable`, the `url` and certificate (`ca`) of the server, `messages` to send over
   *   `milliseconds`, the number of `reloads`, `takeovers` and `absences`, the ledgers `out` and `in`, and functions called
   *   when something arrives (`progress`), when nothing does but waiting may be over (`changed`), and when there is no
   *   channel (`refused`), and `goesOn()`: whether more than the `messages` are to be sent
   */
  constructor(plan, random) {
    this.#plan = plan;
    this.#random = random;
    this.#window = plan.reliable ? random.between(10, 400) : PLAIN_WINDOW;
    this.#open();
  }

  /** Sends all messages and resolves when their outcome is known. */
  async run() {
    const { messages, milliseconds, reloads, takeovers, absences, reliable } = this.#plan;
    const rounds = Math.max(1, messages / BURST);
    while (this.#missing > 0 || this.#current.outstanding > 0) {
      await this.#until(() => this.#missing > 0 || this.#current.outstanding === 0);
      this.#send(Math.min(this.#missing, this.#random.between(1, 2 * BURST - 1)));
      await pause(this.#random.between(0, (2 * milliseconds) / rounds));
      await this.#until(() => this.#waiting < this.#window);
      if (!reliable) continue;
      if (this.#random.chance(reloads / rounds)) this.#reload();
      if (this.#random.chance(takeovers / rounds)) await this.#takeOver();
      if (this.#random.chance(absences / rounds)) await this.#stayAway(this.#random.between(0, milliseconds / ABSENCES));
    }
  }

  /** Sends one more message, after all others. */
  async finish() {
    this.#send(1);
    await this.heardAll();
  }

  /** Resolves when the other side has received every accepted message. */
  async heardAll() {
    await this.#until(() => this.#current.outstanding === 0 && this.#plan.out.isComplete);
  }

  /** Returns what the side waits for, or nothing. */
  get waitsFor() {
    const { client, out } = this.#plan;
    const pages = this.#pages.map(({ number, page }) => `page ${number} with ${page.outstanding} messages outstanding${page.isOpen ? '' : ', not connected'}`);
    const isDone = out.isComplete && this.#pages.every(({ page }) => page.outstanding === 0);
    return isDone ? '' : `client ${client.id} waits: ${pages.join('; ') || 'no page'}${out.isComplete ? '' : '; accepted messages have not arrived'}`;
  }

  /** Called when something has arrived on either side. */
  wake() {
    this.#wake();
  }

  close() {
    for (const entry of [...this.#pages]) this.#leave(entry);
  }

  get #current() {
    return this.#pages.at(-1).page;
  }

  get #missing() {
    const { out, goesOn, messages } = this.#plan;
    if (out.isExcused) return 0;
    return goesOn() ? Infinity : Math.max(0, messages - (this.#sent - this.#refused));
  }

  get #waiting() {
    const { reliable, out } = this.#plan;
    if (out.isExcused) return 0;
    return reliable ? this.#current.outstanding : this.#sent - out.arrivals;
  }

  async #until(condition) {
    while (!condition()) await new Promise((resolve) => (this.#wake = resolve));
  }

  #open() {
    const { url, ca, client, peer, reliable, out, in: heard, changed, progress } = this.#plan;
    const number = out.openSender();
    const listener = heard.openListener();
    const { promise, resolve } = withResolvers();
    const hear = (text) => {
      const known = recognize(text);
      const [id, page] = known?.page.split('.') ?? [];
      if (Number(id) === peer.id) heard.hear(listener, Number(page), known.n);
      else this.problems.push(`client ${client.id} received a message that was not sent: ${JSON.stringify(text.slice(0, 60))}`);
      progress();
    };
    const end = ({ code, reason }) => {
      // Also by an older page that reconnects while the newer one is disconnected.
      const isReplaced = code === 4501 && number + this.#pages.length > 1;
      // After a pause of the machine a pong comes too late, and a plain client has lost messages.
      if (!reliable && code === 4001) out.isExcused = heard.isExcused = true;
      else if (!isReplaced) this.problems.push(`page ${number} of client ${client.id} was sent away: ${code} ${reason}`);
      this.#leave(entry);
      if (this.#pages.length === 0) this.#open();
      resolve();
      changed();
    };
    const open = ({ resumed }) => {
      this.#judge(entry, resumed);
      resolve();
    };
    const page = new Page({ url, ca }, client, peer.id, reliable, { hear, end, open });
    const entry = { page, number, opened: promise, since: undefined };
    if (this.#pages.push(entry) > 1) this.#changed = Date.now();
  }

  /** Each connection resumes where the last one of its page ended, unless another page was this client meanwhile. */
  #judge(entry, resumed) {
    const isAlone = this.#pages.length === 1 && entry.since > this.#changed + LINGERING;
    if (resumed) this.counts.resumptions += 1;
    else if (isAlone) this.problems.push(`page ${entry.number} of client ${this.#plan.client.id} was not resumed`);
    entry.since = Date.now();
  }

  #send(count, { page, number } = this.#pages.at(-1)) {
    const { client, reliable, out, progress, refused } = this.#plan;
    for (let i = 0; i < count; i += 1) {
      const n = out.send(number);
      this.#sent += 1;
      const settled = (error) => {
        if (!error) {
          out.accept(number, n);
        } else if (REFUSALS.includes(error.code)) {
          this.#refused += 1;
          out.refuse(number, n);
          refused();
        }
        progress();
      };
      try {
        page.send(compose(`${client.id}.${number}`, n), reliable ? settled : undefined);
        if (!reliable) out.accept(number, n);
      } catch {
        // Its end is about to be reported.
        return;
      }
    }
  }

  #reload() {
    this.counts.reloads += 1;
    this.#leave(this.#pages.at(-1));
    this.#open();
  }

  /** Opens a second page beside the first, and closes the first when the second is connected. */
  async #takeOver() {
    this.counts.takeovers += 1;
    const [first] = this.#pages;
    this.#open();
    const second = this.#pages.at(-1);
    this.#send(Math.min(this.#missing, BURST), first);
    await second.opened;
    if (this.#pages.includes(second) && this.#pages.includes(first)) this.#leave(first);
  }

  /** Has no page for a while. */
  async #stayAway(milliseconds) {
    this.counts.absences += 1;
    this.#leave(this.#pages.at(-1));
    await pause(milliseconds);
    this.#open();
  }

  #leave(entry) {
    const { page } = entry;
    this.#changed = Date.now();
    this.#pages.splice(this.#pages.indexOf(entry), 1);
    page.drop();
    this.counts.connections += page.connections;
    this.counts.refusals += page.refusals;
  }
}

function withResolvers() {
  let resolve;
  return { promise: new Promise((done) => (resolve = done)), resolve: () => resolve() };
}
