// One client of a pair: sends its share through one page after the other, and books what it hears.
import { setTimeout as pause } from 'node:timers/promises';
import { compose, recognize } from './messages.mjs';
import { Page } from './page.mjs';

/** How many messages are sent at once, on average. */
const BURST = 10;

/** How many messages a plain client may have on their way: it is not told of a refusal, so there must be none. */
const PLAIN_WINDOW = 4;

/** The errors that say of a message that it will never arrive. Any other leaves that open. */
const REFUSALS = ['ERR_CHANNEL_NOT_REGISTERED', 'ERR_QUEUE_FULL'];

export class Side {
  #plan;
  #random;
  #window;
  #pages = [];
  #wake = () => {};
  #sent = 0;
  #refused = 0;
  /** What went wrong beyond what the ledgers know. */
  problems = [];
  counts = { connections: 0, refusals: 0, reloads: 0, takeovers: 0 };

  /**
   * @param plan - `client`, `peer`, `reliable`, the `url` to connect to, and the certificate (`ca`) if it speaks TLS, `messages` to send over so many `milliseconds`,
   *   so many `reloads` and `takeovers` on the way, `out` and `in`, the ledgers of both directions, and what is called
   *   when something arrived (`progress`) and when there is no channel (`refused`)
   */
  constructor(plan, random) {
    this.#plan = plan;
    this.#random = random;
    this.#window = plan.reliable ? random.between(10, 400) : PLAIN_WINDOW;
    this.#open();
  }

  /** Sends all and resolves when what became of it is known. */
  async run() {
    const { messages, milliseconds, reloads, takeovers, reliable } = this.#plan;
    const rounds = Math.max(1, messages / BURST);
    while (this.#missing > 0 || this.#current.outstanding > 0) {
      await this.#until(() => this.#missing > 0 || this.#current.outstanding === 0);
      this.#send(Math.min(this.#missing, this.#random.between(1, 2 * BURST - 1)));
      await pause(this.#random.between(0, (2 * milliseconds) / rounds));
      await this.#until(() => this.#waiting < this.#window);
      if (!reliable) continue;
      if (this.#random.chance(reloads / rounds)) this.#reload();
      if (this.#random.chance(takeovers / rounds)) await this.#takeOver();
    }
  }

  /** Sends one message more, behind everything else. */
  async finish() {
    this.#send(1);
    await this.heardAll();
  }

  /** Resolves when the other side has heard all that was accepted. */
  async heardAll() {
    await this.#until(() => this.#current.outstanding === 0 && this.#plan.out.isComplete);
  }

  /** Something has arrived, here or there. */
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
    if (this.#plan.out.isExcused) return 0;
    return this.#plan.messages - (this.#sent - this.#refused);
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
    const { url, ca, client, peer, reliable, out, in: heard, progress } = this.#plan;
    const number = out.openSender();
    const listener = heard.openListener();
    const { promise, resolve } = withResolvers();
    const hear = (text) => {
      const known = recognize(text);
      const [id, page] = known?.page.split('.') ?? [];
      if (Number(id) === peer.id) heard.hear(listener, Number(page), known.n);
      else this.problems.push(`client ${client.id} got what nobody sent: ${JSON.stringify(text.slice(0, 60))}`);
      progress();
    };
    const end = ({ code, reason }) => {
      // By an older one too, if it comes back, or its last try to connect arrives, while the newer has no connection.
      const isReplaced = code === 4501 && number + this.#pages.length > 1;
      // On a machine that stood still for so long, an answer to a ping comes too late. A plain client has lost then.
      if (!reliable && code === 4001) out.isExcused = heard.isExcused = true;
      else if (!isReplaced) this.problems.push(`page ${number} of client ${client.id} was sent away: ${code} ${reason}`);
      this.#leave(entry);
      if (this.#pages.length === 0) this.#open();
      resolve();
      progress();
    };
    const page = new Page({ url, ca }, client, peer.id, reliable, { hear, end, open: resolve });
    const entry = { page, number, opened: promise };
    this.#pages.push(entry);
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
        // It is about to be told of its end, and so are we.
        return;
      }
    }
  }

  #reload() {
    this.counts.reloads += 1;
    this.#leave(this.#pages.at(-1));
    this.#open();
  }

  /** A second page, while the first goes on; when the second is there, the first is closed, if it has not been already. */
  async #takeOver() {
    this.counts.takeovers += 1;
    const [first] = this.#pages;
    this.#open();
    const second = this.#pages.at(-1);
    this.#send(Math.min(this.#missing, BURST), first);
    await second.opened;
    if (this.#pages.includes(second) && this.#pages.includes(first)) this.#leave(first);
  }

  #leave(entry) {
    const { page } = entry;
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
