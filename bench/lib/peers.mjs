// Who is measured. All but the floor and ours speak generation 1 only.
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

function script(name, ...args) {
  return (clients) => [process.execPath, '--expose-gc', path(`../peers/${name}.mjs`), String(clients), ...args];
}

/**
 * `command` starts a server with so many clients; `pace` is the share of the messages that it gets, so that the slow
 * ones do not take all the time.
 */
export const peers = [
  { id: 'floor', title: 'the floor', command: (clients) => [path('../load/target/release/floor'), String(clients)] },
  { id: 'ours', title: 'websocket-relay', command: script('ours') },
  { id: 'ours-2', title: 'websocket-relay, generation 2', generation: 2, command: script('ours') },
  { id: 'ours-blocked', title: 'websocket-relay, Node blocked', only: ['latency'], command: script('ours', 'blocked') },
  { id: 'uws', title: 'uWebSockets.js', pace: 0.5, command: script('uws') },
  { id: 'uws-corked', title: 'uWebSockets.js, corked', pace: 0.5, command: script('uws', 'corked') },
  { id: 'ws', title: 'ws', pace: 0.5, command: script('ws') },
  { id: 'socket.io', title: 'socket.io', pace: 0.25, command: script('socket.io') },
  { id: '0.3.3', title: 'websocket-relay 0.3.3, mended', pace: 0.25, command: script('0.3.3') },
];
