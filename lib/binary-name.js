'use strict';

const process = require('node:process');

/** Returns the file name of the native addon for this platform. */
module.exports = function binaryName() {
  return `websocket_relay.${[process.platform, process.arch, ...abi()].join('-')}.node`;
};

function abi() {
  if (process.platform === 'win32') return ['msvc'];
  if (process.platform === 'linux') return [isGlibc() ? 'gnu' : 'musl'];
  return [];
}

function isGlibc() {
  const { report } = process;
  // Otherwise the report looks up the host name of every open socket, which can take seconds.
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  const { header } = report.getReport();
  report.excludeNetwork = excludeNetwork;
  return header.glibcVersionRuntime !== undefined;
}
