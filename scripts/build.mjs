// Builds what the package ships: the native addon of this platform and the client bundle.
import { onRightNode } from './node-version.mjs';

onRightNode('./prepare.mjs', ({ build }) => build());
