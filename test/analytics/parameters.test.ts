/** Parameters of named queries as the command line gives them: what is read, and what the errors teach. */
import { describe, expect, test } from 'vitest';
import { accountDoubt } from '../../src/warehouse/account.ts';
import { findQuery, instantOf, readParameters } from '../../src/warehouse/analytics/parameters.ts';

describe('parameters', () => {
  const refusal = (name: string, given: Readonly<Record<string, string>>): string => {
    try {
      readParameters(findQuery(name), given);
    } catch (thrown) {
      return `${(thrown as Error).message} ${JSON.stringify((thrown as { detail: unknown }).detail)}`;
    }
    return 'accepted';
  };

  test('that are wrong are all told at once, with what was meant', () => {
    expect(refusal('top-holder', {})).toMatch(
      /there is no query "top-holder"; did you mean top-holders\?.*--list/,
    );
    const said = refusal('holders', { asst: 'coin', from: '2026-02-30', period: 'weak', to: '2026-01-01' });
    for (const part of [
      'it takes no --asst; did you mean --asset?',
      'it needs --asset, the asset: id, key or symbol',
      '--from is \\"2026-02-30\\", not an instant',
      '--period is \\"weak\\", not hour, day, week or month; did you mean week?',
      'pgstrata query holders --asset USDX',
    ])
      expect(
        said.replaceAll('"2026-02-30"', '\\"2026-02-30\\"').replaceAll('"weak"', '\\"weak\\"'),
      ).toContain(part);
    expect(refusal('top-holders', { asset: 'coin', limit: '0' })).toContain('a whole number from 1 on');
    expect(refusal('size-bands', { asset: 'coin', edges: '1,x' })).toContain('numbers with commas');
    expect(refusal('activity-points', { from: '2026-01-01', curve: '0:1,5' })).toContain('usd:multiplier');
    expect(refusal('portfolio', { account: 'a', 'max-age': 'some' })).toContain('36 hours');
  });

  test('read instants as UTC where they name no zone', () => {
    expect(
      ['2026-01-31', '2026-01-31 12:30', '2026-01-31T12:30:15.000001+05:30', 'now'].map(instantOf),
    ).toEqual(['2026-01-31T00:00Z', '2026-01-31T12:30Z', '2026-01-31T12:30:15.000001+05:30', 'now']);
    expect(['2026-13-01', '2026-02-29', 'yesterday', '2026-01-31T25:00', ''].map(instantOf)).toEqual(
      Array.from({ length: 5 }, () => undefined),
    );
  });
});

test.each([
  ['0x418de5c2e64f34d612001ab9deffd8ec7d569c79', null],
  [`0x${'0'.repeat(64)}`, null],
  ['rdx1qabc', null],
  ['0x418de5c2e64f34d612001ab9deffd8ec7d569c7', /39 hex digits/],
  ['0x418de5c2e64f34d612001ab9deffd8ec7d569c7O', /no hex digits/],
])('the account %s gives cause for doubt: %s', (text, doubt) => {
  if (doubt === null) expect(accountDoubt(text)).toBeNull();
  else expect(accountDoubt(text)).toMatch(doubt);
});
