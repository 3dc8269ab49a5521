/** One week of the strata map, in words: its state, its sizes, what was proved of it. */
import { byId, fill, h, prose } from './dom.js';
import { bytes, count, day, minute, percent, span } from './format.js';

/** Each state: its name, and what it says of a week. */
export const STATES = {
  ahead: ['ahead', 'Made ahead: empty until its time comes.'],
  loading: [
    'loading',
    'History that is loaded beside the set, without indexes; it becomes readable whole, with its balances.',
  ],
  hot: ['hot', 'The week of now, or the one that a stream has come to: here rows are written.'],
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
    'No partition covers it: loads make the weeks they need, and so does `pgstrata maintain ensure`; a plain INSERT of this time is refused.',
  ],
  unreached: [
    'not reached',
    'No rows have come this far, so no partition was made: nothing is missing. A load makes the weeks that it comes to.',
  ],
  other: ['other', 'A partition that is not one whole week; maintenance leaves it alone.'],
};

/** A week in a line. @param {any} stratum */
export const describe = (stratum) => {
  const [name] = STATES[stratum.state];
  if (stratum.state === 'gap' || stratum.state === 'unreached')
    return stratum.weeks === 1
      ? `Week of ${day(stratum.start)}: ${name}`
      : `${stratum.weeks} weeks from ${day(stratum.start)}: ${name}`;
  const parts = stratum.leaves.length > 1 ? `, ${stratum.leaves.length} partitions` : '';
  const step = stratum.step ? ` (${stratum.step})` : '';
  const when = stratum.start ? `Week of ${day(stratum.start)}` : stratum.name;
  return `${when}: ${name}${step}${parts}${stratum.bytes === null || stratum.bytes === undefined ? '' : `, ${bytes(stratum.bytes)}`}`;
};

/** Tells of one week in full. @param {any} stratum */
export const showWeek = (stratum) => {
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
    h('p', {}, h('strong', { text: `${name}. ` }), prose(says)),
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
