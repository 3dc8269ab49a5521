/** Every analytics function on a cluster, against the oracle of one server. */
import { onCluster } from './cluster.ts';

await onCluster('analytics', () => import('../analytics/exact.test.ts'));
