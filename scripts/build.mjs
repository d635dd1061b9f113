// `npm run build` builds the native addon for this platform and the browser client.
import { onRightNode } from './node-version.mjs';

onRightNode('./prepare.mjs', ({ build }) => build());
