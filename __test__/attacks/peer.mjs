// A raw connection on which the attacker writes every byte.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import { upgradeRequest } from '../server/raw.mjs';

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 };

/** An upgrade request. */
export const HEAD = upgradeRequest();

/** Bytes written at a time by `pour()`. */
const TURN = 65_536;

/** A WebSocket frame. `length` may differ from the payload's. */
export function frame(opcode, payload = '', { fin = true, reserved = 0, masked = true, length } = {}) {
  const bytes = Buffer.from(payload);
  const announced = length ?? bytes.length;
  const head = [(fin ? 0x80 : 0) | reserved | opcode];
  if (announced < 126) head.push(announced);
  else if (announced < 65_536) head.push(126, announced >> 8, announced & 0xff);
  else head.push(127, ...lengthOf8(announced));
  if (!masked) return Buffer.concat([Buffer.from(head), bytes]);
  head[1] |= 0x80;
  // Masked with zeros.
  return Buffer.concat([Buffer.from(head), Buffer.alloc(4), bytes]);
}

function lengthOf8(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(number));
  return bytes;
}

/** A text frame with JSON. */
export function text(value) {
  return frame(Opcode.TEXT, JSON.stringify(value));
}

/** An authentication frame, of a plain or a `reliable` client. */
export function authentication({ id, token }, reliable = false) {
  const session = reliable ? { version: 2, session: randomBytes(8).toString('hex'), connection: 1, ...Object(reliable) } : {};
  return text({ authentication: { clientId: id, token, ...session } });
}

/** The first bytes of a TLS handshake. */
export function clientHello() {
  const written = [];
  const socket = new Duplex({
    read() {},
    write(chunk, encoding, done) {
      written.push(chunk);
      done();
    },
  });
  tls.connect({ socket, servername: 'localhost' }).on('error', () => {}).destroy();
  return new Promise((resolve) => setImmediate(() => resolve(Buffer.concat(written))));
}

export class Peer {
  /** The HTTP status of the response. */
  status;
  /** The close code received; 1005 if the frame had none. */
  code;
  texts = [];
  /** Whether the connection has ended. */
  isOver = false;
  /** The number of pongs received. */
  pongs = 0;
  #received = Buffer.alloc(0);
  #onChange = () => {};

  /** @param place options of `net.connect()` */
  constructor({ port, localAddress }) {
    this.socket = net.connect({ host: '127.0.0.1', port, localAddress, allowHalfOpen: true });
    this.socket.setNoDelay(true);
    this.connected = new Promise((resolve) => this.socket.once('connect', resolve));
    // Resets are expected.
    this.socket.on('error', () => {});
    this.socket.on('data', (bytes) => this.#receive(bytes));
    this.ended = new Promise((resolve) => this.socket.once('end', resolve).once('close', resolve));
    void this.ended.then(() => {
      this.isOver = true;
      this.#onChange();
    });
  }

  write(bytes) {
    this.socket.write(bytes);
    return this;
  }

  /** Writes everything as fast as the socket accepts it. Stops when the connection ends. */
  async pour(chunks) {
    let written = 0;
    for (const chunk of chunks) {
      if (this.isOver || this.code) return;
      if (!this.socket.write(chunk)) {
        await Promise.race([new Promise((resolve) => this.socket.once('drain', resolve)), this.ended]);
      }
      // While the socket accepts everything at once, nothing else in this process would run.
      written += chunk.length;
      if (written > TURN) {
        written = 0;
        await new Promise(setImmediate);
      }
    }
  }

  /** Resolves when `isSo()`, or when the connection has ended. */
  async until(isSo) {
    while (!isSo() && !this.isOver) await new Promise((resolve) => (this.#onChange = resolve));
    return this;
  }

  /** Resolves to the close code, or 1006 if none was received. */
  async ending() {
    await this.until(() => this.code);
    return this.code ?? 1006;
  }

  destroy() {
    this.socket.destroy();
  }

  /** Called with each text; may be replaced. */
  hear(text) {
    this.texts.push(text);
  }

  #receive(bytes) {
    this.#received = this.#received.length > 0 ? Buffer.concat([this.#received, bytes]) : bytes;
    if (!this.status) {
      const end = this.#received.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.status = Number(this.#received.toString('latin1', 9, 12));
      this.#received = this.#received.subarray(end + 4);
    }
    while (this.#receiveFrame());
    this.#onChange();
  }

  #receiveFrame() {
    const all = this.#received;
    if (all.length < 2) return false;
    const short = all[1] & 0x7f;
    const start = { 126: 4, 127: 10 }[short] ?? 2;
    if (all.length < start) return false;
    const length = { 2: () => short, 4: () => all.readUInt16BE(2), 10: () => Number(all.readBigUInt64BE(2)) }[start]();
    if (all.length < start + length) return false;
    const payload = all.subarray(start, start + length);
    this.#received = all.subarray(start + length);
    const opcode = all[0] & 0x0f;
    if (opcode === Opcode.PONG) this.pongs += 1;
    if (opcode === Opcode.TEXT) this.hear(payload.toString());
    if (opcode === Opcode.CLOSE) this.code = length >= 2 ? payload.readUInt16BE(0) : 1005;
    return true;
  }
}
