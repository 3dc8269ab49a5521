/** The page's answers from a cluster, read as its own user: those of one server. */
import { onCluster } from './cluster.ts';

await onCluster('the page', () => import('../server/http.test.ts'));
