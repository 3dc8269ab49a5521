/** The streams: one line each, with what went wrong under it. */
import { byId, fill, h, prose, table } from './dom.js';
import { ago, bytes, count, counted, percent, short, span } from './format.js';

const TAGS = {
  running: ['good', '●', 'running'],
  waiting: ['warn', '◐', 'waiting'],
  stopped: ['', '■', 'stopped'],
  lost: ['bad', '✗', 'lost'],
};

const stateTag = (stream) => {
  if (stream.state === null) return h('span', { class: 'tag', text: '○ not followed' });
  const [tone, sign, name] =
    stream.state === 'stopped' && stream.last_error ? ['bad', '✗', 'stopped'] : TAGS[stream.state];
  return h('span', { class: `tag ${tone}` }, h('span', { 'aria-hidden': 'true', text: sign }), name);
};

const SVG = 'http://www.w3.org/2000/svg';

/** Rows of each of the last sixty minutes, as an area. */
const sparkline = (minutes) => {
  const top = Math.max(1, ...minutes);
  const step = 120 / Math.max(1, minutes.length - 1);
  const points = minutes.map(
    (rows, index) => `${(index * step).toFixed(1)},${(24 - (rows / top) * 22).toFixed(1)}`,
  );
  const svg = document.createElementNS(SVG, 'svg');
  for (const [name, value] of Object.entries({
    class: 'spark',
    viewBox: '0 0 120 25',
    width: '120',
    height: '25',
    role: 'img',
  }))
    svg.setAttribute(name, value);
  const sum = minutes.reduce((total, rows) => total + rows, 0);
  svg.setAttribute('aria-label', `${count(sum)} rows in the last hour, at most ${count(top)} a minute`);
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', `M0,25 L${points.join(' L')} L120,25 Z`);
  svg.append(path);
  return svg;
};

const COLUMNS = [
  {
    head: 'Stream',
    class: 'full',
    cell: (row) =>
      h(
        'span',
        {},
        h('strong', { text: row.stream }),
        h('span', { class: 'soft network', text: row.network ? ` · ${row.network}` : '' }),
      ),
  },
  { head: 'State', cell: stateTag },
  {
    head: 'Position',
    num: true,
    cell: (row) =>
      h(
        'span',
        {},
        count(row.position),
        h('span', { class: 'soft', text: row.head === null ? '' : ` of ${count(row.head)}` }),
      ),
  },
  {
    head: 'Lag',
    num: true,
    cell: (row) =>
      row.lag_blocks === null
        ? span(row.lag_seconds)
        : [counted(row.lag_blocks, 'block'), row.lag_seconds !== null && span(row.lag_seconds)]
            .filter(Boolean)
            .join(', '),
  },
  { head: 'Last hour', cell: (row) => (row.minutes.length > 0 ? sparkline(row.minutes) : '–') },
  { head: 'Rows/s', num: true, cell: (row) => short(row.rows_per_second) },
  { head: 'Rows', num: true, cell: (row) => count(row.rows) },
  {
    head: 'Gaps',
    num: true,
    cell: (row) =>
      row.gaps === 0
        ? 'none'
        : h('span', { class: 'tag warn', text: `! ${count(row.gaps)} (${count(row.gap_blocks)} blocks)` }),
  },
  {
    head: 'Quarantined',
    num: true,
    cell: (row) =>
      row.quarantined === 0 ? 'none' : h('span', { class: 'tag warn', text: `! ${count(row.quarantined)}` }),
  },
  { head: 'Committed', num: true, cell: (row) => (row.last_commit ? ago(row.last_commit) : '–') },
];

/** What a worker is at, and what it has done where its process says so. */
const workerText = ({ worker, from, to, rows, partitions }) =>
  `Worker ${worker}: blocks ${count(from)} to ${count(to - 1)}${
    partitions === undefined ? '' : `, behind ${count(partitions)} partitions with ${count(rows)} rows`
  }`;

/** How far the history is that workers load. */
const catchUp = ({ stream, catch_up: { done, total, rows }, workers }) => [
  h(
    'p',
    { class: 'catch-up' },
    h('progress', { value: done, max: Math.max(1, total), 'aria-label': `History of ${stream}` }),
    h('span', {
      text: `History: ${percent(total === 0 ? 1 : done / total)}, ${count(done)} of ${count(total)} blocks${
        rows === undefined ? '' : `, ${count(rows)} rows`
      }`,
    }),
  ),
  workers.length > 0 &&
    h('ul', { class: 'workers soft' }, ...workers.map((worker) => h('li', { text: workerText(worker) }))),
];

/** What stands under a stream's line: how far its history is, its error, its newest reorgs, what its work costs. */
const under = (row) => {
  const { last_error: error, work } = row;
  const lines = [];
  if (row.catch_up) lines.push(...catchUp(row));
  if (error) {
    const next = row.next_try_at
      ? ` Next try ${new Date(row.next_try_at) > new Date() ? `in ${span((Date.parse(row.next_try_at) - Date.now()) / 1000)}` : 'now'}.`
      : '';
    lines.push(
      h(
        'p',
        { class: 'failed' },
        h('strong', { text: `${counted(row.failures, 'failure')}, breaker ${row.breaker}. ` }),
        `${error.message}. `,
        error.remedy ?? '',
        next,
      ),
    );
  }
  if (row.reorgs.length > 0) {
    const items = row.reorgs
      .slice(0, 3)
      .map(
        (reorg) =>
          `${reorg.network} from block ${count(reorg.from)}, ${count(reorg.rows)} rows, ${ago(reorg.at)}`,
      );
    lines.push(h('p', { class: 'soft', text: `Last reorgs: ${items.join(' · ')}` }));
  }
  if (work?.commits > 0) {
    const each = (seconds) => span(seconds / work.commits);
    lines.push(
      h('p', {
        class: 'soft',
        text: `Since its process started ${ago(row.started_at)}: ${counted(work.commits, 'commit')}, ${counted(work.reorgs ?? 0, 'reorg')}, ${bytes(work.bytes)} sent; a commit takes ${each(work.copy_seconds)} of COPY, ${each(work.fold_seconds)} of folding, ${each(work.commit_seconds)} to commit.`,
      }),
    );
  }
  return lines.length === 0 ? null : h('div', {}, ...lines);
};

/** @param {any[]} streams */
export const showStreams = (streams) => {
  fill(
    byId('stream-list'),
    streams.length === 0
      ? h(
          'p',
          { class: 'empty' },
          prose('No stream has been loaded yet. Declare one in `pgstrata.yaml` and run `pgstrata ingest`.'),
        )
      : h(
          'div',
          { class: 'wide', role: 'group', 'aria-label': 'Streams', tabindex: 0 },
          table('Streams', COLUMNS, streams, { class: 'cards', below: under }),
        ),
  );
};
