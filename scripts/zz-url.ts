import { startEmbedded } from '../src/db/embedded.ts';
const s = await startEmbedded({ dir: '/tmp/face/play/.pgstrata' });
console.log(s.url.replace(/\/[^/]*$/, '/pgstrata_demo'));
await new Promise((r) => setTimeout(r, 3600_000));
