// The scenarios. A scenario has one point, or as many as its plot; each is a plan for the load generator.

const CPU = 'µs of server CPU per message';
const BYTES = 'bytes per connection';

const relay = (size, window, messages, pairs = 50) => ({
  kind: 'relay',
  clients: 2 * pairs,
  size,
  window,
  warmUp: messages / 4,
  messages,
});

const single = (id, title, unit, figure, plan, { registered, ...more } = {}) => ({
  ...{ id, title, unit, figure },
  points: [{ label: title, plan, registered }],
  ...more,
});

/** `pointOf(value)` returns a plan, or `{ plan, … }` with the numbers of registered clients or channels. */
const curve = (id, title, axis, values, pointOf, { labelOf = (value) => value.toLocaleString('en'), ...more } = {}) => ({
  id,
  title,
  axis,
  unit: CPU,
  figure: 'server',
  points: values.map((value) => {
    const point = pointOf(value);
    return { value, label: labelOf(value), ...(point.plan ? point : { plan: point }) };
  }),
  peers: ['floor', 'ours', 'ours-2', 'uws-corked'],
  ...more,
});

const bytes = (size) => (size < 1024 ? `${size} B` : size < 1e6 ? `${size / 1024} KiB` : '1 MiB');

/** A power of two, so that every client has as many partners: those of client n are n ^ 1, n ^ 2, … */
const CHANNEL_CLIENTS = 1024;
const CHANNELS = [1, 10, 100, 1000];

/** The rows of the table. */
export const scenarios = [
  single('512-w32', '512 B, 32 in flight', CPU, 'server', relay(512, 32, 400_000)),
  single('512-w1', '512 B, 1 in flight', CPU, 'server', relay(512, 1, 200_000)),
  single('16k-w8', '16 KiB, 8 in flight', CPU, 'server', relay(16_384, 8, 60_000)),
  single('connect', 'Connect and authenticate', 'µs of server CPU per connection', 'server', {
    kind: 'connect',
    clients: 3000,
    warmUp: 1000,
  }),
  // Two figures of one run.
  single('idle', 'Memory of an idle connection', BYTES, 'idle', { kind: 'idle', clients: 10_200, warmUp: 200, size: 512, used: 10 }, {
    also: [{ id: 'used', title: 'Memory of a connection after use', unit: BYTES, figure: 'used' }],
  }),
  single('queued', 'Memory of a queued message of 512 B', 'bytes per message', 'bytes', { kind: 'queue', clients: 40, size: 512, messages: 100_000 }, {
    also: [
      { id: 'left', title: 'Memory left after draining', unit: 'bytes per message', figure: 'left' },
      { id: 'drain', title: 'Drain of 100,000 queued', unit: CPU, figure: 'server' },
    ],
  }),
  single('latency', 'Round trip at 5,000/s, p99', 'µs', 'p99', { kind: 'latency', clients: 100, size: 512, perSecond: 5000, warmUp: 2500, messages: 15_000 }, {
    isRealTime: true,
    also: [
      { id: 'p50', title: 'Round trip at 5,000/s, p50', unit: 'µs', figure: 'p50' },
      { id: 'p999', title: 'Round trip at 5,000/s, p99.9', unit: 'µs', figure: 'p999' },
    ],
  }),
];

/** Scenarios that show how the cost grows. */
export const curves = [
  curve('pairs', 'CPU by number of pairs, 512 B, 1 in flight', 'pairs', [1, 10, 50, 200, 1000, 3000, 9000], (pairs) =>
    relay(512, 1, pairs === 1 ? 20_000 : 100_000, pairs),
  ),
  // The largest message that the defaults allow is 1 MiB with its quotes.
  curve('size', 'CPU by size, at most 8 messages and 1 MiB in flight', 'per message', [16, 128, 512, 2048, 8192, 32_768, 131_072, 1_048_574], (size) =>
    relay(size, Math.min(8, Math.floor(2 ** 20 / size)), Math.min(200_000, Math.max(400, 2 ** 28 / size)), size > 100_000 ? 4 : 50),
    { labelOf: bytes },
  ),
  curve('beside', 'CPU of 50 pairs beside idle connections, 512 B, 1 in flight', 'connections, 100 of them busy', [100, 1000, 4000, 10_000, 19_000], (all) =>
    ({ ...relay(512, 1, 100_000), idle: all - 100 }),
  ),
  curve('connections', 'Memory by number of idle connections', 'connections', [1000, 5000, 10_000, 19_000],
    (connections) => ({ kind: 'idle', clients: connections + 200, warmUp: 200, size: 512, used: 1 }),
    { unit: BYTES, figure: 'idle', also: [{ id: 'connections-used', title: 'Memory by number of connections, after a message each way', unit: BYTES, figure: 'used' }] },
  ),
  curve('registered', 'CPU by number of registered clients, 50 pairs, 512 B, 1 in flight', 'registered clients', [1000, 10_000, 100_000, 1_000_000],
    (registered) => ({ plan: relay(512, 1, 100_000), registered }),
    { peers: ['floor', 'ours', 'ours-2'] },
  ),
  curve('channels', 'CPU by channels per client, all used in turn, 1,024 clients, 512 B', 'channels per client', CHANNELS,
    // The first use of a channel costs more; a thousand are not all used in the warm-up.
    (channels) => ({ plan: { ...relay(512, 1, 100_000, CHANNEL_CLIENTS / 2), partners: channels, warmUp: Math.min(300_000, Math.max(25_000, CHANNEL_CLIENTS * channels)) }, channels }),
    // The floor has no channels.
    { peers: ['ours', 'ours-2', 'uws-corked'] },
  ),
  curve('one-channel', 'CPU by channels per client, one used, 1,024 clients, 512 B', 'channels per client', CHANNELS,
    (channels) => ({ plan: relay(512, 1, 100_000, CHANNEL_CLIENTS / 2), channels }),
    { peers: ['floor', 'ours', 'ours-2'] },
  ),
];

const STORES = ['ours-2', 'ours-2-written', 'ours-2-synced'];
const ALL_STORES = ['ours', 'ours-written', 'ours-synced', ...STORES];
const ON_DISK = STORES.slice(1);

/** What of a thousand messages was written to the store. */
const committed = (id, title) => ({ id: `${id}-committed`, title: `${title}: written of 1,000`, unit: 'messages', figure: 'committed' });

const withCommitted = (id, title, unit, figure, plan, more) => single(id, title, unit, figure, plan, { also: [committed(id, title)], ...more });

/** Scenarios that show what a store on disk costs, beside the same relay without one. */
export const stores = [
  withCommitted('store-512-w32', 'With a store: 512 B, 32 in flight', CPU, 'server', relay(512, 32, 400_000), { peers: ALL_STORES }),
  withCommitted('store-512-w1', 'With a store: 512 B, 1 in flight', CPU, 'server', relay(512, 1, 200_000), { peers: ALL_STORES }),
  withCommitted('store-latency', 'With a store: round trip at 5,000/s, p50', 'µs', 'p50', { kind: 'latency', clients: 100, size: 512, perSecond: 5000, warmUp: 2500, messages: 15_000 }, {
    peers: STORES,
    isRealTime: true,
  }),
  single('store-absent', '100,000 messages of 512 B for absent clients', CPU, 'store', { kind: 'queue', clients: 40, size: 512, messages: 100_000 }, {
    peers: ALL_STORES,
    also: [
      { id: 'store-absent-written', title: 'Written for each of them', unit: 'bytes', figure: 'written' },
      { id: 'store-absent-rate', title: 'Taken from their senders', unit: 'messages per second; more is better', figure: 'storedPerSecond' },
      { id: 'store-absent-holds', title: 'Held back', unit: 'times per 1,000 messages', figure: 'holds' },
    ],
  }),
  // Ten thousand messages for each of a hundred absent clients.
  single('store-restart', 'Start with 1,000,000 messages of 512 B and 100,000 clients', 'ms until it listens', 'listening', { kind: 'restart', clients: 200, size: 512, messages: 1_000_000 }, {
    peers: ON_DISK,
    registered: 100_000,
    also: [{ id: 'store-restart-file', title: 'The file then, for each message', unit: 'bytes', figure: 'bytesPerMessage' }],
  }),
  single('store-client', 'A registered client with a channel, in the file', 'bytes', 'bytesPerClient', { kind: 'registered', clients: 100_000 }, { peers: ON_DISK }),
];
