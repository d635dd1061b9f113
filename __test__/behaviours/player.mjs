// Plays a behaviour to a server and records what each client and the application receive.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));

/** Longer texts are recorded by their beginning and length. */
const LONGEST = 300;

/** A process that runs servers, one after the other, until one crashes it. */
class Host {
  #process;
  #replies = [];
  #stderr = '';
  /** @type {string[]} the 'error' events since the last query */
  errors = [];
  died;

  constructor(module) {
    this.#process = fork(SERVER, [module], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: ['--no-deprecation'] });
    this.#process.stderr.setEncoding('utf8').on('data', (text) => (this.#stderr += text));
    this.#process.on('message', (message) => {
      if ('emitted' in message) this.errors.push(message.emitted);
      else this.#replies.shift()(message);
    });
    // Not 'close', which is not emitted after a disconnect.
    this.died = Promise.all([once(this.#process, 'exit'), once(this.#process.stderr, 'close')]).then(() => {
      this.isDead = true;
      return this.#stderr;
    });
    this.isDead = false;
  }

  ask(verb, ...args) {
    const reply = new Promise((resolve) => this.#replies.push(resolve));
    this.#process.send({ verb, args }, () => {});
    return Promise.race([reply, this.died.then(() => ({}))]);
  }

  async end() {
    if (this.#process.connected) this.#process.disconnect();
    await this.died;
  }
}

/** A behaviour being played. */
class Play {
  #host;
  #port;
  #behaviour;
  #tokens = [];
  /** @type {Map<string, { socket: WebSocket, heard: string[], isOver: boolean, over: Promise<void> }>} */
  #connections = new Map();
  #sentinels = 0;

  constructor(host, behaviour) {
    this.#host = host;
    this.#behaviour = behaviour;
  }

  async run() {
    const { clients = 3, channels = [[0, 1]], options = {}, listens = true, steps } = this.#behaviour;
    ({ port: this.#port } = await this.#host.ask('start', options, listens));
    for (let n = 0; n < clients; n += 1) await this.#register();
    for (const channel of channels) await this.#host.ask('call', 'registerRelayChannel', channel);
    const log = [];
    for (const [verb, ...args] of steps) {

      const said = await this.#verbs[verb](...args);
      await this.#settle(listens);
      log.push([...(said ? [said] : []), ...this.#heard()]);
      if (this.#host.isDead) break;
    }
    if (this.#host.isDead) log.push([`the process died: ${reasonOf(await this.#host.died)}`]);
    else await this.#host.ask('stop');
    for (const { socket } of this.#connections.values()) socket.terminate();
    return log;
  }

  #verbs = {
    open: async (...names) => {
      await Promise.all(names.map((name) => this.#open(name)));
    },
    /** Sends frames at once. */
    send: (name, ...frames) => frames.forEach((frame) => this.#send(name, frame, {})),
    binary: (name, frame) => this.#send(name, Buffer.from(this.#filled(frame)), { binary: true }),
    /** Sends the parts of one frame: texts, or bytes in hex. */
    parts: (name, ...parts) =>
      parts.forEach((part, n) => {
        const bytes = typeof part === 'string' ? Buffer.from(this.#filled(part)) : Buffer.from(part.hex, 'hex');
        this.#send(name, bytes, { binary: false, fin: n === parts.length - 1 });
      }),
    close: (name, code, reason) => {
      this.#connections.get(name).socket.close(code, reason);
      return this.#connections.get(name).over;
    },
    terminate: (name) => {
      this.#connections.get(name).socket.terminate();
      return this.#connections.get(name).over;
    },
    register: async () => `registered ${JSON.stringify(await this.#register())}`,
    channel: async (...ids) => {
      const { threw } = await this.#host.ask('call', 'registerRelayChannel', ids);
      return threw ? `threw ${threw.name}: ${this.#masked(threw.message)}` : 'done';
    },
    stop: async () => {
      const { error } = await this.#host.ask('stop');
      return error ? `stopped with ${error}` : 'stopped';
    },
  };

  async #register() {
    const { returned } = await this.#host.ask('call', 'registerClient', []);
    this.#tokens.push(returned.token);
    return { ...returned, token: /^[0-9a-f]{32}$/.test(returned.token) ? '32 hex digits' : returned.token };
  }

  async #open(name) {
    const connection = { socket: this.#connect(), heard: [], isOver: false };
    connection.socket.on('message', (data, isBinary) => connection.heard.push(`${isBinary ? 'binary ' : ''}${shownFrame(String(data))}`));
    connection.over = new Promise((resolve) => {
      connection.socket.on('close', (code, reason) => {
        connection.isOver = true;
        connection.heard.push(`closed ${code} ${reason}`.trim());
        resolve();
      });
    });
    this.#connections.set(name, connection);
    await this.#opened(connection.socket);
  }

  #connect() {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}`, { perMessageDeflate: false });
    return socket.on('error', () => {});
  }

  #opened(socket) {
    return new Promise((resolve) => socket.once('open', resolve).once('close', resolve));
  }

  #send(name, data, options) {
    this.#connections.get(name).socket.send(typeof data === 'string' ? this.#filled(data) : data, options, () => {});
  }

  #filled(frame) {
    return frame.replace(/\$TOKEN(\d)/g, (_, n) => this.#tokens[n]);
  }

  #masked(text) {
    return this.#tokens.reduce((masked, token, n) => masked.replaceAll(token, `$TOKEN${n}`), text);
  }

  /** Waits until nothing is in flight. */
  async #settle(listens) {
    // Once for what each has sent, and once for what the others receive from it.
    for (let round = 0; round < 2; round += 1) {
      for (const { socket, over } of this.#connections.values()) {
        if (socket.readyState !== WebSocket.OPEN) continue;
        const answered = once(socket, 'pong');
        socket.ping(() => {});
        await Promise.race([answered, over, this.#host.died]);
      }
    }
    if (listens) await this.#settleEvents();
    // It answers, or has crashed.
    await this.#host.ask('call', 'listenerCount', ['error']);
  }

  /** Events are ordered: makes a mistake and waits for its event, which follows all earlier ones. */
  async #settleEvents() {
    const sentinel = this.#connect();
    await this.#opened(sentinel);
    if (sentinel.readyState !== WebSocket.OPEN) return;
    this.#sentinels += 1;
    const error = `Message unrecognized: {"sentinel":${this.#sentinels}}`;
    sentinel.send(`{"sentinel":${this.#sentinels}}`);
    while (!this.#host.errors.includes(error) && !this.#host.isDead) {
      const answered = once(sentinel, 'pong');
      sentinel.ping(() => {});
      await Promise.race([answered, this.#host.died]);
      await this.#host.ask('call', 'listenerCount', ['error']);
    }
    this.#host.errors = this.#host.errors.filter((other) => other !== error);
    sentinel.terminate();
  }

  #heard() {
    const errors = this.#host.errors.splice(0).map((text) => `error: ${shortened(this.#masked(text))}`);
    // The connections of a crashed process break in no particular order.
    const frames = [...this.#connections].flatMap(([name, { heard }]) =>
      heard.splice(0).filter((text) => !(this.#host.isDead && text === 'closed 1006')).map((text) => `${name}: ${shortened(this.#masked(text))}`),
    );
    return [...errors, ...frames];
  }
}

/** Normalizes JSON, and leaves out random values. */
function shownFrame(text) {
  try {
    return JSON.stringify(JSON.parse(text)).replace(/"epoch":"[0-9a-f]{8}"/, '"epoch":"$EPOCH"');
  } catch {
    return text;
  }
}

function shortened(text) {
  return text.length > LONGEST ? `${text.slice(0, 80)}… (${text.length} characters)` : text;
}

function reasonOf(stderr) {
  return stderr.split('\n').find((line) => /^\w*Error\b|^ +throw\b/.test(line))?.trim() ?? stderr;
}

/**
 * Plays behaviours to the servers of a module.
 * @returns {Promise<Record<string, string[][]>>} for each, what was heard after each of its steps
 */
export async function play(module, behaviours) {
  let host = new Host(module);
  const outcomes = {};
  try {
    for (const behaviour of behaviours) {
      outcomes[behaviour.name] = await new Play(host, behaviour).run();
      if (host.isDead) host = new Host(module);
      host.errors = [];
    }
  } finally {
    await host.end();
  }
  return outcomes;
}
