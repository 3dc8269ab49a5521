/** The page: takes what the server sends and hands each section its own; says when nothing comes any more. */
import { ask, byId, fill, h, prose } from './dom.js';
import { counted } from './format.js';
import { showMap, startMap } from './map.js';
import { showRuns } from './runs.js';
import { showStreams } from './streams.js';
import { startExplorer } from './explorer.js';

const live = (state, text) => {
  const box = byId('live');
  if (box.dataset.state === state) return;
  box.dataset.state = state;
  box.textContent = text;
};

/** @type {{ alerts: any[] | null, streams: any[] | null }} */
const known = { alerts: null, streams: null };

const SIGNS = { fault: '✗ fault', warning: '! warning' };

const showVerdict = () => {
  const { alerts, streams } = known;
  if (alerts === null || streams === null) return;
  const stopped = streams.filter(
    ({ state, last_error: error }) => state === 'lost' || (state === 'stopped' && error),
  );
  const faults = alerts.filter(({ state }) => state === 'fault').length + stopped.length;
  const warnings = alerts.length + stopped.length - faults;
  const said = [faults > 0 && counted(faults, 'fault'), warnings > 0 && counted(warnings, 'warning')]
    .filter(Boolean)
    .join(', ');
  const items = [
    ...stopped.map(({ stream, state, last_error: error }) => ({
      set: null,
      check: `stream ${stream}`,
      state: 'fault',
      says: state === 'lost' ? 'its process has said nothing for two minutes' : error.message,
      remedy: error?.remedy ?? 'Start `pgstrata ingest --follow` again.',
    })),
    ...alerts,
  ];
  showTitle(faults > 0 ? `✗ ${said}` : warnings > 0 ? `! ${said}` : '✓');
  const box = byId('verdict');
  if (items.length === 0) {
    fill(
      box,
      h('p', { class: 'sum tag good' }, h('span', { 'aria-hidden': 'true', text: '✓' }), 'All is well'),
    );
    return;
  }
  const tone = faults > 0 ? 'bad' : 'warn';
  const checks = [...new Set(items.map(({ check }) => check))].join(', ');
  const open = box.querySelector('details')?.open ?? faults > 0;
  fill(
    box,
    h(
      'details',
      { class: tone, open },
      h(
        'summary',
        {},
        h('span', { class: `sum tag ${tone}`, text: `${faults > 0 ? '✗' : '!'} ${said}` }),
        h('span', { class: 'soft', text: ` ${checks}` }),
      ),
      h('ul', { class: 'alerts' }, ...items.map(alertItem)),
    ),
  );
};

/** So that a tab among many tells whether to look. */
const showTitle = (text) => {
  const name = byId('where').textContent;
  document.title = [text, name || 'pgstrata'].filter(Boolean).join(' · ');
};

const alertItem = ({ set, check, state, says, remedy }) =>
  h(
    'li',
    {},
    h(
      'p',
      {},
      h('span', { class: `tag ${state === 'fault' ? 'bad' : 'warn'}`, text: SIGNS[state] }),
      ' ',
      h('strong', { text: set === null ? check : `${set}: ${check}` }),
      ` · ${says}`,
    ),
    remedy && h('p', { class: 'remedy' }, prose(remedy)),
  );

/** What each event brings. @type {Record<string, (value: any) => void>} */
const SHOWS = {
  streams: (value) => {
    known.streams = value;
    showStreams(value);
    showVerdict();
  },
  map: (value) => {
    showMap(value);
    document.documentElement.dataset.painted ??= String(Math.round(performance.now()));
  },
  runs: showRuns,
  alerts: (value) => {
    known.alerts = value;
    showVerdict();
  },
  trouble: (value) => {
    const box = byId('trouble');
    box.hidden = value === null;
    box.textContent = value === null ? '' : `What is below may be old: ${value}`;
    // What was well may not be any more.
    byId('verdict').hidden = value !== null;
    if (value === null) {
      live('live', 'live');
      showVerdict();
    } else {
      live('lost', 'no database');
      showTitle('✗ no database');
    }
  },
};

const listen = () => {
  const events = new EventSource('/events');
  for (const [name, show] of Object.entries(SHOWS))
    events.addEventListener(name, (event) => show(JSON.parse(event.data)));
  events.addEventListener('open', () => {
    if (byId('trouble').hidden) live('live', 'live');
  });
  events.addEventListener('error', () => {
    live('lost', 'connection lost, trying again');
    showTitle('? connection lost');
    // Refused, not lost: the session has ended.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  });
};

startMap();
startExplorer();
listen();

const showAbout = async () => {
  const { version, role, advice, database, server } = await ask('/api/about');
  const reads = role === null ? advice : `reads as ${role}`;
  byId('where').textContent = database;
  showVerdict();
  byId('about').textContent = `pgstrata ${version} · PostgreSQL ${server} · ${reads} · times are UTC`;
};
// What it would have said is no loss: what is wrong is said by the events.
showAbout().catch(() => undefined);
