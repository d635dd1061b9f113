import { Chart, clock, number } from './chart.mjs';

const INTERVAL = 1_000;

const find = (selector) => document.querySelector(selector);
const charts = Object.fromEntries(
  Object.entries({ connections: 'connections', rate: 'messages/s', queued: 'messages' }).map(([name, unit]) => [name, new Chart(find(`[data-figure=${name}]`), unit)]),
);
let last;
let lastSeen;

for (;;) {
  try {
    const response = await fetch('stats');
    if (!response.ok) throw new Error(response.statusText);
    const stats = await response.json();
    lastSeen = Date.now();
    draw(stats);
    state('live', 'Live');
  } catch {
    state('away', lastSeen ? `The server is away, last seen ${clock(lastSeen)}` : 'The server is away');
  }
  await new Promise((resolve) => setTimeout(resolve, INTERVAL));
}

function draw(stats) {
  // A restarted server counts from 0 again.
  const goesOn = last && stats.time > last.time && stats.relayedMessages >= last.relayedMessages;
  const rate = goesOn ? ((stats.relayedMessages - last.relayedMessages) / (stats.time - last.time)) * 1_000 : undefined;
  last = stats;
  figure('connections', stats.connections, `of ${number(stats.registered)} clients, with ${number(stats.channels)} channels`);
  figure('rate', rate && Math.round(rate), `${number(stats.relayedMessages)} in all, ${bytes(stats.relayedBytes)}`);
  figure('queued', stats.queuedMessages, `${bytes(stats.queuedBytes)} of memory`);
  find('table').replaceChildren(...problems(stats));
}

function figure(name, value, note) {
  const section = find(`[data-figure=${name}]`);
  section.querySelector('output').textContent = number(value ?? 0);
  section.querySelector('p').textContent = note;
  charts[name].add(lastSeen, value);
}

function problems({ rejected, offences, turnedAway, closed, eventsDropped }) {
  const rows = [
    ...Object.entries(rejected).map(([code, count]) => ['Messages rejected', code, count]),
    ...Object.entries(offences).map(([code, count]) => ['Mistakes of clients', code, count]),
    ...Object.entries(turnedAway).map(([reason, count]) => ['Clients turned away', reason, count]),
    ...Object.entries(closed).map(([code, count]) => ['Connections closed', code, count]),
    ...(eventsDropped ? [['Events dropped', '', eventsDropped]] : []),
  ];
  if (rows.length === 0) return [row(['Nothing so far'])];
  return rows.map(([kind, code, count]) => row([kind, code, number(count)]));
}

function row(texts) {
  const element = document.createElement('tr');
  element.append(...texts.map((textContent) => Object.assign(document.createElement('td'), { textContent })));
  return element;
}

function state(name, text) {
  document.body.dataset.state = name;
  if (find('[role=status]').textContent !== text) find('[role=status]').textContent = text;
}

function bytes(value) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${value.toLocaleString('en', { maximumFractionDigits: 1 })} ${units[unit]}`;
}
