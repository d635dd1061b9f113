// uWebSockets.js: each message sent as it comes, or, with `corked`, all of a turn's messages for one target at once.
import { load } from './uws-library.mjs';
import { introduce, randomTokens, Relay } from './support.mjs';

const [build, mode] = process.argv.slice(4);
const uWS = load(build);
const isCorked = mode === 'corked';
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
uWS
  .App()
  .ws('/*', {
    maxPayloadLength: 2 ** 21,
    // A queue without an end, as the others have it.
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
