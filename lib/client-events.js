'use strict';

// The events of clients, as the engine reports them and listeners receive them.

const debug = require('./debug.js');
const { RelayError } = require('./errors.js');
const { printable } = require('./printable.js');

/**
 * Emits an event of a client.
 * @param {import('node:events').EventEmitter} emitter
 * @param {import('./client-registry.js').ClientRegistry} registry
 * @param {{ name: string, clientId?: number, targetId?: number, code?: string, number?: number, text?: string }} event
 */
function emitClientEvent(emitter, registry, { name, clientId, targetId, code, number, text }) {
  switch (name) {
    case 'connection':
      debug('client %d connected', clientId);
      emitter.emit('connection', clientId, ...registry.dataArguments(clientId));
      return;
    case 'disconnect':
      // The reason may be an argument of `disconnectClient()`, which is not escaped yet.
      if (debug.enabled) debug('client %d disconnected: %d %s', clientId, number, printable(text));
      emitter.emit('disconnect', clientId, number, text, ...registry.dataArguments(clientId));
      return;
    case 'expired':
      debug('client %d expired, %d messages were never delivered', clientId, number);
      emitter.emit('expired', clientId, number, ...registry.takeExpired(clientId));
      return;
    case 'messagesExpired':
      debug('%d messages of client %d for client %d expired', number, clientId, targetId);
      emitter.emit('messagesExpired', clientId, targetId, number);
      return;
    case 'error':
      debug('%s of client %s: %s', code, clientId ?? '(unknown)', text);
      // Without a listener `emit('error')` throws, and a client's mistake must not end the process.
      if (emitter.listenerCount('error') > 0) emitter.emit('error', new RelayError(code, text, clientId));
  }
}

module.exports = { emitClientEvent };
