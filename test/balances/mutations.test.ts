/** The wrong variants of the fold still fit the functions they change: one that no longer does would prove nothing. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { MUTATIONS } from './mutations.ts';

test.each(MUTATIONS)('"$name" changes one place of $changes', ({ changes, from, to }) => {
  const text = readFileSync(new URL(`../../sql/functions/${changes}.sql`, import.meta.url), 'utf8');
  const places =
    typeof from === 'string' ? text.split(from).length - 1 : [...text.matchAll(new RegExp(from, 'g'))].length;
  expect(places).toBe(1);
  expect(text.replace(from, to)).not.toBe(text);
});
