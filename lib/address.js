'use strict';

// Addresses as Node formats them.

const { networkInterfaces } = require('node:os');
const { platform } = require('node:process');

/**
 * Replaces the zone number of a link-local address with the name of its interface, as Node does except on Windows.
 * @param {string | undefined} address
 */
function withZoneName(address) {
  const [ip, zone] = address?.split('%') ?? [];
  if (zone === undefined || platform === 'win32') return address;
  const isInZone = (/** @type {any} */ { scopeid }) => scopeid === Number(zone);
  const found = Object.entries(networkInterfaces()).find(([, addresses]) => addresses?.some(isInZone));
  return found ? `${ip}%${found[0]}` : address;
}

module.exports = { withZoneName };
