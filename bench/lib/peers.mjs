// The servers that are measured. Only the floor and this relay support generation 2.
import { fileURLToPath } from 'node:url';
import { CURRENT, findBuild, OLDER } from './uws.mjs';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

function script(name, ...args) {
  return (clients, channels) => [process.execPath, '--expose-gc', path(`../peers/${name}.mjs`), String(clients), String(channels), ...args];
}

/** uWebSockets.js, in the first of these builds that runs here. */
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
      const note = `uWebSockets.js ${build} ran ${glibc ? `with glibc ${glibc}` : "with the system's C library"}.`;
      return { ...this, title, note, command: (...counts) => [...prefix, ...script('uws', build, ...mode)(...counts)] };
    },
  };
}

/**
 * `command` returns the command that starts a server with that many clients and channels for each. `pace` is the share of the
 * messages that a slow server gets, to save time. `hasStore` peers keep what they have in a file; `base` is the peer that their
 * figures are compared with, in place of the floor. `resolve` returns the peer as it can run here, or `null`. Peers with `isExtra`
 * are measured only if named.
 */
export const peers = [
  { id: 'floor', title: 'the floor', command: (clients) => [path('../load/target/release/floor'), String(clients)] },
  { id: 'floor-uring', title: 'the floor, with io_uring', only: ['512-w32', '512-w1'], command: (clients) => [path('../load/target/release/floor-uring'), String(clients)], isExtra: true },
  { id: 'ours', title: 'websocket-relay', command: script('ours') },
  { id: 'ours-2', title: 'websocket-relay, generation 2', generation: 2, command: script('ours') },
  { id: 'ours-blocked', title: 'websocket-relay, Node blocked', only: ['latency'], command: script('ours', 'blocked') },
  uws('uws', [CURRENT, OLDER]),
  uws('uws-corked', [CURRENT, OLDER], 'corked'),
  { id: 'ws', title: 'ws', pace: 0.5, command: script('ws') },
  { id: 'socket.io', title: 'socket.io', pace: 0.25, command: script('socket.io') },
  { id: '0.3.3', title: 'websocket-relay 0.3.3, fixed', pace: 0.25, command: script('0.3.3') },
  ...[2, 4].flatMap((threads) => [
    { id: `ours-threads-${threads}`, title: `websocket-relay, ${threads} threads`, command: script('ours', `threads=${threads}`), isExtra: true },
    { id: `ours-2-threads-${threads}`, title: `websocket-relay, generation 2, ${threads} threads`, generation: 2, command: script('ours', `threads=${threads}`), isExtra: true },
  ]),
  ...['written', 'synced'].flatMap((durability) => [
    { id: `ours-${durability}`, title: `websocket-relay, store ${durability}`, command: script('ours', `store=${durability}`), hasStore: true, base: 'ours', isExtra: true },
    { id: `ours-2-${durability}`, title: `websocket-relay, generation 2, store ${durability}`, generation: 2, command: script('ours', `store=${durability}`), hasStore: true, base: 'ours-2', isExtra: true },
  ]),
  { id: 'ours-tls', title: 'websocket-relay, TLS', command: script('ours', 'tls'), isExtra: true },
  { id: 'ours-2-tls', title: 'websocket-relay, generation 2, TLS', generation: 2, command: script('ours', 'tls'), isExtra: true },
  { ...uws('uws-tls', [CURRENT, OLDER], 'tls'), isExtra: true },
  { ...uws('uws-corked-tls', [CURRENT, OLDER], 'corked', 'tls'), isExtra: true },
  { id: 'ws-tls', title: 'ws, TLS', pace: 0.5, command: script('ws', 'tls'), isExtra: true },
  { ...uws('uws-older', [OLDER]), isExtra: true },
  { ...uws('uws-older-corked', [OLDER], 'corked'), isExtra: true },
];
