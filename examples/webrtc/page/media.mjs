/**
 * Plays the other side's video. A browser may refuse to play sound on a page that nobody has clicked on: then the video
 * plays muted, and a button turns the sound on.
 */
export async function playVideo(video, stream, button) {
  if (video.srcObject === stream) return;
  Object.assign(video, { srcObject: stream, muted: false, hidden: false });
  button.onclick = () => {
    button.hidden = true;
    video.muted = false;
    video.play();
  };
  try {
    await video.play();
  } catch (error) {
    // Otherwise another stream has taken its place.
    if (error.name !== 'NotAllowedError') return;
    video.muted = true;
    Object.assign(button, { textContent: 'Turn on the sound', hidden: false });
    // Some browsers refuse muted videos too, for example to save power.
    await video.play().catch(() => (button.textContent = 'Play the video'));
  }
}

const PROBLEMS = {
  NotAllowedError: 'Allow the camera, and try again',
  NotFoundError: 'No camera found, try again',
  NotReadableError: 'The camera is in use, try again',
};

/** Resolves to the camera's stream, with the microphone if there is one. Rejects with what to show. */
export async function openCamera() {
  const { mediaDevices } = navigator;
  if (!mediaDevices) throw new Error('Cameras need https');
  try {
    return await mediaDevices.getUserMedia({ video: true, audio: true }).catch(() => mediaDevices.getUserMedia({ video: true }));
  } catch (cause) {
    throw new Error(PROBLEMS[cause.name] ?? 'The camera does not work, try again', { cause });
  }
}
