'use strict';

const process = require('node:process');

/** The file name of the native addon for the platform this runs on; the build writes it, the loader reads it. */
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
  // The report would otherwise look up the host name of every open socket, which can take seconds.
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  const { header } = report.getReport();
  report.excludeNetwork = excludeNetwork;
  return header.glibcVersionRuntime !== undefined;
}
