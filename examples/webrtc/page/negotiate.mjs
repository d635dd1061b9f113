/**
 * Perfect negotiation, after the example of the W3C: both sides may offer whenever they need to, also at once. Of two
 * offers that cross, the polite side takes its own back. Only the first is the other side's: a browser that takes its
 * first offer back may find no way to connect.
 *
 * @param {RTCPeerConnection} peer
 * @param channel a relay channel with the other side
 * @param {boolean} polite true on one side, false on the other
 */
export function negotiate(peer, channel, polite) {
  let makingOffer = false;
  let ignoringOffer = false;
  const send = (signal) => channel.send(JSON.stringify(signal));

  peer.onnegotiationneeded = async () => {
    // What it is needed for is asked again when the first offer has been answered.
    if (polite && !peer.remoteDescription) return;
    try {
      makingOffer = true;
      await peer.setLocalDescription();
      send({ description: peer.localDescription });
    } catch (error) {
      console.error(error);
    } finally {
      makingOffer = false;
    }
  };

  peer.onicecandidate = ({ candidate }) => send({ candidate });

  peer.oniceconnectionstatechange = () => {
    if (peer.iceConnectionState === 'failed') peer.restartIce();
  };

  // One after the other: what a signal means depends on what became of the one before.
  let handled = Promise.resolve();
  channel.on('message', (message) => {
    handled = handled.then(() => handle(JSON.parse(message))).catch(console.error);
  });

  async function handle({ description, candidate }) {
    if (!description) {
      // The candidates of an offer that was ignored fit nothing.
      await peer.addIceCandidate(candidate).catch((error) => ignoringOffer || Promise.reject(error));
      return;
    }
    const isOffer = description.type === 'offer';
    ignoringOffer = !polite && isOffer && (makingOffer || peer.signalingState !== 'stable');
    if (ignoringOffer) return;
    await peer.setRemoteDescription(description);
    if (!isOffer) return;
    await peer.setLocalDescription();
    send({ description: peer.localDescription });
  }
}
