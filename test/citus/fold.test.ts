/** The histories of test/balances on a cluster: after every commit all balances are what the oracle folds. */
import { onCluster } from './cluster.ts';

await onCluster('the fold', () => import('../balances/fold.property.test.ts'));
