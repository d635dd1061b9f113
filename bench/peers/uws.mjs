// uWebSockets.js. It sends each message as it comes, or, if `corked`, all messages of a turn to one client at once.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load } from './uws-library.mjs';
import { credentials, introduce, randomTokens, Relay } from './support.mjs';

const [build, ...modes] = process.argv.slice(4);
const uWS = load(build);
const isCorked = modes.includes('corked');
const tokens = randomTokens();
const decoder = new TextDecoder();
const corks = new Map();

function flush() {
  for (const [socket, texts] of corks) socket.cork(() => texts.forEach((text) => socket.send(text)));
  corks.clear();
}

function send(socket, message) {
  const text = JSON.stringify({ relay: message });
  if (!isCorked) return socket.send(text);
  if (corks.size === 0) setImmediate(flush);
  const texts = corks.get(socket);
  if (texts) texts.push(text);
  else corks.set(socket, [text]);
}

const relay = new Relay(tokens, send);

/** uWebSockets.js reads certificates from files. */
function secureApp({ cert, key }) {
  const folder = mkdtempSync(join(tmpdir(), 'websocket-relay-bench-'));
  const files = { cert_file_name: join(folder, 'cert.pem'), key_file_name: join(folder, 'key.pem') };
  writeFileSync(files.cert_file_name, cert);
  writeFileSync(files.key_file_name, key);
  const app = uWS.SSLApp(files);
  rmSync(folder, { recursive: true });
  return app;
}

const app = credentials ? secureApp(credentials) : uWS.App();
app
  .ws('/*', {
    maxPayloadLength: 2 ** 21,
    // An unbounded queue, as in the other peers.
    maxBackpressure: 0,
    message(socket, data) {
      const frame = JSON.parse(decoder.decode(data));
      const state = socket.getUserData();
      if (frame.authentication) state.id = relay.authenticate(socket, frame.authentication);
      else if (frame.relay && state.id !== undefined) relay.relay(state.id, frame.relay.targetId, frame.relay.message);
    },
    close(socket) {
      corks.delete(socket);
      relay.leave(socket.getUserData().id, socket);
    },
  })
  .listen('127.0.0.1', 0, (socket) => introduce(uWS.us_socket_local_port(socket), tokens));
