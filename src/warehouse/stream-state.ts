/** Streams in PostgreSQL: what they are, who may load them, and under which number the rows of each network go. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';

/** What a stream is, as far as the database keeps it. */
export interface StreamDefinition {
  readonly stream: string;
  readonly load: 'transfers' | 'snapshots' | 'rows';
  /** The table its rows go to. */
  readonly target: string;
  /** Period of its balance rows. */
  readonly grain: 'hour' | 'day';
  /** The rest of its configuration, without secrets. */
  readonly definition: unknown;
}

/** The right to commit for a stream, until somebody else claims it. */
export interface StreamClaim {
  readonly stream: string;
  readonly epoch: number;
}

/**
 * Registers the stream and takes it over: commits under an older claim are refused from here on.
 *
 * @throws WarehouseError `config` when the name already stands for another load or table.
 */
export const claimStream = async (pool: Pool, definition: StreamDefinition): Promise<StreamClaim> => {
  const row = await on(pool)
    .insertInto('streams')
    .values({ ...definition, definition: JSON.stringify(definition.definition), epoch: 1 })
    .onConflict((conflict) =>
      conflict
        .column('stream')
        .doUpdateSet((set) => ({
          definition: set.ref('excluded.definition'),
          epoch: sql<number>`streams.epoch + 1`,
          updated_at: sql<Date>`now()`,
        }))
        .whereRef('streams.load', '=', 'excluded.load')
        .whereRef('streams.target', '=', 'excluded.target')
        .whereRef('streams.grain', '=', 'excluded.grain'),
    )
    .returning('epoch')
    .executeTakeFirst();
  if (row === undefined) {
    throw new WarehouseError(
      'config',
      `stream ${definition.stream} already loads something else, into another table or by another grain`,
      {
        stream: definition.stream,
        remedy: 'Give the changed stream a new name; the old ledger belongs to the old table.',
      },
    );
  }
  return { stream: definition.stream, epoch: row.epoch };
};

/**
 * Refuses to go on when somebody else has claimed the stream since. Call it first in the transaction: it also makes a
 * later claim wait until this transaction has ended.
 *
 * @throws WarehouseError `conflict`
 */
export const holdClaim = async (client: Client, claim: StreamClaim): Promise<void> => {
  const row = await on(client)
    .selectFrom('streams')
    .select('epoch')
    .where('stream', '=', claim.stream)
    .forShare()
    .executeTakeFirst();
  if (row?.epoch !== claim.epoch) {
    throw new WarehouseError('conflict', `another process has taken over stream ${claim.stream}`, {
      stream: claim.stream,
      remedy: 'Let that process go on, or stop it and start this one again.',
    });
  }
};

/** The source of a network of a stream, made on first use. */
export const sourceOf = async (pool: Client | Pool, stream: string, network: string): Promise<number> => {
  const find = on(pool)
    .selectFrom('sources')
    .select('source_id')
    .where('stream', '=', stream)
    .where('network', '=', network);
  // Looked for first: an insert draws an identity even where it finds the row there, and there are but 32,767.
  const known = await find.executeTakeFirst();
  if (known !== undefined) return known.source_id;
  await on(pool)
    .insertInto('sources')
    .values({ stream, network })
    .onConflict((conflict) => conflict.columns(['stream', 'network']).doNothing())
    .execute();
  return (await find.executeTakeFirstOrThrow()).source_id;
};
