// What `import` gets in Node: the same classes that `require` gets.
import WebSocketRelay from './client.cjs';

export default WebSocketRelay;
export { WebSocketRelay };
export const { RelayChannel } = WebSocketRelay;
