/** Random histories through the real load path: after every commit all balances are what the oracle folds from the live changes. */
import fc from 'fast-check';
import { beforeAll, describe, test } from 'vitest';
import { limitFor, propertyOptions, randomRuns, seed, tellPlayed } from '../seed.ts';
import { useBalances } from './database.ts';
import { histories } from './histories.ts';
import { chosenMutation } from './mutations.ts';
import { createPlayer } from './play.ts';

const database = useBalances();

const HISTORIES = 200;

beforeAll(() => {
  console.info(`fold: ${randomRuns(HISTORIES)} histories, PGSTRATA_SEED=${seed()}`);
});

describe('the fold', () => {
  let played = 0;
  test(
    'equals the oracle after every commit',
    async () => {
      const property = fc.asyncProperty(histories, async (history) => {
        const name = `history_${(played += 1)}`;
        const player = createPlayer(database.pool, history, {
          stream: name,
          tokens: [`${name}_a`, `${name}_b`],
        });
        for (const [index, step] of history.steps.entries()) await player.play(step, index);
        tellPlayed('fold', played);
      });
      // A mutant need only be caught, not understood.
      await fc.assert(property, { ...propertyOptions(HISTORIES), endOnFailure: chosenMutation() !== null });
    },
    limitFor(randomRuns(HISTORIES), 1_000),
  );
});
