// Who is measured. All but the floor and ours speak generation 1 only.
import { fileURLToPath } from 'node:url';
import { CURRENT, findBuild, OLDER } from './uws.mjs';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

function script(name, ...args) {
  return (clients, channels) => [process.execPath, '--expose-gc', path(`../peers/${name}.mjs`), String(clients), String(channels), ...args];
}

/** uWebSockets.js, of the first of these builds that runs here. */
function uws(id, builds, ...mode) {
  const named = (name) => [name, ...mode].join(', ').replace('tls', 'TLS');
  return {
    id,
    title: named('uWebSockets.js'),
    pace: 0.5,
    resolve() {
      const found = findBuild(builds);
      if (!found) return null;
      const { build, prefix, glibc } = found;
      const title = named(`uWebSockets.js ${build}`);
      const note = `uWebSockets.js ${build} ran ${glibc ? `with a C library of its own, glibc ${glibc}` : "with the system's C library"}.`;
      return { ...this, title, note, command: (...counts) => [...prefix, ...script('uws', build, ...mode)(...counts)] };
    },
  };
}

/**
 * `command` starts a server with so many clients, each with so many channels; `pace` is the share of the messages that it gets, so that the slow
 * ones do not take all the time. `resolve` finds out whether and how it can be run here. Those with `isExtra` are measured
 * only when asked for by name.
 */
export const peers = [
  { id: 'floor', title: 'the floor', command: (clients) => [path('../load/target/release/floor'), String(clients)] },
  { id: 'floor-uring', title: 'the floor, by io_uring', only: ['512-w32', '512-w1'], command: (clients) => [path('../load/target/release/floor-uring'), String(clients)], isExtra: true },
  { id: 'ours', title: 'websocket-relay', command: script('ours') },
  { id: 'ours-2', title: 'websocket-relay, generation 2', generation: 2, command: script('ours') },
  { id: 'ours-blocked', title: 'websocket-relay, Node blocked', only: ['latency'], command: script('ours', 'blocked') },
  uws('uws', [CURRENT, OLDER]),
  uws('uws-corked', [CURRENT, OLDER], 'corked'),
  { id: 'ws', title: 'ws', pace: 0.5, command: script('ws') },
  { id: 'socket.io', title: 'socket.io', pace: 0.25, command: script('socket.io') },
  { id: '0.3.3', title: 'websocket-relay 0.3.3, mended', pace: 0.25, command: script('0.3.3') },
  ...[2, 4].flatMap((threads) => [
    { id: `ours-threads-${threads}`, title: `websocket-relay, ${threads} threads`, command: script('ours', `threads=${threads}`), isExtra: true },
    { id: `ours-2-threads-${threads}`, title: `websocket-relay, generation 2, ${threads} threads`, generation: 2, command: script('ours', `threads=${threads}`), isExtra: true },
  ]),
  { id: 'ours-tls', title: 'websocket-relay, TLS', command: script('ours', 'tls'), isExtra: true },
  { id: 'ours-2-tls', title: 'websocket-relay, generation 2, TLS', generation: 2, command: script('ours', 'tls'), isExtra: true },
  { ...uws('uws-tls', [CURRENT, OLDER], 'tls'), isExtra: true },
  { ...uws('uws-corked-tls', [CURRENT, OLDER], 'corked', 'tls'), isExtra: true },
  { id: 'ws-tls', title: 'ws, TLS', pace: 0.5, command: script('ws', 'tls'), isExtra: true },
  { ...uws('uws-older', [OLDER]), isExtra: true },
  { ...uws('uws-older-corked', [OLDER], 'corked'), isExtra: true },
];
