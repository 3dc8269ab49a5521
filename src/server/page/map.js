/** The strata map: a grid of weeks that is drawn once and then patched, and walked by arrow keys. */
import { byId, fill, h, prose } from './dom.js';
import { bytes, count, counted, day } from './format.js';
import { describe, showWeek, STATES } from './week.js';

const LEAVES_DRAWN_MAX = 8;
const DENSE_FROM = 60;
/** Room for a date under each week. */
const LABELLED_FROM_PX = 42;

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
  if (weeks > DENSE_FROM) return width < 480 ? 26 : 52;
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
      h(
        'p',
        { class: 'empty' },
        prose(
          `${set.set} has no week yet. The first row makes one, and so does \`pgstrata maintain ensure\`.`,
        ),
      ),
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
  showChosen(set);
};

/** There is no table of such a week. */
const EMPTY = new Set(['gap', 'unreached']);

/** The week that is told of before anybody chooses one: what is going on, else the newest with rows. */
const favourite = (set) =>
  set.strata.find(({ state }) => state === 'consolidating' || state === 'loading') ??
  set.strata.findLast(({ state, rows }) => rows > 0 && state !== 'dropped') ??
  set.strata.findLast(({ state }) => state === 'hot') ??
  set.strata.at(-1);

const build = (map, set, columns, largest, order) => {
  const focused = map.contains(document.activeElement);
  view.drawn = order;
  view.columns = columns;
  const dense = set.strata.length > DENSE_FROM;
  map.className = `map${dense ? ' dense' : ''}`;
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
    if (map.clientWidth / columns >= LABELLED_FROM_PX) row.append(...weeks.map(dateUnder));
    rows.push(row);
  }
  fill(map, ...rows);
  map.setAttribute('role', 'grid');
  map.setAttribute('aria-label', `Weeks of ${set.set}, by time; arrow keys move`);
  if (focused) map.querySelector('[tabindex="0"]')?.focus();
};

const dateUnder = ({ start, weeks }, index) => {
  const label = h('small', { 'aria-hidden': 'true', text: weeks > 1 ? '…' : (start ?? '').slice(5, 10) });
  label.style.gridColumn = String(index + 2);
  return label;
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
  if (EMPTY.has(state))
    return [h('b', { 'aria-hidden': 'true', text: weeks > 1 ? String(weeks) : state === 'gap' ? '?' : '' })];
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
  const there = set.strata.filter(
    ({ state }) => !['gap', 'unreached', 'loading', 'held', 'dropped'].includes(state),
  );
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
    used && fact('missing', missing === 0 ? 'none' : counted(missing, 'week'), missing > 0),
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
    h('li', { class: 'soft', text: 'the fuller the colour, the more bytes' }),
  );
};

const sample = (state) =>
  EMPTY.has(state)
    ? [h('b', { text: state === 'gap' ? '?' : '' })]
    : Array.from({ length: state === 'consolidated' || state === 'dropped' ? 1 : 3 }, () =>
        h('i', { 'data-size': state === 'ahead' ? 0 : 3 }),
      );

const showChosen = (set) => {
  const stratum = set.strata.find((one) => key(one) === view.week);
  if (stratum !== undefined) showWeek(stratum);
};

const choose = (button) => {
  view.week = button.dataset.key;
  mark(byId('map'));
  showChosen(current());
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
  map.addEventListener('click', (/** @type {any} */ event) => {
    const button = event.target.closest?.('.week');
    if (button) choose(button);
  });
  map.addEventListener('focusin', (/** @type {any} */ event) => {
    if (event.target.matches('.week')) choose(event.target);
  });
  map.addEventListener('keydown', (/** @type {any} */ event) => {
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
