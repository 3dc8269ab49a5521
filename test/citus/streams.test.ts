/** Streams on a cluster: forks, cut calls, dying loaders, workers that catch up. */
import { onCluster } from './cluster.ts';

await onCluster('streams', () => import('../streams/simulator.test.ts'));
