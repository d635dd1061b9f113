'use strict';

/** Returns what the engine counts, with its tables as objects. @param {import('../native.js').NativeRelay} native */
function readStats(native) {
  const { rejected, offences, turnedAway, closed, store = null, ...stats } = native.stats();
  const tables = Object.entries({ rejected, offences, turnedAway, closed }).map(([name, counts]) => [name, byCode(counts)]);
  return { ...stats, ...Object.fromEntries(tables), store: store && { ...store } };
}

/** @param {{ code: string, count: number }[]} counts */
function byCode(counts) {
  return Object.fromEntries(counts.map(({ code, count }) => [code, count]));
}

module.exports = { readStats };
