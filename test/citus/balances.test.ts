/** What test/balances asks of one server, asked of a cluster: healing, verification, reads, retention. */
import { onCluster } from './cluster.ts';

await onCluster('healing', () => import('../balances/heal.test.ts'));
await onCluster('verification', () => import('../balances/verify.test.ts'));
await onCluster('reads', () => import('../balances/reads.test.ts'));
await onCluster('retention', () => import('../balances/retention.test.ts'));
