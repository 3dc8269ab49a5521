/** Label files become typed tables; a reload takes their place while they are read, and never half. */
import { afterEach, describe, expect, test } from 'vitest';
import { accountBytes } from '../../src/warehouse/account.ts';
import { findLabels, listLabels } from '../../src/warehouse/labels/registry.ts';
import { joinLabels } from '../../src/warehouse/labels/views.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { openTransactions } from '../jobs/oracle.ts';
import { addText, pieces } from './files.ts';

const database = useDatabase();
afterEach(async () => expect(await openTransactions(database.pool)).toEqual([]));

const rowsOf = async (name: string): Promise<Record<string, unknown>[]> =>
  (
    await database.pool.query<Record<string, unknown>>(
      `select to_jsonb(l) - 'account_address' || jsonb_build_object('account', strata.account_text(account_address)) as row
         from strata.labels_${name} l order by account_address`,
    )
  ).rows.map(({ row }) => row as Record<string, unknown>);

describe('a file', () => {
  test('becomes a table of exact types, keyed by account', async () => {
    const file = [
      '\ufeffAddress,Label Name,order,Score,Big,Since,Seen,ok,note\r\n',
      '0xAB01,"Big, ""Ex""\nchange",1,1.50,340282366920938463463374607431768211456,2024-02-29,2024-02-29T12:00:00.123456Z,true,\r\n',
      'bc1qxyz,grüße 😀,,-2,,,,false,""\r\n',
    ].join('');
    const added = await addText(database.pool, 'typed', file);
    expect(added).toMatchObject({ rows: 2, duplicates: 0, replaced: false, table: 'strata.labels_typed' });
    expect(added.columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'label_name text',
      'order_ bigint',
      'score numeric',
      'big numeric',
      'since date',
      'seen timestamptz',
      'ok boolean',
      'note text',
    ]);
    const { rows } = await database.pool.query(
      `select account_address as key, label_name, order_, score::text, big::text, since::text, seen::text, ok, note from strata.labels_typed order by ok`,
    );
    expect(rows.map((row: object) => Object.values(row))).toEqual([
      [accountBytes('bc1qxyz'), 'grüße 😀', null, '-2', null, null, null, false, ''],
      [
        Buffer.from('ab01', 'hex'),
        'Big, "Ex"\nchange',
        1,
        '1.50',
        '340282366920938463463374607431768211456',
        '2024-02-29',
        '2024-02-29 12:00:00.123456+00',
        true,
        null,
      ],
    ]);
    expect(await findLabels(database.pool, ['typed'])).toMatchObject(
      new Map([['typed', { rows: 2, file: 'typed.csv', key: 'Address', sha256: added.sha256 }]]),
    );
    expect(added.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  test('takes the types that are asked for, and says where a value does not fit', async () => {
    const file = 'id,owner,zip\n0x01,0xff,123\n0x02,0x,45\n';
    const types = { owner: 'bytea', zip: 'text' } as const;
    await addText(database.pool, 'asked', file, { key: 'ID', types });
    expect(await rowsOf('asked')).toEqual([
      { account: '0x01', owner: String.raw`\xff`, zip: '123' },
      { account: '0x02', owner: String.raw`\x`, zip: '45' },
    ]);
    const error = await failureOf(
      addText(database.pool, 'unfit', file, { key: 'id', types: { owner: 'bigint' } }),
    );
    expect(error.message).toContain('"0xff" is no bigint');
    expect(error.detail).toMatchObject({ file: 'unfit.csv', line: 2, column: 'owner' });
    const unknown = await failureOf(
      addText(database.pool, 'unfit', file, { key: 'id', types: { x: 'text' } }),
    );
    expect(unknown).toMatchObject({ kind: 'usage', message: 'there is no column x to give a type' });
  });

  test.each([
    ['that is empty', '', /is empty/, undefined],
    ['of blank lines', '\n\n', /is empty/, undefined],
    ['with a header alone', 'address,name\n', /a header and no rows/, undefined],
    ['without the key', '0x01,a\n0x02,b\n', /no column address/, 1],
    ['with the key twice', 'address,ADDRESS\n0x01,0x02\n', /column address twice/, 1],
    ['with too few fields', 'address,name\n0x01,a\n\n0x02\n', /1 fields where the header has 2/, 4],
    ['with too many', 'address,name\n0x01,a,b\n', /3 fields where the header has 2/, 2],
    ['with an empty key', 'address,name\n"",a\n', /has no key/, 2],
    ['with blanks around a key', 'address,name\n 0x01,a\n', /blanks around/, 2],
    ['with a NUL', 'address,name\n0x01,a\0b\n', /NUL/, 2],
    ['with an open quote', 'address,name\n0x01,"a\n', /never closed/, 2],
    ['with a key twice', 'address,name\n0xAB,a\n0x01,b\n0xab,c\n', /0xab comes in lines 2, 4$/, 4],
    [
      'with many keys twice',
      'address,n\n1,a\n1,b\n2,c\n2,d\n1,e\n',
      /comes in lines 2, 3, 6, and so do 1 other/,
      3,
    ],
  ])('%s is refused', async (_what, file, says, line) => {
    const error = await failureOf(addText(database.pool, 'refused', file));
    expect(error.message).toMatch(says);
    expect(error.kind).toBe('data');
    expect(error.detail).toMatchObject({ file: 'refused.csv', remedy: expect.any(String) as string });
    expect(error.detail.line).toBe(line);
    const { rows } = await database.pool.query(`select to_regclass('strata.labels_refused') as there`);
    expect(rows).toEqual([{ there: null }]);
    expect((await findLabels(database.pool, ['refused'])).size).toBe(0);
  });

  test('that is not UTF-8 is refused with its line', async () => {
    const file = Buffer.concat([
      Buffer.from('address,name\n0x01,a\n0x02,gr'),
      Buffer.from([0xfc, 0xdf, 0x0a]),
    ]);
    const error = await failureOf(addText(database.pool, 'latin', file));
    expect(error.message).toContain('not UTF-8');
    expect(error.detail).toMatchObject({ line: 3, file: 'latin.csv' });
  });

  test.each([
    ['first', 'a'],
    ['last', 'c'],
  ] as const)('keeps the %s row of a key where that is chosen', async (onDuplicate, name) => {
    const file = 'address,name\n0xAB,a\n0x01,b\n0xab,c\n';
    const added = await addText(database.pool, `kept_${onDuplicate}`, file, { onDuplicate });
    expect(added).toMatchObject({ rows: 2, duplicates: 1 });
    expect(await rowsOf(`kept_${onDuplicate}`)).toEqual([
      { account: '0x01', name: 'b' },
      { account: '0xab', name },
    ]);
  });

  test('of keys alone is a list of accounts, and a name must be one', async () => {
    expect(await addText(database.pool, 'listed', 'address\na\nb\n')).toMatchObject({ rows: 2, columns: [] });
    expect(await addText(database.pool, 'listed', 'address\nb\nc\n', { replace: true })).toMatchObject({
      rows: 2,
    });
    expect(await rowsOf('listed')).toEqual([{ account: 'b' }, { account: 'c' }]);
    expect(await failureOf(addText(database.pool, 'No; drop', 'address\na\n'))).toMatchObject({
      kind: 'usage',
    });
  });

  test('of any size goes through in pieces', async () => {
    const rows = 60_000;
    const source = (async function* lines() {
      yield* pieces('address,name,n\n');
      for (let start = 0; start < rows; start += 1000) {
        const block = Array.from(
          { length: 1000 },
          (_, index) =>
            `0x${(start + index).toString(16).padStart(40, '0')},"n ${start + index}",${start + index}\n`,
        );
        yield Buffer.from(block.join(''));
      }
    })();
    expect(await addText(database.pool, 'many', '', { source })).toMatchObject({ rows });
    const { rows: sums } = await database.pool.query(
      `select sum(n)::text as sum, count(distinct name)::int as names from strata.labels_many`,
    );
    expect(sums).toEqual([{ sum: String((rows * (rows - 1)) / 2), names: rows }]);
  });
});

describe('a reload', () => {
  test('needs to be asked for', async () => {
    await addText(database.pool, 'once', 'address,name\n0x01,a\n');
    const error = await failureOf(addText(database.pool, 'once', 'address,name\n0x01,b\n'));
    expect(error).toMatchObject({
      kind: 'conflict',
      detail: { remedy: expect.stringContaining('--replace') as string },
    });
    expect(await rowsOf('once')).toEqual([{ account: '0x01', name: 'a' }]);
  });

  test('keeps types while the values fit, and touches only rows that differ', async () => {
    await addText(database.pool, 'again', 'address,n,s\n0x01,1.5,x\n0x02,2,y\n0x03,3,z\n');
    const places = async (): Promise<unknown[]> =>
      (
        await database.pool.query(
          `select ctid::text from strata.labels_again where account_address = '\\x01'`,
        )
      ).rows;
    const before = await places();
    const added = await addText(database.pool, 'again', 's,address,n\nx,0x01,1.5\nq,0x02,2\nw,0x04,4\n', {
      replace: true,
    });
    expect(added.columns.find(({ name }) => name === 'n')?.type).toBe('numeric');
    expect(await places()).toEqual(before);
    expect((await rowsOf('again')).map(({ account, s }) => [account, s])).toEqual([
      ['0x01', 'x'],
      ['0x02', 'q'],
      ['0x04', 'w'],
    ]);
    const wider = await addText(database.pool, 'again', 'address,n,s\n0x01,many,x\n', { replace: true });
    expect(wider.columns.map(({ type }) => type)).toEqual(['text', 'text']);
    expect(await rowsOf('again')).toEqual([{ account: '0x01', n: 'many', s: 'x' }]);
  });

  test('with a fault leaves everything as it was', async () => {
    await addText(database.pool, 'safe', 'address,name\n0x01,a\n');
    await failureOf(addText(database.pool, 'safe', 'address,name\n0x01,b\n0x02\n', { replace: true }));
    await failureOf(addText(database.pool, 'safe', 'address,other\n0x01,"b\n', { replace: true }));
    expect(await rowsOf('safe')).toEqual([{ account: '0x01', name: 'a' }]);
  });

  test.each([
    ['the same columns', 'name'],
    ['other columns', 'title'],
  ])('with %s is seen whole or not at all by readers that go on', async (what, column) => {
    const name = `seen_${column}`;
    const file = (generation: number, named: string): string =>
      `address,generation,${named}\n${Array.from({ length: 200 }, (_, row) => `0x${(row + 256).toString(16).padStart(4, '0')},${generation},n\n`).join('')}`;
    await addText(database.pool, name, file(0, 'name'));
    const view = await joinLabels(database.pool, {
      label: name,
      table: 'strata.balances',
      columns: ['generation'],
    });
    let reading = true;
    const seen = new Set<string>();
    const readers = [1, 2].map(async () => {
      while (reading) {
        const { rows } = await database.pool.query<{ seen: string }>(
          `select count(*) || ' of ' || string_agg(distinct generation::text, '+') as seen from strata.labels_${name}`,
        );
        seen.add(rows[0]!.seen);
        await database.pool.query(`select from ${view.view} limit 1`);
      }
    });
    for (let generation = 1; generation <= 6; generation++)
      await addText(database.pool, name, file(generation, generation % 2 === 1 ? column : 'name'), {
        replace: true,
      });
    reading = false;
    await Promise.all(readers);
    const whole = Array.from({ length: 7 }, (_, generation) => `200 of ${generation}`);
    expect(
      [...seen].filter((found) => !whole.includes(found)),
      what,
    ).toEqual([]);
    expect(seen.size).toBeGreaterThan(1);
  });

  test('that drops what a view of somebody else needs is refused, and changes nothing', async () => {
    await addText(database.pool, 'theirs', 'address,name\n0x01,a\n');
    await database.pool.query('create view public.their_view as select name from strata.labels_theirs');
    const error = await failureOf(
      addText(database.pool, 'theirs', 'address,title\n0x01,b\n', { replace: true }),
    );
    expect(error).toMatchObject({ kind: 'conflict', detail: { sqlstate: '2BP01' } });
    expect(await rowsOf('theirs')).toEqual([{ account: '0x01', name: 'a' }]);
    await addText(database.pool, 'theirs', 'address,name\n0x01,b\n', { replace: true });
    expect((await database.pool.query('select name from public.their_view')).rows).toEqual([{ name: 'b' }]);
    expect((await listLabels(database.pool)).find((labels) => labels.name === 'theirs')?.views).toEqual([
      'public.their_view',
    ]);
  });
});
