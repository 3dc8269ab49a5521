/** Maintenance runs: a line each; opened, the plan with its locks, what came of it, and the proofs. */
import { ask, byId, failure, fill, h, prose, table } from './dom.js';
import { ago, bytes, count, counted, minute, span } from './format.js';

const TAGS = {
  done: ['good', '✓'],
  nothing: ['', '○'],
  running: ['warn', '◐'],
  refused: ['warn', '!'],
  stopped: ['', '■'],
  failed: ['bad', '✗'],
};

const tagOf = (outcome) => {
  const [tone, sign] = TAGS[outcome] ?? ['', '·'];
  return h(
    'span',
    { class: `tag ${tone}` },
    h('span', { 'aria-hidden': 'true', text: sign }),
    outcome === 'nothing' ? 'nothing to do' : outcome,
  );
};

const secondsOf = (run) =>
  (Date.parse(run.finished_at ?? new Date().toISOString()) - Date.parse(run.started_at)) / 1000;

/** Runs that are shown, by number: an open one stays open. @type {Map<number, HTMLDetailsElement>} */
const shown = new Map();

/** @param {any[]} runs */
export const showRuns = (runs) => {
  const list = byId('run-list');
  if (runs.length === 0) {
    fill(
      list,
      h(
        'p',
        { class: 'empty' },
        prose(
          'Nothing has been maintained yet. `pgstrata schedule` looks after the partitions; `pgstrata maintain` does so once.',
        ),
      ),
    );
    return;
  }
  for (const id of shown.keys()) if (!runs.some((run) => run.run_id === id)) shown.delete(id);
  for (const run of runs) {
    const known = shown.get(run.run_id);
    const line = h(
      'summary',
      {},
      h('span', { class: 'what', text: run.verb }),
      tagOf(run.outcome),
      h('span', { text: run.set }),
      h('span', {
        class: 'soft when',
        text: `${minute(run.started_at)}, ${ago(run.started_at)}`,
        title: `asked for by ${run.asked_by} on ${run.host ?? 'an unknown host'}`,
      }),
      h('span', { class: 'num soft', text: `${counted(run.steps, 'step')}, ${span(secondsOf(run))}` }),
    );
    const said = `${run.outcome}${run.finished_at}${minute(new Date().toISOString())}`;
    if (known) {
      if (known.dataset.said === said) continue;
      known.dataset.said = said;
      const focused = known.firstElementChild === document.activeElement;
      known.firstElementChild?.replaceWith(line);
      if (focused) line.focus();
    } else {
      const body = h('div', { class: 'body', 'aria-busy': 'true' });
      const details = /** @type {HTMLDetailsElement} */ (h('details', { 'data-said': said }, line, body));
      details.addEventListener('toggle', () => details.open && void open(run.run_id, body));
      shown.set(run.run_id, details);
    }
  }
  const order = runs.map((run) => shown.get(run.run_id));
  const box = list.querySelector('.runs') ?? h('div', { class: 'runs' });
  if (box.children.length !== order.length || order.some((item, index) => box.children[index] !== item))
    box.replaceChildren(...order);
  if (!box.isConnected) fill(list, box);
};

const open = async (id, body) => {
  if (body.childElementCount === 0) fill(body, h('div', { class: 'skeleton' }));
  try {
    fill(body, ...tell(await ask('/api/run', { run: String(id) })));
  } catch (thrown) {
    fill(body, failure(thrown));
  }
};

/** A relation as people call it: our own schema and the quotes are understood. */
const plain = (relation) => relation.replaceAll('"', '').replace(/^strata\./, '');

/** Locks of a step, those of one mode together. */
const locksOf = ({ locks }) => {
  const groups = Map.groupBy(locks, ({ mode, held }) => `${mode} ${held}`);
  return [...groups.values()].map((group) => {
    const { mode, held, relation } = group[0];
    const more = group.length > 1 ? ` and ${group.length - 1} more` : '';
    return `${mode} on ${plain(relation)}${more}, for ${held === 'moment' ? 'milliseconds' : 'the step'}`;
  });
};

const STEPS = [
  { head: 'Step', class: 'full', cell: (step) => step.name },
  {
    head: 'Locks',
    class: 'soft full',
    cell: (step) => h('span', { text: locksOf(step).join('; ') || 'none' }),
  },
  { head: 'Rows', num: true, cell: (step) => count(step.rows) },
  { head: 'Bytes', num: true, cell: (step) => bytes(step.bytes) },
  { head: 'Why', class: 'soft full', cell: (step) => step.why },
];

const PROOFS = [
  { head: 'Week', cell: (proof) => proof.week },
  { head: 'Step', cell: (proof) => proof.step },
  { head: 'Rows, both sides', num: true, cell: (proof) => count(proof.rows) },
  { head: 'Hash, both sides', class: 'mono', cell: (proof) => proof.hash ?? '–' },
  { head: 'Before', num: true, cell: (proof) => bytes(proof.bytes_before) },
  { head: 'After', num: true, cell: (proof) => bytes(proof.bytes_after) },
  {
    head: 'Root locked',
    num: true,
    cell: (proof) => (proof.root_locked_ms === null ? '–' : span(proof.root_locked_ms / 1000)),
  },
];

const STEPS_SHOWN = 8;

const tell = (run) => {
  const { steps, notes } = run.plan;
  const plan = (some) =>
    h(
      'div',
      { class: 'wide', role: 'group', 'aria-label': 'Plan', tabindex: 0 },
      table('Plan', STEPS, some, { class: 'cards' }),
    );
  return [
    run.error && h('p', { class: 'failed', text: run.remedy ? `${run.error}. ${run.remedy}` : run.error }),
    run.proofs.length > 0 &&
      h(
        'div',
        {},
        h('h3', { text: 'Proofs' }),
        h(
          'div',
          { class: 'wide', role: 'group', 'aria-label': 'Proofs', tabindex: 0 },
          table('Proofs', PROOFS, run.proofs, { class: 'cards' }),
        ),
      ),
    notes.length > 0 && h('ul', { class: 'notes' }, ...notes.map((note) => h('li', { text: note }))),
    h('h3', { text: `Plan, ${counted(run.steps, 'step')}` }),
    steps.length === 0 && h('p', { class: 'empty', text: 'It had nothing to do.' }),
    steps.length > 0 && plan(steps.slice(0, STEPS_SHOWN)),
    steps.length > STEPS_SHOWN &&
      h(
        'details',
        {},
        h('summary', { text: counted(run.steps - STEPS_SHOWN, 'more step') }),
        plan(steps.slice(STEPS_SHOWN)),
      ),
  ];
};
