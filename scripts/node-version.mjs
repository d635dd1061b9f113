// Old Nodes read this file too: nothing in it is newer than Node 12.

const NEEDED = 20;

export function nodeProblem(version) {
  if (parseInt(version.replace('v', ''), 10) >= NEEDED) return null;
  return 'websocket-relay needs Node ' + NEEDED + ' or newer, and this is Node ' + version + ': get one from https://nodejs.org/.';
}

/** Calls `main` of `file`, which may be as modern as it likes, unless this Node is too old to read it. */
export function onRightNode(file, main) {
  const problem = nodeProblem(process.version);
  if (problem) {
    console.error(problem);
    process.exitCode = 1;
    return;
  }
  import(file).then(main).catch((error) => {
    // A Problem is a sentence for the reader; anything else is a bug, which needs its stack.
    console.error(error.name === 'Problem' ? error.message : error);
    process.exitCode = 1;
  });
}
