'use strict';

// Addresses, as Node writes them.

const { networkInterfaces } = require('node:os');
const { platform } = require('node:process');

/**
 * An address of the engine's as Node writes it: the zone of a link-local one is the name of its interface, not the number.
 * @param {string | undefined} address
 */
function withZoneName(address) {
  const [ip, zone] = address?.split('%') ?? [];
  if (zone === undefined || platform === 'win32') return address;
  const isOf = (/** @type {any} */ { scopeid }) => scopeid === Number(zone);
  const found = Object.entries(networkInterfaces()).find(([, addresses]) => addresses?.some(isOf));
  return found ? `${ip}%${found[0]}` : address;
}

module.exports = { withZoneName };
