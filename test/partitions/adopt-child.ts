/** A process of its own that adopts or undoes, and kills itself with -9 when it comes to a given step: URL, `adopt|undo`, phase, `before|behind`. */
import { createPool } from '../../src/db/pool.ts';
import { applyAdopt, type AdoptEvent } from '../../src/warehouse/partitions/adopt/apply.ts';
import { planAdopt } from '../../src/warehouse/partitions/adopt/plan.ts';
import { applyUndoAdopt, planUndoAdopt } from '../../src/warehouse/partitions/adopt/undo.ts';
import { BALANCES_REQUEST, BALANCES_SET, PRESENT } from './adopt-settings.ts';
import { QUICK } from './settings.ts';

const [url = '', verb = '', phase = '', when = ''] = process.argv.slice(2);
const pool = createPool(url, { applicationName: 'to be killed' });
const onEvent = ({ kind, step }: AdoptEvent): void => {
  if (kind === (when === 'before' ? 'step' : 'done') && step.startsWith(`${phase} `))
    process.kill(process.pid, 'SIGKILL');
};
const options = { patience: QUICK, onEvent };
if (verb === 'adopt')
  await applyAdopt(pool, await planAdopt(pool, BALANCES_REQUEST, { now: PRESENT }), options);
else await applyUndoAdopt(pool, await planUndoAdopt(pool, BALANCES_SET), options);
await pool.end();
