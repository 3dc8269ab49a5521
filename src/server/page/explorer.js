/** The balance explorer: an account's holdings, their history and any instant of it; an asset's holders and how concentrated it is. */
import { clearPlot, plot } from './chart.js';
import { ask, byId, failure, fill, h, table } from './dom.js';
import { clip, count, exact, minute, percent, rough } from './format.js';

const view = { account: '', asset: '', assets: /** @type {any[]} */ ([]) };

const skeleton = () => h('div', { class: 'skeleton' });

/** Only the newest question of a kind is answered. @type {Map<string, number>} */
const asked = new Map();

/**
 * Asks, shows what comes, and what went wrong instead.
 *
 * @param {string} kind
 * @param {HTMLElement} box
 * @param {() => Promise<any>} question
 * @param {(answer: any) => unknown} show
 */
const answer = async (kind, box, question, show) => {
  const turn = (asked.get(kind) ?? 0) + 1;
  asked.set(kind, turn);
  clearPlot(box);
  fill(box, skeleton());
  box.setAttribute('aria-busy', 'true');
  try {
    const value = await question();
    if (asked.get(kind) === turn) await show(value);
  } catch (thrown) {
    if (asked.get(kind) === turn) fill(box, failure(thrown));
  }
};

const nameOf = (asset) => {
  const token = asset.token_id ? ` #${asset.token_id}` : '';
  return `${clip(asset.symbol ?? asset.asset)}${token}`;
};

/** An amount that breaks between its groups of digits, where it has to. @param {string} amount */
const parted = (amount) =>
  exact(amount)
    .split(/(?<=,)/)
    .flatMap((part, index) => (index === 0 ? [part] : [h('wbr'), part]));

const HOLDINGS = [
  {
    head: 'Asset',
    cell: (row) =>
      h('button', {
        class: 'link mono',
        type: 'button',
        text: nameOf(row),
        title: row.asset,
        onclick: () => showHistory(row),
      }),
  },
  {
    head: 'Balance',
    class: 'amount mono full',
    cell: (row) =>
      h('span', { class: row.negative ? 'bad' : null, 'data-exact': row.amount }, ...parted(row.amount)),
  },
  { head: 'Changed in', class: 'num', cell: (row) => minute(row.changed_in) },
];

const showAccount = async (account) => {
  view.account = account;
  byId('account-result').hidden = false;
  byId('history-pane').hidden = true;
  const box = byId('holdings');
  await answer(
    'account',
    box,
    () => ask('/api/account', { account }),
    async ({ holdings, doubt }) => {
      if (holdings.length === 0) {
        const why = doubt === null ? '' : ` Is it whole? ${doubt[0].toUpperCase()}${doubt.slice(1)}.`;
        fill(box, h('p', { class: 'empty', text: `This account has never held anything here.${why}` }));
        return;
      }
      byId('history-pane').hidden = false;
      fill(
        box,
        table('Holdings', HOLDINGS, holdings, {
          class: 'pad cards',
          row: (row) => ({ 'data-asset': row.asset_id }),
        }),
      );
      await showHistory(holdings.find((row) => row.asset_id === view.asset) ?? holdings[0]);
    },
  );
};

const showHistory = async (holding) => {
  view.asset = holding.asset_id;
  for (const row of byId('holdings').querySelectorAll('tr[data-asset]'))
    row.setAttribute('aria-selected', String(row.dataset.asset === holding.asset_id));
  byId('history-title').textContent = `History of ${nameOf(holding)}`;
  const box = byId('history');
  const { account } = view;
  await answer(
    'history',
    box,
    () => ask('/api/history', { account, asset: holding.asset_id }),
    async ({ points, rows }) => {
      const last = points.at(-1);
      fill(box, pointsTable(points, rows));
      setInstant(Date.now() / 1000);
      await plot(box, {
        label: `Balance of ${account} in ${nameOf(holding)}: ${count(rows)} stored balances, the last ${last?.amount ?? 'none'}`,
        data: [points.map(({ at }) => at), points.map(({ amount }) => Number(amount))],
        series: [{ label: 'balance', colour: 'closed', stepped: true }],
        value: (value) => rough(String(value)),
        onPick: (seconds) => setInstant(seconds),
      });
    },
  );
};

const TABLE_MAX = 200;

const pointsTable = (points, rows) =>
  h(
    'details',
    {},
    h('summary', {
      text: `${count(rows)} stored balances${rows > points.length ? `, ${count(points.length)} drawn` : ''}: the newest as a table`,
    }),
    h(
      'div',
      { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Newest balances' },
      table(
        'Newest balances',
        [
          { head: 'Period', cell: ({ at }) => minute(new Date(at * 1000).toISOString()) },
          {
            head: 'Balance at its end',
            class: 'amount mono',
            cell: ({ amount }) => h('span', {}, ...parted(amount)),
          },
        ],
        points.slice(-TABLE_MAX).toReversed(),
      ),
    ),
  );

const setInstant = (seconds) => {
  byId('at').value = new Date(seconds * 1000).toISOString().slice(0, 19);
  void showInstant();
};

const showInstant = async () => {
  const output = byId('asof-value');
  const at = `${byId('at').value.padEnd(16, ':00').slice(0, 19)}`;
  const instant = `${at.length === 16 ? `${at}:00` : at}Z`;
  const turn = (asked.get('instant') ?? 0) + 1;
  asked.set('instant', turn);
  try {
    const { amount } = await ask('/api/balance', { account: view.account, asset: view.asset, at: instant });
    if (asked.get('instant') !== turn) return;
    output.textContent = exact(amount);
    output.dataset.exact = amount;
    output.dataset.at = instant;
  } catch (thrown) {
    fill(output, failure(thrown));
  }
};

/** Bars compare with the largest holder. */
const holderColumns = (largest) => [
  {
    head: 'Account',
    cell: (row) =>
      h('button', {
        class: 'link mono',
        type: 'button',
        text: row.account,
        onclick: () => pick(row.account),
      }),
  },
  {
    head: 'Balance',
    class: 'num mono',
    cell: (row) => h('span', { text: rough(row.amount), title: exact(row.amount), 'data-exact': row.amount }),
  },
  {
    head: 'Share',
    class: 'num',
    cell: (row) => {
      const bar = h('span', { class: 'bar' });
      bar.style.width = `${(row.share / largest) * 100}%`;
      return h('span', {}, percent(row.share), bar);
    },
  },
];

const pick = (account) => {
  byId('account').value = account;
  byId('ask').scrollIntoView({ behavior: 'smooth', block: 'start' });
  void showAccount(account);
};

const SERIES = [
  { key: 'top_1', label: 'largest holder', colour: 'hot' },
  { key: 'top_10', label: 'top 10', colour: 'closed', dash: [6, 4] },
  { key: 'top_100', label: 'top 100', colour: 'settled', dash: [2, 3] },
  { key: 'gini', label: 'Gini', colour: 'working', dash: [10, 3, 2, 3] },
];

const showAsset = async (asset) => {
  const holders = byId('holders');
  const spread = byId('concentration');
  await answer(
    'holders',
    holders,
    () => ask('/api/holders', { asset }),
    ({ holders: rows, count: all }) =>
      fill(
        holders,
        rows.length === 0
          ? h('p', { class: 'empty', text: 'Nobody holds this asset.' })
          : h(
              'div',
              {},
              h('p', {
                class: 'hint',
                text: `${count(all)} accounts hold some; the zero address is left out.`,
              }),
              h(
                'div',
                { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Top holders' },
                table('Top holders', holderColumns(rows[0].share), rows),
              ),
            ),
      ),
  );
  await answer(
    'concentration',
    spread,
    () => ask('/api/concentration', { asset }),
    async ({ points }) => {
      if (points.length < 2) {
        fill(spread, h('p', { class: 'empty', text: 'There is no history to compare yet.' }));
        return;
      }
      fill(spread, spreadTable(points));
      await plot(spread, {
        label: `Concentration: the ten largest held ${percent(points[0].top_10)} at first and hold ${percent(points.at(-1).top_10)} now`,
        data: [points.map(({ at }) => at), ...SERIES.map(({ key }) => points.map((point) => point[key]))],
        series: SERIES,
        value: (value) => (value === 0 ? '0' : value.toFixed(2)),
      });
    },
  );
};

const spreadTable = (points) =>
  h(
    'details',
    {},
    h('summary', { text: 'as a table' }),
    h(
      'div',
      { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Concentration' },
      table(
        'Concentration',
        [
          { head: 'At', cell: ({ at }) => minute(new Date(at * 1000).toISOString()) },
          { head: 'Holders', num: true, cell: (point) => count(point.holders) },
          ...SERIES.map(({ key, label }) => ({
            head: label,
            num: true,
            cell: (point) => point[key].toFixed(3),
          })),
        ],
        points,
      ),
    ),
  );

/** A warehouse without assets may have some soon. */
const ASK_AGAIN_MS = 5000;

const showAssets = async () => {
  const select = byId('asset');
  try {
    const { assets } = await ask('/api/assets');
    // What there is nothing to choose from, or to draw, is not shown empty.
    for (const needless of [select.closest('label'), byId('concentration').parentElement])
      needless.hidden = assets.length === 0;
    if (assets.length === 0) {
      fill(
        byId('holders'),
        h('p', {
          class: 'empty',
          text: 'There is no asset yet: the first transfers or snapshots bring some.',
        }),
      );
      setTimeout(() => void showAssets(), ASK_AGAIN_MS);
      return;
    }
    fill(
      select,
      ...assets.map((asset) =>
        h('option', { value: asset.asset_id, text: `${nameOf(asset)} (${asset.network})` }),
      ),
    );
    await showAsset(select.value);
  } catch (thrown) {
    fill(byId('holders'), failure(thrown));
  }
};

export const startExplorer = () => {
  byId('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    void showAccount(byId('account').value.trim());
  });
  byId('asof').addEventListener('submit', (event) => {
    event.preventDefault();
    void showInstant();
  });
  byId('at').addEventListener('change', () => void showInstant());
  byId('asset').addEventListener('change', () => void showAsset(byId('asset').value));
  // What is below the fold waits until somebody looks at it.
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    seen.disconnect();
    void showAssets();
  });
  seen.observe(byId('balances'));
};
