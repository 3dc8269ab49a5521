/** The part of the migration that says where streams stand: the ledger, what is folded, what retention has dropped. Pure. */
import { copyWhole, psql, type MigrationStep } from './migration-step.ts';

/** SQL that the source writes for the cluster. */
const hand = (query: string): string => `${psql('SOURCE', query, '-XAtqc')} | psql "$CLUSTER" -Xq`;

const LEDGER = ['streams', 'sources', 'stream_batches'].map((name) => ({
  name,
  qualified: `strata.${name}`,
}));

/** Copies the ledger: from then on the cluster knows the position, and the hashes that show a fork. */
export const ledgerSteps = (): MigrationStep[] => [
  {
    ...copyWhole('copy the ledger: streams, their sources, what they committed', LEDGER, 'paused'),
    run: [
      // Children first, or the foreign keys refuse.
      ...LEDGER.toReversed().map(({ qualified }) => psql('CLUSTER', `delete from ${qualified}`)),
      ...copyWhole('', LEDGER, 'paused').run.filter((line) => !line.includes('delete from')),
      psql(
        'CLUSTER',
        "select setval(pg_get_serial_sequence('strata.sources', 'source_id'), max(source_id)) from strata.sources",
        '-XAtqc',
      ),
    ],
  },
  {
    title: 'hand over what is folded, and what retention has dropped',
    where: 'shell',
    run: [
      hand(
        "select format('select strata.advance_fold(%s::smallint, null, %s);', source_id, min(folded_block)) from strata.fold_progress group by source_id",
      ),
      hand(
        "select format('update strata.balance_status set stale = %L, reason = %L, opened_before = %L, changes_from = %L, observations_from = %L;', stale, reason, opened_before, changes_from, observations_from) from strata.balance_status",
      ),
      hand(
        "select format('update strata.partition_sets set retained_from = %L where set_name = %L;', retained_from, set_name) from strata.partition_sets",
      ),
    ],
    locks: 'nothing: a few rows',
    loading: 'paused',
    verify: {
      run: [
        'select stream, network, position from strata.stream_positions order by 1, 2',
        'select source_id, min(folded_block) from strata.fold_progress group by 1 order by 1',
        'select stale, opened_before, changes_from, observations_from from strata.balance_status',
      ],
      expect: 'the same on both sides; the position is the one you noted',
    },
  },
];
