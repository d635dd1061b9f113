/**
 * Perfect negotiation, after the example of the W3C: both sides may send an offer at any time, also at once. If two offers
 * cross, the polite side rolls its own back. The first offer is always the other side's: a browser that rolls back its
 * first offer may find no way to connect.
 *
 * @param {RTCPeerConnection} peer
 * @param channel a relay channel with the other side. It loses no signal, also when the relay is restarted, if that has a store
 * @param {boolean} polite true on one side, false on the other
 */
export function negotiate(peer, channel, polite) {
  let makingOffer = false;
  let ignoringOffer = false;
  const send = (signal) => {
    try {
      channel.send(JSON.stringify(signal));
    } catch {
      // The relay is closed: the call is over, or goes on as it is.
    }
  };

  peer.onnegotiationneeded = async () => {
    // The event comes again when the first offer has been answered.
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

  async function handle({ description, candidate }) {
    if (!description) {
      // The candidates of an ignored offer fit nothing.
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

  // One after the other: what a signal means depends on the one before.
  let handled = Promise.resolve();
  channel.on('message', (message) => {
    handled = handled.then(() => handle(JSON.parse(message))).catch(console.error);
  });
}
