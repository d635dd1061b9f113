// Old versions of Node parse this file too: use nothing newer than Node 12.

const REQUIRED = 20;

export function nodeProblem(version) {
  if (parseInt(version.replace('v', ''), 10) >= REQUIRED) return null;
  return 'websocket-relay needs Node ' + REQUIRED + ' or newer, and this is Node ' + version + ': get one from https://nodejs.org/.';
}

/** Imports `file` and calls `main` with it, unless this Node is too old. */
export function onRightNode(file, main) {
  const problem = nodeProblem(process.version);
  if (problem) {
    console.error(problem);
    process.exitCode = 1;
    return;
  }
  import(file).then(main).catch((error) => {
    // A Problem is a message for the user; anything else is a bug and needs its stack.
    console.error(error.name === 'Problem' ? error.message : error);
    process.exitCode = 1;
  });
}
