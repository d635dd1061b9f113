/* global WebSocketRelay */
import { negotiate } from './negotiate.mjs';

const find = (selector) => document.querySelector(selector);

show('waiting', 'Waiting for somebody to come');
const { id, token, otherId, polite } = await findOther();
show('waiting', 'Connecting…');

const relay = new WebSocketRelay(`${location.origin}/relay`, { clientId: id, token });
// For peers in different networks: { iceServers: [{ urls: 'stun:…' }, { urls: 'turn:…', username, credential }] }
const peer = new RTCPeerConnection();
negotiate(peer, relay.createChannel(otherId), polite);

// Both sides open it, so that neither has to wait for the other's.
const data = peer.createDataChannel('text', { negotiated: true, id: 0 });
data.onopen = () => show('connected', 'Connected');
data.onmessage = (event) => write(event.data, 'theirs');
relay.on('error', (error) => console.info(error.message));
relay.on('close', ({ willReconnect }) => willReconnect || end());

find('form').onsubmit = (event) => {
  event.preventDefault();
  const input = find('input');
  if (!input.value || data.readyState !== 'open') return;
  data.send(input.value);
  write(input.value, 'mine');
  input.value = '';
};

peer.ontrack = ({ streams: [stream] }) => (find('#theirs').srcObject = stream);

find('#camera').onclick = async (event) => {
  event.target.disabled = true;
  try {
    const stream = await openCamera();
    find('#mine').srcObject = stream;
    find('#mine').hidden = false;
    event.target.hidden = true;
    // This is what makes the sides negotiate again.
    for (const track of stream.getTracks()) peer.addTrack(track, stream);
  } catch {
    event.target.textContent = 'No camera to be had';
  }
};

function end() {
  show('left', 'The other has left');
  peer.close();
  find('#theirs').srcObject = null;
  find('#mine').srcObject?.getTracks().forEach((track) => track.stop());
  find('#mine').hidden = true;
}

/** Camera and microphone, or what there is of them. */
async function openCamera() {
  const { mediaDevices } = navigator;
  try {
    return await mediaDevices.getUserMedia({ video: true, audio: true });
  } catch {
    return mediaDevices.getUserMedia({ video: true });
  }
}

/** Resolves when somebody else has come, however long that takes. */
async function findOther() {
  for (;;) {
    try {
      return await (await fetch('call', { method: 'POST' })).json();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }
}

function show(state, text) {
  document.body.dataset.state = state;
  find('[role=status]').textContent = text;
  find('#camera').disabled = find('input').disabled = find('form button').disabled = state !== 'connected';
}

function write(text, whose) {
  const line = Object.assign(document.createElement('li'), { className: whose, textContent: text });
  find('ol').append(line);
  find('ol').scrollTop = find('ol').scrollHeight;
}
