/** The oracle of the `rows` load: the simulated logs, cell by cell as text, from the chain and from a table. */
import type { Chain } from '../../src/devnet/source.ts';
import type { Pool } from '../../src/db/query.ts';

const hex = (value: unknown): string | null =>
  value === null ? null : Buffer.from(value as Uint8Array).toString('hex');

/** The signed integer of a Decimal128's four little-endian words. */
const decimal = (value: unknown): string => {
  const words = [...(value as Uint32Array)].map((word) => BigInt(word >>> 0));
  return BigInt.asIntN(
    128,
    words.reduceRight((sum, word) => (sum << 32n) | word, 0n),
  ).toString();
};

/** The cells of each log of blocks `from`..`to` as one line of JSON, sorted. */
export const logsOf = (chain: Chain, from = chain.earliest, to = chain.view().head ?? -1): string[] => {
  const view = chain.view();
  const lines: string[] = [];
  for (let block = from; block <= to; block += 1) {
    const batch = view.batch('logs', block, block);
    const read = (name: string, row: number): unknown => batch.getChild(name)?.get(row) ?? null;
    for (let row = 0; row < batch.numRows; row += 1) {
      const topics = [...(read('topics', row) as Iterable<unknown>)].map((topic) => `0x${hex(topic)}`);
      lines.push(
        JSON.stringify([
          String(block),
          String(view.timestampOf(block)),
          String(read('log_index', row)),
          hex(read('address', row)),
          topics.join(' '),
          hex(read('data', row)),
          String(read('removed', row)),
          String(read('gas_price', row)),
          decimal(read('fee', row)),
          read('note', row),
        ]),
      );
    }
  }
  return lines.toSorted();
};

/** Names that a table gives to the columns of a log where they are not the query's. */
export type Renamed = Readonly<Partial<Record<'timestamp' | 'log_index' | 'address' | 'note', string>>>;

/** The rows of a table of logs in the lines of {@link logsOf}; `table` and names are the test's own. */
export const storedLogs = async (pool: Pool, table: string, renamed: Renamed = {}): Promise<string[]> => {
  const { timestamp = 'timestamp', log_index = 'log_index', address = 'address', note = 'note' } = renamed;
  const { rows } = await pool.query<{ cells: readonly unknown[] }>(
    `select jsonb_build_array(_block_num::text, extract(epoch from "${timestamp}")::bigint::text, "${log_index}"::text, encode("${address}", 'hex'),
              (select string_agg(topic, ' ' order by place) from jsonb_array_elements_text(topics) with ordinality t(topic, place)),
              encode(data, 'hex'), removed::text, gas_price::text, fee::text, "${note}") as cells
       from ${table}`,
  );
  return rows.map(({ cells }) => JSON.stringify(cells)).toSorted();
};
