/** The snapshots load on a cluster, by the tests of one server. */
import { onCluster } from './cluster.ts';

await onCluster('snapshots', () => import('../snapshots/load.test.ts'));
await onCluster('histories of snapshots', () => import('../snapshots/histories.test.ts'));
