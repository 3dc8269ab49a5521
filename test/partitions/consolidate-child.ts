/** A process of its own that consolidates and then undoes, and kills itself with -9 when it comes to a given step: URL, `consolidate|undo`, phase, `before|behind`. */
import { createPool } from '../../src/db/pool.ts';
import { applyConsolidate, type ConsolidateEvent } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { NOW, QUICK } from './settings.ts';

const [url = '', verb = '', phase = '', when = ''] = process.argv.slice(2);
const pool = createPool(url, { applicationName: 'to be killed' });
const onEvent = ({ kind, ...event }: ConsolidateEvent): void => {
  if (kind === (when === 'before' ? 'step' : 'done') && 'step' in event && event.step.startsWith(`${phase} `))
    process.kill(process.pid, 'SIGKILL');
};
if (verb === 'consolidate')
  await applyConsolidate(pool, await planConsolidate(pool, 'balance_changes', { now: NOW }), {
    patience: QUICK,
    onEvent,
  });
else
  await applyUndoConsolidation(pool, await planUndoConsolidation(pool, 'balance_changes'), {
    patience: QUICK,
    onEvent,
  });
await pool.end();
