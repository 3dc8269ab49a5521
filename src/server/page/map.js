/** The strata map: a grid of weeks that is drawn once and then patched, walked by arrow keys, with the chosen week told in full. */
import { byId, fill, h } from './dom.js';
import { bytes, count, day, minute, percent, span } from './format.js';

/** Each state: its name, and what it says of a week. */
const STATES = {
  ahead: ['ahead', 'Made ahead: empty until its time comes.'],
  hot: ['hot', 'Rows are being written into it now.'],
  closed: ['closed', 'Its time is over; its hash partitions wait to be consolidated.'],
  consolidating: [
    'consolidating',
    'Its hash partitions are being merged into one table while it is read and written.',
  ],
  consolidated: [
    'consolidated',
    'One table: its hash partitions were merged, and proved to hold the same rows.',
  ],
  held: ['held', 'Taken out by retention; it can still be put back.'],
  dropped: ['dropped', 'Taken out by retention and dropped. Balances of its time were carried forward.'],
  gap: [
    'missing',
    'No partition covers it: rows of this time make it, and so does `pgstrata maintain ensure`.',
  ],
  other: ['other', 'A partition that is not one whole week; maintenance leaves it alone.'],
};

const LEAVES_DRAWN_MAX = 8;
const DENSE_FROM = 40;

/** @type {{ sets: any[], chosen: string | null, week: string | null, columns: number, drawn: string }} */
const view = { sets: [], chosen: null, week: null, columns: 0, drawn: '' };

/** @param {any[]} sets */
export const showMap = (sets) => {
  view.sets = sets;
  if (!sets.some(({ set }) => set === view.chosen)) {
    view.chosen = (sets.find(({ strata }) => strata.length > 0) ?? sets[0])?.set ?? null;
    view.week = null;
  }
  drawChoice();
  draw();
};

const current = () => view.sets.find(({ set }) => set === view.chosen);

const drawChoice = () => {
  const names = view.sets.map(({ set }) => set);
  const box = byId('sets');
  if (box.dataset.names === names.join()) return;
  box.dataset.names = names.join();
  for (const label of box.querySelectorAll('label')) label.remove();
  for (const name of names) {
    const choose = () => {
      view.chosen = name;
      view.week = null;
      draw();
    };
    const input = h('input', { type: 'radio', name: 'set', value: name, onchange: choose });
    input.checked = name === view.chosen;
    box.append(h('label', {}, input, name));
  }
};

/** How many weeks fit beside each other. */
const columnsFor = (width, weeks) => {
  const room = width < 480 ? 13 : width < 820 ? 26 : 52;
  return weeks <= 26 ? Math.max(13, Math.min(room, weeks)) : room;
};

const key = (stratum) => `${stratum.start}${stratum.name}`;

const draw = () => {
  const set = current();
  const map = byId('map');
  if (set === undefined) {
    fill(map, h('p', { class: 'empty', text: 'There is no partition set.' }));
    return;
  }
  drawFacts(set);
  drawLegend(set);
  if (set.strata.length === 0) {
    view.drawn = '';
    fill(
      map,
      h('p', {
        class: 'empty',
        text: `${set.set} has no week yet. The first row makes one, and so does pgstrata maintain ensure.`,
      }),
    );
    fill(byId('detail'), h('p', { class: 'soft', text: 'Nothing to show.' }));
    return;
  }
  const columns = columnsFor(map.clientWidth, set.strata.length);
  const largest = Math.max(
    1,
    ...set.strata.flatMap(({ state, leaves }) =>
      state === 'consolidated' ? leaves.map((b) => b / set.modulus) : leaves,
    ),
  );
  const order = [set.set, columns, ...set.strata.map(key)].join();
  if (view.drawn === order) patch(map, set, largest);
  else build(map, set, columns, largest, order);
  if (!set.strata.some((stratum) => key(stratum) === view.week)) view.week = key(favourite(set));
  mark(map);
  drawDetail(set);
};

/** The week that is told of before anybody chooses one: what is going on, else the newest with rows. */
const favourite = (set) =>
  set.strata.find(({ state }) => state === 'consolidating') ??
  set.strata.findLast(({ state }) => state === 'hot') ??
  set.strata.findLast(({ state }) => state !== 'gap' && state !== 'ahead') ??
  set.strata.at(-1);

const build = (map, set, columns, largest, order) => {
  const focused = map.contains(document.activeElement);
  view.drawn = order;
  view.columns = columns;
  map.className = `map${set.strata.length > DENSE_FROM ? ' dense' : ''}`;
  const rows = [];
  for (let at = 0; at < set.strata.length; at += columns) {
    const weeks = set.strata.slice(at, at + columns);
    const row = h(
      'div',
      { class: 'layer', role: 'row' },
      h('span', { role: 'rowheader', text: day(weeks[0].start) }),
    );
    row.style.setProperty('--columns', String(columns));
    row.append(...weeks.map((stratum) => tile(stratum, set, largest)));
    rows.push(row);
  }
  fill(map, ...rows);
  map.setAttribute('role', 'grid');
  map.setAttribute('aria-label', `Weeks of ${set.set}, by time; arrow keys move`);
  if (focused) map.querySelector('[tabindex="0"]')?.focus();
};

const tile = (stratum, set, largest) => {
  const button = h('button', {
    class: 'week',
    type: 'button',
    role: 'gridcell',
    tabindex: -1,
    'data-key': key(stratum),
  });
  dress(button, stratum, set, largest);
  return button;
};

/** Gives a tile the looks of its week. */
const dress = (button, stratum, set, largest) => {
  const looks = JSON.stringify([stratum, largest]);
  if (button.dataset.looks === looks) return;
  button.dataset.looks = looks;
  button.dataset.state = stratum.state;
  button.setAttribute('aria-label', describe(stratum));
  button.title = describe(stratum);
  button.replaceChildren(...layersOf(stratum, set, largest));
};

const layersOf = ({ state, leaves, weeks }, set, largest) => {
  if (state === 'gap') return [h('b', { 'aria-hidden': 'true', text: weeks > 1 ? String(weeks) : '?' })];
  if (leaves.length === 0) return [h('i', { 'data-size': 0 })];
  const per = Math.ceil(leaves.length / LEAVES_DRAWN_MAX);
  const shown = leaves.filter((_bytes, index) => index % per === 0);
  return shown.map((size) =>
    h('i', {
      'data-size': size === null ? 1 : shade(state === 'consolidated' ? size / set.modulus : size, largest),
    }),
  );
};

/** Five shades, by the root: so that small ones differ, too. */
const shade = (size, largest) => Math.min(4, Math.floor(Math.sqrt(size / largest) * 5));

const describe = (stratum) => {
  const [name] = STATES[stratum.state];
  if (stratum.state === 'gap')
    return stratum.weeks === 1
      ? `Week of ${day(stratum.start)}: missing`
      : `${stratum.weeks} weeks from ${day(stratum.start)}: missing`;
  const parts = stratum.leaves.length > 1 ? `, ${stratum.leaves.length} partitions` : '';
  const step = stratum.step ? ` (${stratum.step})` : '';
  const when = stratum.start ? `Week of ${day(stratum.start)}` : stratum.name;
  return `${when}: ${name}${step}${parts}${stratum.bytes === null || stratum.bytes === undefined ? '' : `, ${bytes(stratum.bytes)}`}`;
};

const patch = (map, set, largest) => {
  const tiles = map.querySelectorAll('.week');
  set.strata.forEach((stratum, index) => dress(tiles[index], stratum, set, largest));
};

const mark = (map) => {
  for (const button of map.querySelectorAll('.week')) {
    const chosen = button.dataset.key === view.week;
    button.tabIndex = chosen ? 0 : -1;
    button.setAttribute('aria-selected', String(chosen));
  }
};

const fact = (name, value, bad = false) =>
  h('div', {}, h('dt', { text: name }), h('dd', { class: bad ? 'bad' : null, text: value }));

const drawFacts = (set) => {
  const there = set.strata.filter(({ state }) => !['gap', 'held', 'dropped'].includes(state));
  const runway = set.runway_weeks;
  const missing = set.counts.gap ?? 0;
  const used = there.length > 0;
  fill(
    byId('set-facts'),
    fact('weeks', count(there.length)),
    fact('tables', count(there.reduce((sum, { leaves }) => sum + leaves.length, 0))),
    fact('size', bytes(set.bytes)),
    fact('held aside', bytes(set.held_bytes)),
    used &&
      fact(
        'runway',
        runway < 0 ? '✗ the present week is missing' : `${runway} of ${set.premake} weeks ahead`,
        runway < 0,
      ),
    used && fact('missing', missing === 0 ? 'none' : `${missing} weeks`, missing > 0),
    fact('cut by', set.cut),
  );
};

const drawLegend = (set) => {
  const shown = Object.entries(STATES).filter(
    ([state]) => set.counts[state] || ['hot', 'closed', 'consolidating', 'consolidated'].includes(state),
  );
  fill(
    byId('legend'),
    ...shown.map(([state, [name]]) =>
      h(
        'li',
        {},
        h('span', { class: 'week', 'data-state': state, 'aria-hidden': 'true' }, ...sample(state)),
        name,
        h('span', { class: 'n', text: count(set.counts[state] ?? 0) }),
      ),
    ),
    h('li', { class: 'soft', text: 'darker layers are larger' }),
  );
};

const sample = (state) =>
  state === 'gap'
    ? [h('b', { text: '?' })]
    : Array.from({ length: state === 'consolidated' || state === 'dropped' ? 1 : 3 }, () =>
        h('i', { 'data-size': state === 'ahead' ? 0 : 3 }),
      );

const drawDetail = (set) => {
  const stratum = set.strata.find((one) => key(one) === view.week);
  if (stratum === undefined) return;
  const [name, says] = STATES[stratum.state];
  const line = (term, value) => value !== '–' && [h('dt', { text: term }), h('dd', { text: value })];
  const { proof } = stratum;
  const title =
    stratum.start === null
      ? stratum.name
      : stratum.weeks > 1
        ? `${stratum.weeks} weeks`
        : `Week of ${day(stratum.start)}`;
  const lines = [
    line('from', minute(stratum.start)),
    line('to', minute(stratum.end)),
    line('size', bytes(stratum.bytes)),
    line('rows, about', count(stratum.rows)),
    line('step', stratum.step ?? '–'),
    line('can be put back until', day(stratum.held_until)),
    ...(proof
      ? [
          line('proved rows', count(proof.rows)),
          line('hash', proof.hash ?? '–'),
          line('before → after', `${bytes(proof.bytes_before)} → ${bytes(proof.bytes_after)}`),
          proof.bytes_before > 0 &&
            proof.bytes_after !== null &&
            line('smaller by', percent(1 - proof.bytes_after / proof.bytes_before)),
          line('root locked', proof.root_locked_ms === null ? '–' : span(proof.root_locked_ms / 1000)),
        ]
      : []),
  ];
  fill(
    byId('detail'),
    h('h3', { text: title }),
    h('p', { class: 'mono soft', text: stratum.name }),
    h('p', {}, h('strong', { text: `${name}. ` }), says),
    stratum.error && h('p', { class: 'failed', text: stratum.error }),
    h('dl', {}, ...lines.filter(Boolean).flat()),
    stratum.leaves.length > 1 && leafBars(stratum.leaves),
  );
};

const leafBars = (leaves) => {
  const largest = Math.max(1, ...leaves);
  return h(
    'ul',
    { class: 'leaves', 'aria-label': 'Bytes of each hash partition' },
    ...leaves.slice(0, 32).map((size, index) => {
      const bar = h('span', { class: 'bar' });
      bar.style.width = `${((size ?? 0) / largest) * 100}%`;
      return h(
        'li',
        {},
        h('span', { class: 'soft', text: `#${index}` }),
        bar,
        h('span', { class: 'num', text: bytes(size) }),
      );
    }),
  );
};

const choose = (button) => {
  view.week = button.dataset.key;
  mark(byId('map'));
  drawDetail(current());
};

/** Where a key leads from a tile. @type {Record<string, (at: number, last: number) => number>} */
const STEPS = {
  ArrowLeft: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  ArrowUp: (at) => at - view.columns,
  ArrowDown: (at) => at + view.columns,
  Home: () => 0,
  End: (_at, last) => last,
};

export const startMap = () => {
  const map = byId('map');
  map.addEventListener('click', (event) => {
    const button = event.target.closest?.('.week');
    if (button) choose(button);
  });
  map.addEventListener('focusin', (event) => {
    if (event.target.matches('.week')) choose(event.target);
  });
  map.addEventListener('keydown', (event) => {
    const tiles = [...map.querySelectorAll('.week')];
    const at = tiles.indexOf(event.target);
    const step = STEPS[event.key];
    if (at < 0 || step === undefined) return;
    event.preventDefault();
    tiles[step(at, tiles.length - 1)]?.focus();
  });
  let width = 0;
  new ResizeObserver(() => {
    if (map.clientWidth === width || view.sets.length === 0) return;
    width = map.clientWidth;
    requestAnimationFrame(draw);
  }).observe(map);
};
