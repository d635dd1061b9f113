// A connection of which every byte is the attacker's own.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 };

/** The request for a WebSocket. */
export const HEAD = [
  ...['GET / HTTP/1.1', 'Host: localhost', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13'],
  ...['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', '', ''],
].join('\r\n');

/** Bytes that one connection pours at a time. */
const TURN = 65_536;

/** A frame. `length` may be another than the payload's. */
export function frame(opcode, payload = '', { fin = true, reserved = 0, masked = true, length } = {}) {
  const bytes = Buffer.from(payload);
  const announced = length ?? bytes.length;
  const head = [(fin ? 0x80 : 0) | reserved | opcode];
  if (announced < 126) head.push(announced);
  else if (announced < 65_536) head.push(126, announced >> 8, announced & 0xff);
  else head.push(127, ...lengthOf8(announced));
  if (!masked) return Buffer.concat([Buffer.from(head), bytes]);
  head[1] |= 0x80;
  // A mask of zeros masks nothing.
  return Buffer.concat([Buffer.from(head), Buffer.alloc(4), bytes]);
}

function lengthOf8(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(number));
  return bytes;
}

/** A text frame of the protocol. */
export function text(value) {
  return frame(Opcode.TEXT, JSON.stringify(value));
}

/** What a client says who it is with; a `reliable` one says more, and may ask for more. */
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
  /** The HTTP status that was answered. */
  status;
  /** The close code that came, 1005 for none. */
  code;
  texts = [];
  /** Whether nothing more will come. */
  isOver = false;
  /** Answers to pings that came. */
  pongs = 0;
  #received = Buffer.alloc(0);
  #onChange = () => {};

  /** @param place where to connect to, and from */
  constructor({ port, localAddress }) {
    this.socket = net.connect({ host: '127.0.0.1', port, localAddress, allowHalfOpen: true });
    this.socket.setNoDelay(true);
    this.connected = new Promise((resolve) => this.socket.once('connect', resolve));
    // Connections that are reset are the rule here.
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

  /** Writes all of it as fast as it is taken; ends early with the connection. */
  async pour(chunks) {
    let written = 0;
    for (const chunk of chunks) {
      if (this.isOver || this.code) return;
      if (!this.socket.write(chunk)) {
        await Promise.race([new Promise((resolve) => this.socket.once('drain', resolve)), this.ended]);
      }
      // As long as all is taken at once, nobody else in this process has a turn.
      written += chunk.length;
      if (written > TURN) {
        written = 0;
        await new Promise(setImmediate);
      }
    }
  }

  /** Resolves when `isSo`, or the connection is over. */
  async until(isSo) {
    while (!isSo() && !this.isOver) await new Promise((resolve) => (this.#onChange = resolve));
    return this;
  }

  /** Resolves to the close code, 1006 when there came none. */
  async ending() {
    await this.until(() => this.code);
    return this.code ?? 1006;
  }

  destroy() {
    this.socket.destroy();
  }

  /** What becomes of each text; may be replaced. */
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
